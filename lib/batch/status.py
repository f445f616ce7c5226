"""What the job store holds: finished, unfinished, damaged and stale runs, with their sizes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib import paths, store, verify
from lib.batch import plan
from lib.errors import UserError
from lib.presets import PRESETS
from lib.protocol import Protocol
from lib.recipe import Recipe, replace_fields
from lib.studies import ARTIFACTS
from lib.study import Job

KEY = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True)
class Held:
    """One folder of the store."""

    key: str
    what: str
    state: str
    megabytes: float

    @property
    def damaged(self) -> bool:
        """Return whether its files are not what they were."""
        return self.state.startswith("damaged") or ".damaged-" in self.key


def held() -> list[Held]:
    """Return every run of the store."""
    home = paths.runs()
    found = sorted(p.name for p in home.iterdir() if p.is_dir()) if home.is_dir() else []
    return [_one(home / name) for name in found if not name.startswith(".")]


def stale() -> list[str]:
    """Return the keys of the finished runs, own ones and records, which other code made."""
    shelves = (paths.runs(), paths.records())
    names = {home.name for shelf in shelves for home in shelf.glob("*") if store.is_sealed(home)}
    return [n for n in sorted(names) if "stale" in _one(paths.runs() / n).state]


def _one(folder: Path) -> Held:
    files = [f for f in folder.rglob("*") if f.is_file()] if folder.is_dir() else []
    size = sum(f.stat().st_size for f in files) / 1e6
    homes = [folder, *store.homes(folder.name)]  # one with nothing but evaluations of a record
    try:
        found = next((f for home in homes if (f := home / "recipe.json").is_file()), folder)
        recipe = Recipe.from_dict(store.parse(found))
    except (ValueError, UserError):
        recipe = None
    if ".damaged-" in folder.name:
        return Held(folder.name, _what(recipe), "damaged: set aside", size)
    if recipe is None or recipe.key != folder.name:
        sealed = store.is_sealed(folder)
        state = "damaged: recipe.json is not its own" if sealed else plan.UNFINISHED
        return Held(folder.name, "", state if files else plan.MISSING, size)
    try:
        state = ", ".join(_state(recipe))
    except UserError:  # of an image folder that has gone or cannot be read
        state = "its images are not here"
    return Held(folder.name, _what(recipe), state, size)


def _state(recipe: Recipe) -> Iterator[str]:
    """Yield what is there of a recipe, and what of it is by other code than today's."""
    word, run = plan.look(recipe)
    yield word
    if run:
        trained, measured = verify.stale(run)
        if trained:
            yield "stale"
        if measured:
            yield f"{len(measured)} evaluations stale"


def _what(recipe: Recipe | None) -> str:
    if recipe is None:
        return ""
    width = f"-{recipe.model.width}" if recipe.model.width else ""
    where = f"{recipe.data.dataset} {recipe.model.backbone}{width}"
    return f"{recipe.method.kind} {where}, {recipe.train.epochs} epochs, seed {recipe.seed}"


def known() -> dict[str, Recipe]:
    """Return the recipes by key that the artifacts ask for under any preset, ancestors included."""
    plans = [artifact(name) for name in PRESETS for artifact in ARTIFACTS.values()]
    recipes = [recipe for made in plans for recipe in made.recipes.values()]
    return {link.key: link for recipe in recipes for link in (*recipe.ancestors, recipe)}


def is_job(word: str) -> bool:
    """Return whether a word is a key or names a file, not an artifact."""
    return bool(word.endswith(".json") or KEY.fullmatch(word) or Path(word).is_file())


def recipe_of(word: str) -> Recipe:
    """Return the recipe of a file, of the key of a run in the store or of one still to be made."""
    return job_of(word).recipe


def job_of(word: str) -> Job:
    """Return what `recipe_of` returns, with what the file of a batch wants measured on it."""
    path = Path(word)
    if KEY.fullmatch(word) and not path.exists():
        path = next(iter(store.homes(word)), paths.runs() / word) / "recipe.json"
        if not path.is_file() and word in (asked := known()):
            return Job(asked[word].method.kind, asked[word])
    try:
        content = store.parse(path)
    except ValueError as error:
        raise UserError(
            f"Cannot read the recipe {path} ({error}); copy the recipe.json of a run."
        ) from error
    protocols = (replace_fields(Protocol(), row) for row in content.pop("protocols", ()))
    recipe = Recipe.from_dict(content.get("recipe", content))
    return Job(recipe.method.kind, recipe, tuple(protocols))
