"""The job store: the finished run of a recipe, or train it, resumable after any kill.

results/runs/<key>/ holds recipe.json, history.csv, weights.safetensors, run.json (provenance),
evaluations/ and manifest.json (SHA-256 of the files, written last). A folder without a manifest is
unfinished; resume.pt (plain containers and tensors) carries it on. results/records/<key>/ is what
the repository keeps of a run: the same files, mostly without weights; only `record` writes there.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save
from torch import nn

from lib import data, device, evaluate, paths, scoring, source, store
from lib.attacks import NORMS
from lib.conversions import CONVERTERS, check_start, take
from lib.errors import UserError, choose
from lib.models import BACKBONES, create
from lib.protocol import Protocol
from lib.recipe import Recipe
from lib.schedules import SCHEDULES
from lib.trainers import Trainer, objective
from lib.trainers.pruners import PRUNERS

log = logging.getLogger("lib")

OnProgress = Callable[[float], None]
SAVE_EVERY = 15.0  # seconds between resume states; short epochs do not each write one
NEXT_BEST = "best.safetensors.next"  # until the run is sealed


@dataclass(frozen=True)
class Run:
    """A finished run in the store."""

    recipe: Recipe
    folder: Path

    @property
    def key(self) -> str:
        """Return the recipe's content hash."""
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
        """Return whether the weights are here, or only the record of the run."""
        return (self.folder / store.WEIGHTS["last"]).is_file()

    def model(self, which: str = "last") -> nn.Module:
        """Return the trained network in evaluation mode on the current device."""
        path = self.folder / store.WEIGHTS[choose("weights", which, store.WEIGHTS)]
        if not path.is_file():
            why = "was made without validation; set train.validate_every to keep the best weights"
            if not self.has_weights:
                why = f"is a record without weights; train it anew with --fresh to get {path}"
            raise UserError(f"Run {self.key} {why}.")
        model = build(self.recipe) if self.recipe.convert else _create(self.recipe)
        model.load_state_dict(load_file(path, device=str(device.device())))
        return model.eval()


def check(recipe: Recipe, protocols: Iterable[Protocol] = ()) -> None:
    """Refuse what a recipe cannot check itself: names, numbers of images, masks, trade-offs."""
    spec = data.spec(recipe.data.dataset)
    choose("backbone", recipe.model.backbone, BACKBONES)
    spec.check_limit("train", recipe.data.train_images)
    scoring.narrow(recipe.model, recipe.method, recipe.sparsity is not None)
    if recipe.start:
        check_start(recipe, recipe.start)
        check(recipe.start)
    for protocol in protocols:
        spec.check_limit(protocol.split, protocol.images)
        recipe.method.check_lam(protocol.lam)
        if protocol.slim not in recipe.method.widths:
            raise UserError(
                f"This {recipe.method.kind} network has no sub-network of slimming factor "
                f"{protocol.slim:g}; score one that method.slims names."
            )
        if protocol.weights == "best" and not recipe.train.validate_every:
            raise UserError("There are no best weights without validation; set validate_every.")


def build(recipe: Recipe) -> nn.Module:
    """Return the network that the training of a recipe begins with.

    It is initialised from the seed, or has the weights of the run that it starts from, which has
    to be finished; of masks, those that only the new network has keep their initial values.
    """
    check(recipe)
    if recipe.start is None:
        return _create(recipe)
    parent = load(recipe.start)
    if parent is None:
        raise UserError(
            f"Run {recipe.key} starts from run {recipe.start.key}, which is not here; train that "
            f"first with python -m lib train {recipe.start.key}."
        )
    if recipe.convert is None:
        model = _create(recipe)
        take(model, parent.model().state_dict())
        return model
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)  # for a draw of weight noise
        model = CONVERTERS[recipe.convert.kind](recipe.convert, parent.model())
    return _placed(model)


def _create(recipe: Recipe) -> nn.Module:
    spec = data.spec(recipe.data.dataset)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = create(
            recipe.method.kind,
            recipe.model.backbone,
            num_classes=spec.num_classes,
            in_channels=spec.channels,
            width=recipe.model.width or None,
            prunable=recipe.sparsity is not None,
            dropout=recipe.model.dropout,
            **recipe.method.options(),
        )
    return _placed(model)


