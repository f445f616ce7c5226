"""The job store: the finished run of a recipe, or train it, resumable after any kill.

results/runs/<key>/ holds recipe.json, history.csv, weights.safetensors, run.json (provenance),
evaluations/ and manifest.json (SHA-256 of the files, written last). A folder without a manifest is
unfinished and is carried on. results/records/<key>/ is what the repository keeps of a run: the same
files, mostly without weights, and what was scored in one; only `lib.records` writes there.
"""

import logging
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load_file
from torch import nn

from lib import data, device, networks, parallel, paths, scoring, source, store, training
from lib.attacks import NORMS
from lib.errors import UserError, choose
from lib.networks import check
from lib.recipe import Recipe
from lib.schedules import SCHEDULES
from lib.trainers import objective, trainer_of
from lib.trainers.pruners import PRUNERS
from lib.training import OnProgress

log = logging.getLogger("lib")


@dataclass(frozen=True)
class Run:
    """A finished run in the store."""

    recipe: Recipe
    folder: Path

    @property
    def key(self) -> str:
        return self.recipe.key

    @property
    def history(self) -> pd.DataFrame:
        """Return one row per epoch: epoch, lr, loss, seconds and more."""
        return pd.read_csv(self.folder / "history.csv")

    @property
    def info(self) -> dict[str, Any]:
        """Return the provenance: commit, versions, device, seconds, data fingerprint."""
        return store.read_json(self.folder / "run.json")

    @property
    def has_weights(self) -> bool:
        return (self.folder / store.WEIGHTS["last"]).is_file()

    @property
    def is_ours(self) -> bool:
        """Return whether it is in the job store or the records, not in a folder that travels."""
        return self.folder in store.places(self.key)

    def places(self, name: str = "") -> list[Path]:
        """Return where it or a file of it may be; job store and records share what they have."""
        return store.places(self.key, name) if self.is_ours else [self.folder / name]

    def marks(self, weights: str = "last") -> dict[str, str]:
        """Return what says of a record which run it belongs to, and which weights of it."""
        digest = store.read_json(self.folder / store.MANIFEST).get(store.WEIGHTS[weights], "")
        return {"recipe_key": self.key, "weights_sha256": digest}

    def model(self, which: str = "last") -> nn.Module:
        """Return the trained network in evaluation mode on the current device."""
        path = self.folder / store.WEIGHTS[choose("weights", which, store.WEIGHTS)]
        own = folder(self.recipe)
        if store.redrawing() and self.folder != own and store.is_sealed(own):
            raise UserError(f"{own} is another training than what is recorded; move it elsewhere.")
        if not path.is_file():
            why = "was made without validation; set train.validate_every to keep the best weights"
            if not self.has_weights:
                why = f"is a record without weights; train it anew with --fresh to get {path}"
            raise UserError(f"Run {self.key} {why}.")
        tensors = load_file(path, device=str(device.device()))
        if not training.finite(tensors):
            raise UserError(
                f"Run {self.key} has weights that are no finite numbers; train it anew with "
                "--fresh, at a lower train.lr if need be."
            )
        return networks.stored(self.recipe, tensors).eval()


def build(recipe: Recipe) -> nn.Module:
    """Return the network that the training of a recipe begins with.

    It is initialised from the seed, or comes from the run that it starts from, a finished one.
    """
    check(recipe)
    if recipe.start is None:
        return networks.fresh(recipe)
    parent = load(recipe.start)
    if parent is None:
        raise UserError(
            f"Run {recipe.key} starts from run {recipe.start.key}, which is not here; train that "
            f"first with python -m lib train {recipe.start.key}."
        )
    return networks.started(recipe, parent.model())


def folder(recipe: Recipe) -> Path:
    """Return where the run of a recipe is trained and its evaluations are kept."""
    return paths.runs() / recipe.key


def find(recipe: Recipe, records: bool = False) -> Run | None:
    """Return the finished, undamaged run of a recipe, None if there is none; change nothing.

    Without its weights a run counts only where records are wanted, here or by SUITE_FROM_RECORDS.
    """
    for run in (Run(recipe, home) for home in store.homes(recipe.key)):
        if (run.has_weights or records or store.redrawing()) and not damage(run):
            return run
    return None


def load(recipe: Recipe, records: bool = False) -> Run | None:
    """Return what `find` returns; a damaged folder of the job store is set aside."""
    run, home = find(recipe, records), folder(recipe)
    if not store.is_sealed(home) or (run and run.folder == store.homes(recipe.key)[0]):
        return run
    with store.one_writer(home):  # it may look damaged while another process replaces it
        if store.is_sealed(home) and (wrong := damage(Run(recipe, home))):
            aside = store.quarantine(home)
            log.warning("Run %s is damaged (%s); set aside as %s.", home.name, wrong, aside)
        return find(recipe, records)


