"""Accuracy of a network on clean and attacked images, per image, and the rows of metrics.csv.

The attack always differentiates exactly the function that is scored: the same lam, path, batch norm
and noise policy. Nothing of the network is changed.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import torch
from torch import Tensor, nn

from lib import data, device, paths, source, store
from lib.attacks import autoattack, fgsm, pgd
from lib.errors import UserError
from lib.models import Conditional, classifier
from lib.protocol import Protocol
from lib.recipe import Recipe
from lib.trainers import under_attack

Classifier = Callable[[Tensor], Tensor]
BATCH = 100  # images that share a draw of weight noise
SAVE_EVERY = 5.0  # seconds between states of an unfinished evaluation
PARTS = ("attacks", "data", "device", "evaluate", "models", "protocol")


@cache
def code_fingerprint() -> str:
    """Return a hash of the code that decides what an evaluation of given weights comes to."""
    text = " ".join(source.fingerprint(part) for part in PARTS)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stream(purpose: str, seed: int, batch: int = 0) -> int:
    """Return the seed of one purpose in one batch, so that all of them draw independently."""
    text = f"{purpose} {seed} {batch}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


class Trained(Interface):
    """What evaluation needs of a run of the store."""

    @property
    def recipe(self) -> Recipe:
        """Return what was trained."""

    @property
    def folder(self) -> Path:
        """Return where the run is kept."""

    def model(self, which: str = "last") -> nn.Module:
        """Return the trained network."""


def function(model: nn.Module, protocol: Protocol) -> Classifier:
    """Return the function of images that the protocol attacks and scores: one lam, one policy.

    A slimming factor is refused for a network that has one width.
    """
    options: dict[str, Any] = {}
    if protocol.threshold:
        options["threshold"] = protocol.threshold
    if protocol.noise == "frozen" and isinstance(model, Conditional):
        place = next(model.parameters()).device
        seed = stream("frozen noise", protocol.seed)
        options["noise"] = model.draw_noise(torch.Generator(place).manual_seed(seed))
    return classifier(model, protocol.lam, slim=protocol.slim, **options)


def perturb(
    f: Classifier,
    x: Tensor,
    y: Tensor,
    protocol: Protocol,
    seed: int,
    on_step: Callable[[float], None] = lambda done: None,
) -> Tensor:
    """Return the images that the protocol's attack makes of x (N, C, H, W) in [0, 1]."""
    if protocol.attack == "none":
        return x
    if protocol.attack == "autoattack":
        settings = {n: getattr(protocol, n) for n in ("version", "norm", "steps", "eot", "queries")}
        return autoattack(f, x, y, protocol.eps, seed=seed, on_step=on_step, **settings)
    generator = torch.Generator(x.device).manual_seed(seed)
    if protocol.attack == "fgsm":
        return fgsm(f, x, y, protocol.eps, eot=protocol.eot, generator=generator)
    return pgd(
        f,
        x,
        y,
        protocol.eps,
        protocol.used_step,
        protocol.steps,
        norm=protocol.norm,
        random_start=protocol.random_start,
        restarts=protocol.restarts,
        eot=protocol.eot,
        generator=generator,
    )


def correct(
    model: nn.Module,
    images: data.Images,
    protocol: Protocol,
    on_step: Callable[[float], None] = lambda done: None,
    found: list[bool] | None = None,
    on_batch: Callable[[list[bool]], None] = lambda found: None,
) -> Tensor:
    """Return (N,) booleans: which images are still classified correctly under the protocol.

    Attack and scoring are in float32, whatever the training used: in bfloat16 logits tie. With
    fresh noise each batch of images meets draws of its own. Draws depend on the protocol's seed and
    the place of the batch alone: from `found`, which is what `on_batch` got in an earlier call, the
    same result follows. on_step gets the share done, also within a batch where the attack tells it.
    """
    place = images.images.device
    found = list(found or ())
    if len(found) < len(images):
        del found[len(found) // BATCH * BATCH :]  # whole batches count
    f = function(model, protocol)
    devices = [place] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), under_attack(model):
        for index, (x, y) in enumerate(data.in_order(images, BATCH)):
            start = index * BATCH
            if start < len(found):
                continue

            def within(done: float, start: int = start, size: int = len(x)) -> None:
                on_step((start + done * size) / len(images))

            torch.manual_seed(stream("weight noise", protocol.seed, index))
            perturbed = perturb(f, x, y, protocol, stream("attack", protocol.seed, index), within)
            with torch.no_grad():
                found += (f(perturbed).argmax(1) == y).tolist()
            on_batch(found)
            within(1.0)
    return torch.tensor(found)


def evaluate(
    run: Trained, protocol: Protocol, on_progress: Callable[[float], None] = lambda done: None
) -> dict[str, Any]:
    """Return the record of one evaluation of a run: the one that is kept, or measured now.

    The record holds the protocol, n, the number of correct images, and per image whether it is
    correct (`bits`, hexadecimal, first image in the highest bit), and `marks`. What other code
    measured is measured anew, except where SUITE_FROM_RECORDS asks for records. A long evaluation
    that was stopped goes on at the batch where it was.
    """
    if record := find(run, protocol):
        return record
    with store.one_writer(paths.runs() / run.recipe.key):
        if record := find(run, protocol):
            return record
        images = data.load(
            run.recipe.data.dataset,
            protocol.split,
            limit=protocol.images,
            device=device.device(),
        )
        known = {
            "protocol": protocol.to_dict(),
            "code": code_fingerprint(),
            "data_fingerprint": data.fingerprint(images),
            **marks(run, protocol.weights),
        }
        path = store.evaluations(run.recipe.key, protocol.key)[0]
        store.set_aside_damaged(path)
        with _Partial(path, known, len(images)) as partial:
            model = run.model(protocol.weights)
            hits = correct(model, images, protocol, on_progress, partial.found, partial.keep)
            record = {
                "n": len(hits),
                "correct": int(hits.sum()),
                "bits": pack(hits),
                "seconds": partial.seconds(),
                "precision": "fp32",
                **known,
                **device.describe(),
            }
            store.write_json(path, store.signed(record))
        return record