def _placed(model: nn.Module) -> nn.Module:
    return model.to(device.device()).to(memory_format=torch.channels_last)


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
    if not store.is_sealed(home) or (run and run.folder == home):
        return run
    with store.one_writer(home):  # it may look damaged while another process replaces it
        if store.is_sealed(home) and (wrong := damage(Run(recipe, home))):
            aside = store.quarantine(home)
            log.warning("Run %s is damaged (%s); set aside as %s.", home.name, wrong, aside)
        return find(recipe, records)


def damage(run: Run) -> str:
    """Return what is wrong with a sealed run in a few words, '' if nothing is."""
    if wrong := store.damage(run.folder, may_lack=lambda name: name in store.WEIGHTS.values()):
        return wrong
    try:
        same = Recipe.from_dict(store.parse(run.folder / "recipe.json")) == run.recipe
    except (ValueError, UserError):
        same = False
    if not same:
        return "recipe.json is of another recipe"
    wanted = run.recipe.data
    now = data.folder_fingerprint(wanted.dataset, "train", wanted.train_images)
    if now and now != run.info.get("data_fingerprint"):
        return "it was trained on other images than the folder holds now"
    if _superseded(run):
        return "it started from other weights than the run it starts from has now"
    return ""


def _superseded(run: Run) -> bool:
    """Return whether the run that this one starts from is here, but with other weights."""
    start = run.recipe.start
    here = [Run(start, home) for home in store.homes(start.key)] if start else []
    then = run.info.get("start")
    return bool(here) and all(weights_of(r) != then or _superseded(r) for r in here)


def weights_of(run: Run) -> str:
    """Return the SHA-256 of a run's last weights as its manifest has it."""
    return evaluate.marks(run)["weights_sha256"]


def record(recipe: Recipe) -> Path:
    """Copy a finished run to where the repository keeps it, and return that folder.

    All that counts is copied but the weights, and what was there before is gone, except weights
    that are the run's. The runs that it starts from go with it where they are here. With
    SUITE_FROM_RECORDS, what has no weights or is of other code counts.
    """
    run = find(recipe)
    if run is None:
        raise UserError(f"Run {recipe.key} is not finished; there is nothing to record.")
    target = paths.records() / run.key
    listed = store.read_json(run.folder / store.MANIFEST)
    light = [name for name in listed if name not in store.WEIGHTS.values()]
    files = {name: (run.folder / name).read_bytes() for name in light}
    for name, content in evaluate.held(run).items():
        if store.redrawing() or evaluate.is_current(content, run):
            files[f"evaluations/{name}.json"] = store.encode(store.signed(content))
    if proof := next(iter(store.proofs(run.key)), None):
        files[store.VERIFIED] = store.encode(store.signed(proof))
    files[store.MANIFEST] = store.encode(listed)
    try:
        (target / store.MANIFEST).unlink(missing_ok=True)  # unfinished until all files are written
        for path in [p for p in target.rglob("*") if p.is_file()]:
            name = path.relative_to(target).as_posix()
            if name not in files and listed.get(name) != store.sha256(path):
                path.unlink()
    except OSError as error:
        raise UserError(f"Cannot change {target} ({error.strerror}); make it writable.") from error
    for name, raw in files.items():
        store.write_bytes(target / name, raw)
    if recipe.start and find(recipe.start):
        record(recipe.start)
    return target


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
        if not fresh and (run := load(recipe)):
            return run
        return _train(recipe, home, on_progress, fresh)