def damage(run: Run) -> str:
    """Return what is wrong with a sealed run in a few words, '' if nothing is."""
    if wrong := store.damage(run.folder):
        return wrong
    try:
        same = Recipe.from_dict(store.parse(run.folder / "recipe.json")) == run.recipe
    except (ValueError, UserError):
        same = False
    if not same:
        return "recipe.json is of another recipe"
    wanted = run.recipe.data
    now = data.folder_fingerprint(wanted.dataset, wanted.split, wanted.train_images)
    if now and now != run.info.get("data_fingerprint"):
        return "it was trained on other images than the folder holds now"
    if _superseded(run):
        return "it started from other weights than the run it starts from has now"
    return ""


def _superseded(run: Run) -> bool:
    """Return whether the run that this one starts from is here, but with other weights."""
    start, then = run.recipe.start, run.info.get("start")
    here = [Run(start, home) for home in store.homes(start.key)] if start else []
    return bool(here) and all(r.marks()["weights_sha256"] != then or _superseded(r) for r in here)


def fit(recipe: Recipe, on_progress: OnProgress = lambda done: None, fresh: bool = False) -> Run:
    """Return the finished run of a recipe: from the store, or trained now, or resumed.

    on_progress gets the share of the training done. fresh trains even if a run exists, but not
    what it starts from, which is trained first where it is missing. Only one process trains a
    recipe; others wait for it and take its result.
    """
    check(recipe)
    if not fresh and (run := load(recipe)):
        return run
    if store.redrawing():
        raise UserError(
            f"There is no record of run {recipe.key}; run without --from-records to train it."
        )
    if recipe.start:
        fit(recipe.start)
    home = folder(recipe)
    with store.one_writer(home, lambda: log.info("Waiting for another process: %s.", home.name)):
        training.complete(home)
        if not fresh and (run := load(recipe)):
            return run
        marks: dict[str, Any] = {"code": code_fingerprint(recipe)}
        if recipe.start and (parent := load(recipe.start)):
            marks["start"] = parent.marks()["weights_sha256"]
        if parallel.size() > 1:
            marks["processes"] = parallel.size()
            device.used_precision("auto", 32)  # measured here, before the others ask
            resume = home / "resume.pt"
            state = resume.read_bytes() if resume.is_file() else None
            parallel.tell((recipe, marks, fresh, state))
        training.train(recipe, home, lambda: build(recipe), marks, on_progress, fresh)
        return Run(recipe, home)


def assist() -> int:
    """Take part in the trainings of the first of several processes while it tells any; return 0.

    What is written meanwhile, in a folder of its own, is thrown away.
    """
    while asked := parallel.tell(None):
        recipe, marks, fresh, state = asked
        with tempfile.TemporaryDirectory() as name:
            home = Path(name)
            if state:
                store.write_bytes(home / "resume.pt", state)
            training.train(recipe, home, partial(build, recipe), marks, lambda done: None, fresh)
    return 0


def code_fingerprint(recipe: Recipe) -> str:
    """Return a hash of the code that decides the weights of a recipe, given its images."""
    spec = data.spec(recipe.data.dataset)
    method = recipe.method
    found: list[Any] = [networks.fresh, trainer_of(method), objective(method), data.Images]
    found += [NORMS[recipe.attack.norm], SCHEDULES[recipe.train.schedule], method.decays]
    found += [device.precision, PRUNERS[recipe.sparsity.kind if recipe.sparsity else ""]]
    found += [str((spec.pad, spec.flip, spec.num_classes, spec.channels))]
    if recipe.train.validate_every:
        found += [training.Best, scoring.ATTACKS["none"], scoring.ATTACKS["pgd"]]
    if recipe.start:
        found += [networks.started, code_fingerprint(recipe.start)]
    if recipe.convert:
        kind = recipe.convert.kind
        found += [networks.CONVERTERS[kind], *networks.LAYERS.get(kind, ())]
    found += scoring.network_code(recipe.model, method, recipe.sparsity is not None)
    return source.used(*found)


def is_current(run: Run) -> bool:
    """Return whether today's code made a run, or has been shown to train its first epochs alike."""
    return confirmed(run.recipe, run.info.get("code"))


def confirmed(recipe: Recipe, made_by: Any) -> bool:
    """Return whether today's code is the one that made a run, or has been shown to be like it."""
    today = code_fingerprint(recipe)
    shown = [(proof.get("made_by"), proof.get("code")) for proof in store.proofs(recipe.key)]
    return made_by == today or (made_by, today) in shown