def marks(run: Trained, weights: str = "last") -> dict[str, str]:
    """Return what every record of a run carries: which run, and which weights of it."""
    digest = store.read_json(run.folder / store.MANIFEST).get(store.WEIGHTS[weights], "")
    return {"recipe_key": run.recipe.key, "weights_sha256": digest}


def kept(
    run: Trained, name: str, weights: str = "last", suits: Callable[[Any], bool] = bool
) -> dict[str, Any] | None:
    """Return the record of a name that was measured on exactly these weights, None without."""
    own = marks(run, weights)
    for path in store.evaluations(run.recipe.key, name):
        record = store.read_signed(path)
        if record and own.items() <= record.items() and suits(record):
            return record
    return None


def counting(run: Trained, records: bool | None = None) -> dict[str, dict[str, Any]]:
    """Return by name every record of a run that counts."""

    def suits(record: dict[str, Any]) -> bool:
        return "protocol" not in record or counts(record, run, records=records)

    homes = [path.parent for path in store.evaluations(run.recipe.key, "any")]
    found = {}
    for name in sorted({path.stem for home in homes for path in home.glob("*.json")}):
        looks = (kept(run, name, weights, suits) for weights in store.WEIGHTS)
        if not name.endswith(".partial") and (record := next(filter(None, looks), None)):
            found[name] = record
    return found


def find(run: Trained, protocol: Protocol, records: bool | None = None) -> dict[str, Any] | None:
    """Return the record of an evaluation if there is one that counts."""
    return kept(run, protocol.key, protocol.weights, lambda r: counts(r, run, protocol, records))


def counts(
    record: dict[str, Any],
    run: Trained,
    protocol: Protocol | None = None,
    records: bool | None = None,
) -> bool:
    """Return whether a record is of this protocol (None: any), today's code and today's images.

    Where records are wanted, the code does not matter. Only a folder of images can change under
    its name; other data sets are not looked at, as records are drawn without data.
    """
    if records is None:
        records = bool(os.environ.get("SUITE_FROM_RECORDS"))
    try:
        made = Protocol(**record["protocol"])
    except (KeyError, TypeError, UserError):
        return False
    if protocol not in (None, made) or not (records or record.get("code") == code_fingerprint()):
        return False
    spec = data.spec(run.recipe.data.dataset)
    total = made.images or spec.images[data.SPLITS.index(made.split)] or record.get("n")
    try:
        hits = unpack(record["bits"], record["n"])
    except (KeyError, TypeError, ValueError):
        return False
    if (record["n"], record["n"], record.get("correct")) != (total, len(hits), sum(hits)):
        return False
    now = data.folder_fingerprint(run.recipe.data.dataset, made.split, made.images)
    return not now or record.get("data_fingerprint") == now


class _Partial:
    """What an unfinished evaluation has found, kept beside the record that it will be.

    It counts only for what is known of it: protocol, code, images, weights; and the same device. As
    a context manager it writes what an interruption would lose, and removes the file after a block
    that ended well.
    """

    def __init__(self, record: Path, known: dict[str, Any], total: int) -> None:
        self.path = record.with_suffix(".partial.json")
        self.marks = known | {"device": device.describe()}
        self.started = self.saved = time.perf_counter()
        self.found: list[bool] = []
        self.earlier = 0.0
        store.set_aside_damaged(self.path)
        past = store.read_signed(self.path)
        if past and all(past.get(name) == mark for name, mark in self.marks.items()):
            try:
                found, earlier = unpack(past["bits"], past["n"]), float(past["seconds"])
                if len(found) > total or not 0 <= earlier < float("inf"):
                    raise ValueError
            except (KeyError, TypeError, ValueError):  # signed, but not what `save` writes
                store.quarantine(self.path)
            else:
                self.found, self.earlier = found, earlier

    def __enter__(self) -> _Partial:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.path.unlink(missing_ok=True)
        elif self.found:
            self.save()

    def seconds(self) -> float:
        """Return the seconds spent, those before an interruption included."""
        return round(self.earlier + time.perf_counter() - self.started, 2)

    def keep(self, found: list[bool]) -> None:
        """Take over what has been found, and write it at most every few seconds."""
        self.found = list(found)
        if time.perf_counter() - self.saved >= SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write what has been found so far."""
        self.saved = time.perf_counter()
        bits = {"bits": pack(torch.tensor(self.found)), "n": len(self.found)}
        store.write_json(self.path, store.signed(self.marks | bits | {"seconds": self.seconds()}))


def pack(hits: Tensor) -> str:
    """Return booleans (N,) as a hexadecimal number whose highest bit is the first image."""
    text = "".join("1" if hit else "0" for hit in hits.tolist())
    return f"{int(text, 2):0{(len(text) + 3) // 4}x}"


def unpack(bits: str, n: int) -> list[bool]:
    """Return the booleans that `pack` was given."""
    return [digit == "1" for digit in f"{int(bits, 16):0{n}b}"]
