"""A training from its first epoch to the sealed run, carried on after any kill.

resume.pt (plain containers and tensors) holds the state of an unfinished training.
"""

import hashlib
import io
import logging
import math
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save
from torch import nn

from lib import data, device, parallel, paths, scoring, stopping, store
from lib.errors import UserError
from lib.protocol import Protocol
from lib.recipe import Recipe
from lib.trainers import Trainer, make

log = logging.getLogger("lib")

OnProgress = Callable[[float], None]
SAVE_EVERY = 30.0  # seconds between resume states, each of which takes up to a second or two
NEXT_BEST = "best.safetensors.next"  # until the run is sealed
NEXT_MANIFEST = f"{store.MANIFEST}.next"  # until the state it makes superfluous is gone


def train(
    recipe: Recipe,
    home: Path,
    build: Callable[[], nn.Module],
    marks: dict[str, Any],
    on_progress: OnProgress,
    fresh: bool = False,
) -> None:
    """Train a recipe from the network that build returns, and seal its run in home.

    An unfinished training is carried on, unless fresh, if all that marks say of it still holds.
    """
    started = time.time()
    device.forget_peak()
    part = recipe.data
    images = data.load(part.dataset, part.split, part.train_images, device.device())
    spec = data.spec(recipe.data.dataset)
    precision = device.used_precision(recipe.train.precision, spec.size)
    _clear(home)

    def start() -> Trainer:
        return make(recipe, build(), images, precision, backend)

    backend = device.backend()
    known = marks | {"data_fingerprint": data.fingerprint(images), "precision": precision}
    known |= {"compiled": backend}
    identity = {"recipe": recipe.to_dict()} | known
    origin = provenance()  # of the code that trains, even if it is committed meanwhile
    resumed = None if fresh else _resume(home, start, identity)
    trainer, seconds = resumed or (start(), 0.0)
    total = recipe.train.epochs

    def save() -> None:
        _save_resume(home, trainer, identity, seconds + time.time() - started)

    best, keeper = Best(recipe), Keeper(save)

    def after_step(share: float) -> None:
        on_progress((trainer.epochs_done + share) / total)
        keeper.look()

    with stopping.patience():
        while trainer.epochs_done < total or best.lacks(trainer):
            if best.lacks(trainer):
                best.look(trainer, home, keeper.look)
            else:
                trainer.epoch(after_step)
        if not finite(trainer.model.state_dict()):
            raise UserError(
                f"Training diverged by epoch {total} (a weight is no finite number); lower "
                "train.lr and rerun."
            )
        spent = {"seconds": round(seconds + time.time() - started, 1), "finished": _now()}
        spent |= {"peak_memory_bytes": device.peak_memory()}
        _seal(recipe, home, trainer, origin | known | spent)


class Keeper:
    """Saves the state of a training now and then, and stops it before its time is up."""

    def __init__(self, save: Callable[[], None]) -> None:
        self.save, self.saving, self.slowest = save, 0.0, 0.0
        self.saved = self.looked = time.monotonic()

    def look(self, *share: float) -> None:
        """Do what is to be done between two steps, when the state is whole."""
        now = time.monotonic()
        self.slowest = max(0.9 * self.slowest, now - self.looked)  # of late
        due = parallel.agreed(stopping.due(self.slowest + 2 * self.saving))
        if due or now - self.saved > SAVE_EVERY:
            self.save()
            self.saved = time.monotonic()
            self.saving = self.saved - now
        if due:
            stopping.stop()
        stopping.hold()
        self.looked = time.monotonic()


class Best:
    """Keeps the weights that did best on validation images, if the recipe looks at them."""

    def __init__(self, recipe: Recipe) -> None:
        self.every, self.recipe = recipe.train.validate_every, recipe
        if self.every:
            self.images = data.load(recipe.data.dataset, "val", device=device.device())

    def lacks(self, trainer: Trainer) -> bool:
        """Return whether the last epoch is to be scored and has not been."""
        epoch, total = trainer.epochs_done, self.recipe.train.epochs
        wanted = self.every and epoch and (epoch % self.every == 0 or epoch == total)
        return bool(wanted) and "val_clean" not in trainer.history[-1]

    def look(self, trainer: Trainer, home: Path, on_step: OnProgress) -> None:
        """Score the network; the mean of clean and robust accuracy decides."""
        row, found = trainer.history[-1], {}
        attack = {"attack": "pgd", **self.recipe.attack.to_dict()}
        clean = Protocol(lam=self.recipe.method.clean_lam)
        protocols = {"val_clean": clean, "val_robust": Protocol(lam=1.0, **attack)}
        for name, protocol in protocols.items():
            hits = scoring.correct(trainer.model, self.images, protocol, on_step)
            found[name] = round(float(hits.double().mean()), 6)
        score = sum(found.values())
        past = [r["val_clean"] + r["val_robust"] for r in trainer.history[:-1] if "val_clean" in r]
        if score > max(past, default=-1.0):
            store.write_bytes(home / NEXT_BEST, packed(trainer.model))
        row |= found


