"""Evaluations of a run, kept as records beside it: the one that is there, or measured now.

A record names its recipe and the hash of the weights that it measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import torch
from torch import Tensor, nn

from lib import data, device, paths, scoring, store
from lib.errors import UserError
from lib.protocol import Protocol
from lib.recipe import Recipe
from lib.scoring import correct

SAVE_EVERY = 5.0  # seconds between states of an unfinished evaluation


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


def evaluate(
    run: Trained, protocol: Protocol, on_progress: scoring.OnStep = lambda done: None
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
            "code": scoring.code_fingerprint(run.recipe, protocol),
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


def held(run: Trained) -> dict[str, dict[str, Any]]:
    """Return by name every record that was measured on a run's weights, by whatever code."""
    homes = [path.parent for path in store.evaluations(run.recipe.key, "any")]
    found = {}
    for name in sorted({path.stem for home in homes for path in home.glob("*.json")}):
        looks = (kept(run, name, weights, lambda r: whole(r, run)) for weights in store.WEIGHTS)
        if not name.endswith(".partial") and (record := next(filter(None, looks), None)):
            found[name] = record
    return found


def find(run: Trained, protocol: Protocol, records: bool = False) -> dict[str, Any] | None:
    """Return the record of an evaluation if there is one that counts.

    Where records are wanted, here or by SUITE_FROM_RECORDS, what other code measured counts, too.
    """

    def counts(record: dict[str, Any]) -> bool:
        of_today = records or store.redrawing() or is_current(record, run)
        return of_today and "protocol" in record and whole(record, run, protocol)

    return kept(run, protocol.key, protocol.weights, counts)


def is_current(record: dict[str, Any], run: Trained) -> bool:
    """Return whether today's code measured a record, or has been shown to score it alike.

    What was measured under no protocol is the same by whatever code.
    """
    if "protocol" not in record:
        return True
    protocol = Protocol(**record["protocol"])
    today = scoring.code_fingerprint(run.recipe, protocol)
    if record.get("code") == today:
        return True
    shown = [p.get("evaluations", {}).get(protocol.key, {}) for p in store.proofs(run.recipe.key)]
    return any(proof(record, today).items() <= one.items() for one in shown)


def proof(record: dict[str, Any], code: str) -> dict[str, str]:
    """Return what says that code scores exactly this record alike."""
    return {"record": store.digest(record), "code": code}


def whole(record: dict[str, Any], run: Trained, protocol: Protocol | None = None) -> bool:
    """Return whether a record is of this protocol (None: any), sound, and of today's images.

    Only a folder of images can change under its name; other data sets are not looked at, as
    records are drawn without data.
    """
    if "protocol" not in record:
        return protocol is None
    try:
        made = Protocol(**record["protocol"])
        hits = unpack(record["bits"], record["n"])
    except (KeyError, TypeError, ValueError, UserError):
        return False
    spec = data.spec(run.recipe.data.dataset)
    total = made.images or spec.images[data.SPLITS.index(made.split)] or record.get("n")
    if (record["n"], record["n"], record.get("correct")) != (total, len(hits), sum(hits)):
        return False
    now = data.folder_fingerprint(run.recipe.data.dataset, made.split, made.images)
    return protocol in (None, made) and (not now or record.get("data_fingerprint") == now)


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