def _train(recipe: Recipe, home: Path, on_progress: OnProgress, fresh: bool) -> Run:
    started = time.time()
    images = data.load(
        recipe.data.dataset, "train", limit=recipe.data.train_images, device=device.device()
    )
    spec = data.spec(recipe.data.dataset)
    precision = device.precision(recipe.train.precision, spec.size)
    _clear(home)

    def start() -> Trainer:
        return Trainer(build(recipe), recipe, images, precision)

    marks = {"recipe": recipe.to_dict(), "code": code_fingerprint(recipe)}
    marks |= {"data": data.fingerprint(images), "precision": precision}
    if recipe.start and (parent := load(recipe.start)):
        marks["start"] = weights_of(parent)
    origin = _git()  # the code that trains, even if it is committed meanwhile
    resumed = None if fresh else _resume(home, start, marks)
    trainer, seconds = resumed or (start(), 0.0)
    saved = time.monotonic()
    best = _Best(recipe)
    total = recipe.train.epochs
    while trainer.epochs_done < total:
        row = trainer.epoch(lambda share: on_progress((trainer.epochs_done + share) / total))
        best.look(trainer, row, home)
        if time.monotonic() - saved > SAVE_EVERY and trainer.epochs_done < total:
            _save_resume(home, trainer, marks, seconds + time.time() - started)
            saved = time.monotonic()
    info = (
        {name: marks[name] for name in marks.keys() & {"start"}}
        | provenance()
        | origin
        | {
            "code": marks["code"],
            "data_fingerprint": marks["data"],
            "precision": precision,
            "seconds": round(seconds + time.time() - started, 1),
            "peak_memory_bytes": device.peak_memory(),
        }
    )
    return _seal(recipe, home, trainer, info)


class _Best:
    """Keeps the weights that did best on validation images, if the recipe looks at them."""

    def __init__(self, recipe: Recipe) -> None:
        self.every, self.recipe = recipe.train.validate_every, recipe
        if self.every:
            self.images = data.load(recipe.data.dataset, "val", device=device.device())

    def look(self, trainer: Trainer, row: dict[str, Any], home: Path) -> None:
        """Score the network if it is time; the mean of clean and robust accuracy decides."""
        epoch, total = trainer.epochs_done, self.recipe.train.epochs
        if not self.every or (epoch % self.every and epoch < total):
            return
        attack = {"attack": "pgd", **self.recipe.attack.to_dict()}
        clean = Protocol(lam=self.recipe.method.clean_lam)
        protocols = {"val_clean": clean, "val_robust": Protocol(lam=1.0, **attack)}
        for name, protocol in protocols.items():
            hits = scoring.correct(trainer.model, self.images, protocol)
            row[name] = round(float(hits.double().mean()), 6)
        score = row["val_clean"] + row["val_robust"]
        past = [r["val_clean"] + r["val_robust"] for r in trainer.history[:-1] if "val_clean" in r]
        if score > max(past, default=-1.0):
            store.write_bytes(home / NEXT_BEST, _packed(trainer.model))


def _packed(model: nn.Module) -> bytes:
    return save({name: t.contiguous().cpu() for name, t in model.state_dict().items()})


def _save_resume(home: Path, trainer: Trainer, marks: dict[str, Any], seconds: float) -> None:
    buffer = io.BytesIO()
    torch.save(trainer.state() | {"marks": marks, "seconds": seconds}, buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).digest()
    store.write_bytes(home / "resume.pt", digest + content)


def _clear(home: Path) -> None:
    """Set aside a folder in the place of a file, or the reverse, before any work is lost to it."""
    inside = home.iterdir() if home.is_dir() else ()
    blocking = [p for p in inside if p.is_dir() != (p.name == "evaluations")]
    for path in [p for p in blocking if ".damaged-" not in p.name] or [home] * home.is_file():
        log.warning("%s was in the way; set aside as %s.", path, store.quarantine(path).name)