def finite(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Return whether every number of a network is finite."""
    return all(bool(t.isfinite().all()) for t in tensors.values() if t.is_floating_point())


def packed(model: nn.Module) -> bytes:
    """Return the weights of a network as they are stored."""
    return save({name: t.contiguous().cpu() for name, t in model.state_dict().items()})


def _save_resume(home: Path, trainer: Trainer, marks: dict[str, Any], seconds: float) -> None:
    buffer, best = io.BytesIO(), home / NEXT_BEST
    state = trainer.state() | {"marks": marks, "seconds": seconds}
    if best.is_file():  # as it was then, whatever becomes of the file
        state["best"] = torch.frombuffer(bytearray(best.read_bytes()), dtype=torch.uint8)
    torch.save(state, buffer)
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
            what = changed[0].split("_")[0].title()
            log.warning("%s of %s changed since; it starts over.", what, home.name)
            return None
        trainer = start()
        trainer.restore(state)
        if [row["epoch"] for row in trainer.history] != [*range(1, trainer.epochs_done + 1)]:
            raise ValueError
        buffers = ((p, s.get("momentum_buffer", p)) for p, s in trainer.optimiser.state.items())
        if (
            any(p.shape != b.shape for p, b in buffers)
            or not 0 <= state["seconds"] + state["spent"] < math.inf
        ):
            raise ValueError
        if not 0 <= trainer.step <= trainer.steps_per_epoch or trainer.total.shape:
            raise ValueError
        if not trainer.total.isfinite() or not finite(trainer.model.state_dict()):
            raise ValueError
        if "best" in state:
            store.write_bytes(home / NEXT_BEST, state["best"].cpu().numpy().tobytes())
        return trainer, float(state["seconds"])
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:  # whatever a state can hold in place of what `_save_resume` wrote
        log.warning("%s is damaged and set aside; the run starts over.", store.quarantine(path))
        return None


def _seal(recipe: Recipe, home: Path, trainer: Trainer, info: dict[str, Any]) -> None:
    files = {
        store.WEIGHTS["last"]: packed(trainer.model),
        "history.csv": pd.DataFrame(trainer.history or {"epoch": []}).to_csv(index=False).encode(),
        "recipe.json": store.encode(recipe.to_dict()),
        "run.json": store.encode(info),
    }
    for name, content in files.items():  # all on disk before an older run is touched
        store.write_bytes(home / f"{name}.next", content)
    manifests = NEXT_MANIFEST, store.MANIFEST
    for name in (*manifests, "evaluations", store.VERIFIED, *store.WEIGHTS.values()):
        store.remove(home / name)
    for name in files:
        (home / f"{name}.next").replace(home / name)
    names = list(files)
    if (home / NEXT_BEST).is_file():
        (home / NEXT_BEST).replace(home / store.WEIGHTS["best"])
        names.append(store.WEIGHTS["best"])
    store.seal(home, names, NEXT_MANIFEST)
    complete(home)


def complete(home: Path) -> None:
    """Let a training whose files are all written be the run, also one that was killed just then."""
    if not store.damage(home, NEXT_MANIFEST):
        for name in ("resume.pt", "resume.pt.superseded"):
            store.remove(home / name)
        (home / NEXT_MANIFEST).replace(home / store.MANIFEST)


def provenance() -> dict[str, Any]:
    """Return commit, versions, device and time."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(paths.ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        dirty = bool(git("status", "--porcelain", "--untracked-files=no", "--", "lib"))
        code = {"commit": git("rev-parse", "HEAD"), "dirty": dirty}
    except (OSError, subprocess.CalledProcessError):
        code = {"commit": "", "dirty": None}
    return device.describe() | code | {"finished": _now()}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
