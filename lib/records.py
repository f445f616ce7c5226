"""Finished runs on other shelves: what the repository keeps of them, and copies for elsewhere.

results/records holds all that counts but weights; a folder that travels holds the weights, too.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from lib import evaluate, paths, runs, store
from lib.errors import UserError
from lib.recipe import Recipe


def _files(run: runs.Run, travels: bool, any_code: bool) -> dict[str, bytes]:
    """Return the content of a run's files by name; the manifest is the last.

    What travels has its weights, and a file for each evaluation.
    """
    listed = store.read_json(run.folder / store.MANIFEST)
    heavy = [name for name in store.WEIGHTS.values() if not travels or not run.has_weights]
    files = {n: (run.folder / n).read_bytes() for n in listed if n not in heavy}
    held = {n: r for n, r in evaluate.held(run).items() if any_code or evaluate.is_current(run, r)}
    scores = {} if travels else {n: held.pop(n) for n in [*held] if "protocol" in held[n]}
    files |= {store.BUNDLE: store.bundle(scores)} if scores else {}
    files |= {f"evaluations/{n}.json": store.encode_signed(record) for n, record in held.items()}
    if shown := next(filter(None, map(store.read_signed, run.places(store.VERIFIED))), None):
        files[store.VERIFIED] = store.encode_signed(shown)
    return files | {store.MANIFEST: store.encode(listed)}


def _write(home: Path, files: dict[str, bytes]) -> None:
    for name, raw in files.items():
        store.write_bytes(home / name, raw)


def keep(recipe: Recipe) -> Path:
    """Copy a finished run to where the repository keeps it, and return that folder.

    What was there before is gone, except weights that are the run's. The runs that it starts from
    go with it if here. With SUITE_FROM_RECORDS, runs without weights or of other code count.
    """
    run = runs.find(recipe)
    if run is None:
        raise UserError(f"Run {recipe.key} is not finished; there is nothing to record.")
    target = paths.records() / run.key
    files = _files(run, travels=False, any_code=store.redrawing())
    listed = store.read_json(run.folder / store.MANIFEST)
    try:
        (target / store.MANIFEST).unlink(missing_ok=True)  # unfinished until all else is done
        _write(target, {n: raw for n, raw in files.items() if n != store.MANIFEST})
        for path in [p for p in target.rglob("*") if p.is_file()]:
            name = path.relative_to(target).as_posix()
            if name not in files and listed.get(name) != store.sha256(path):
                path.unlink()
    except OSError as error:
        raise UserError(f"Cannot change {target} ({error.strerror}); make it writable.") from error
    _write(target, {store.MANIFEST: files[store.MANIFEST]})
    if recipe.start and runs.find(recipe.start):
        keep(recipe.start)
    return target


def carry(homes: Iterable[Path], shelf: Path) -> Iterator[tuple[bool, str]]:
    """Copy finished runs to a shelf, those that they start from first.

    Yields of each whether it is there now, and a line. Hashes are checked before and after. What
    is there stays; what it lacks of the same run, as evaluations, is added.
    """
    ready: dict[str, runs.Run] = {}
    for home in homes:
        try:
            run = runs.Run(_recipe(home), home)
        except UserError as error:
            yield False, f"{home.name}  refused: {error}"
            continue
        for start in run.recipe.ancestors:
            beside = store.homes(start.key) if run.is_ours else [home.with_name(start.key)]
            found = (runs.Run(start, place) for place in beside if store.is_sealed(place))
            ready |= {one.key: one for one in found if one.key not in ready}
        ready[run.key] = run
    for run in sorted(ready.values(), key=lambda run: len(run.recipe.ancestors)):
        try:
            yield True, f"{run.key}  {_add(run, shelf / run.key)}"
        except UserError as error:
            yield False, f"{run.key}  refused: {error}"


def _recipe(home: Path) -> Recipe:
    if not store.is_sealed(home):
        raise UserError("there is no finished run in it.")
    try:
        recipe = Recipe.from_dict(store.parse(home / "recipe.json"))
    except ValueError as error:
        raise UserError(f"its recipe.json cannot be read ({error}).") from error
    if recipe.key != home.name:
        raise UserError(f"its recipe is that of run {recipe.key}.")
    return recipe


def _busy() -> None:
    raise UserError("another process works on it; do it again later.")


def _add(run: runs.Run, home: Path) -> str:
    """Copy to a folder what it lacks of a run, and return in words what that was."""
    if wrong := runs.damage(run):
        raise UserError(f"it is damaged: {wrong}.")
    with store.one_writer(home, _busy):
        there = runs.Run(run.recipe, home)
        if store.is_sealed(home) and runs.damage(there):
            store.quarantine(home)
        new = not store.is_sealed(home)
        if not new and there.marks() != run.marks():
            raise UserError("another training of it is there, which stays; nothing was added.")
        files = _files(run, travels=True, any_code=True)
        held = evaluate.held(there) if not new else {}
        for name in [*files]:
            measured = name.removeprefix("evaluations/").removesuffix(".json")
            if measured in held or (not new and "/" not in name and (home / name).is_file()):
                del files[name]
        _write(home, files)
        if wrong := runs.damage(there):
            store.quarantine(home)
            raise UserError(f"its copy is damaged ({wrong}) and set aside; run it again.")
    count = sum(name.startswith("evaluations/") for name in files)
    return f"{'added' if new else 'was there'}, with {count} {'' if new else 'new '}evaluations"