def _resume(
    home: Path, start: Callable[[], Trainer], marks: dict[str, Any]
) -> tuple[Trainer, float] | None:
    """Return a trainer in the state of an unfinished run and the seconds it took, if there is one.

    What is damaged or cannot be continued is set aside, and the run starts over.
    """
    path = home / "resume.pt"
    if not path.is_file():
        return None
    raw = path.read_bytes()
    try:
        if hashlib.sha256(raw[32:]).digest() != raw[:32]:
            raise ValueError
        state = torch.load(io.BytesIO(raw[32:]), map_location=device.device(), weights_only=True)
        then = state["marks"]
        then["recipe"] = Recipe.from_dict(then["recipe"]).to_dict()  # fields added since
        if changed := [name for name in marks if then.get(name) != marks[name]]:
            path.replace(path.with_name("resume.pt.superseded"))
            log.warning("%s of %s changed since; it starts over.", changed[0].title(), home.name)
            return None
        trainer = start()
        trainer.restore(state)
        if [row["epoch"] for row in trainer.history] != [*range(1, trainer.epochs_done + 1)]:
            raise ValueError
        buffers = ((p, s.get("momentum_buffer", p)) for p, s in trainer.optimiser.state.items())
        if any(p.shape != b.shape for p, b in buffers) or not 0 <= state["seconds"] < math.inf:
            raise ValueError
        return trainer, float(state["seconds"])
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:  # whatever a state can hold in place of what `_save_resume` wrote
        log.warning("%s is damaged and set aside; the run starts over.", store.quarantine(path))
        return None


def _seal(recipe: Recipe, home: Path, trainer: Trainer, info: dict[str, Any]) -> Run:
    files = {
        store.WEIGHTS["last"]: _packed(trainer.model),
        "history.csv": pd.DataFrame(trainer.history or {"epoch": []}).to_csv(index=False).encode(),
        "recipe.json": store.encode(recipe.to_dict()),
        "run.json": store.encode(info),
    }
    for name, content in files.items():  # all on disk before an older run is touched
        store.write_bytes(home / f"{name}.next", content)
    for name in (store.MANIFEST, "evaluations", store.VERIFIED, *store.WEIGHTS.values()):
        store.remove(home / name)
    for name in files:
        (home / f"{name}.next").replace(home / name)
    names = list(files)
    if (home / NEXT_BEST).is_file():
        (home / NEXT_BEST).replace(home / store.WEIGHTS["best"])
        names.append(store.WEIGHTS["best"])
    store.seal(home, names)
    for name in ("resume.pt", "resume.pt.superseded"):
        store.remove(home / name)
    return Run(recipe, home)


def code_fingerprint(recipe: Recipe) -> str:
    """Return a hash of the code that decides the weights of a recipe, given its images."""
    spec = data.spec(recipe.data.dataset)
    found: list[Any] = [_create, Trainer, objective(recipe.method), data.Images, device.precision]
    found += [NORMS[recipe.attack.norm], SCHEDULES[recipe.train.schedule], recipe.method.decays]
    found += [PRUNERS[recipe.sparsity.kind if recipe.sparsity else ""]]
    found += [str((spec.pad, spec.flip, spec.num_classes, spec.channels))]
    if recipe.train.validate_every:
        found += [_Best, scoring.ATTACKS["none"], scoring.ATTACKS["pgd"]]
    if recipe.start:
        found += [take, code_fingerprint(recipe.start)]
    if recipe.convert:
        found.append(CONVERTERS[recipe.convert.kind])
    found += scoring.network_code(recipe.model, recipe.method, recipe.sparsity is not None)
    return source.used(*found)


def is_current(run: Run) -> bool:
    """Return whether today's code made a run, or has been shown to train its first epochs alike."""
    return confirmed(run.recipe, run.info.get("code"))


def confirmed(recipe: Recipe, made_by: Any) -> bool:
    """Return whether today's code is the one that made a run, or has been shown to be like it."""
    today = code_fingerprint(recipe)
    pairs = [(proof.get("made_by"), proof.get("code")) for proof in store.proofs(recipe.key)]
    return made_by == today or (made_by, today) in pairs


def provenance() -> dict[str, Any]:
    """Return commit, versions, device and time, as every record carries them."""
    return (
        device.describe()
        | _git()
        | {"finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    )


def _git() -> dict[str, Any]:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(paths.ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        dirty = bool(git("status", "--porcelain", "--untracked-files=no", "--", "lib"))
        return {"commit": git("rev-parse", "HEAD"), "dirty": dirty}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "", "dirty": None}
