"""Evaluations of a run, kept as records beside it: the one that is there, or measured now.

A record counts if it is signed, names its recipe and the hash of the weights that it measured, is
whole, and was made by today's code.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib import data, device, scoring, store
from lib.errors import UserError
from lib.models.depthwise import equivalents
from lib.protocol import Protocol
from lib.runs import Run, folder
from lib.scoring import correct

SAVE_EVERY = 5.0  # seconds between states of an unfinished evaluation
Record = dict[str, Any]


def evaluate(
    run: Run, protocol: Protocol, on_progress: scoring.OnStep = lambda done: None
) -> Record:
    """Return the record of one evaluation of a run: the one that is kept, or measured now.

    The record holds the protocol, n, the number of correct answers, and for each draw of weight
    noise, mostly the only one, which images were correct (`bits`, as `pack` writes them), and
    `Run.marks`. What other code measured is measured anew, except where SUITE_FROM_RECORDS asks for
    records. A long evaluation that was stopped goes on at the batch where it was.
    """
    if record := find(run, protocol):
        return record
    with store.one_writer(folder(run.recipe)):
        if record := find(run, protocol):
            return record
        images = data.load(
            run.recipe.data.dataset, protocol.split, limit=protocol.images, device=device.device()
        )
        known = {
            "protocol": protocol.to_dict(),
            "code": scoring.code_fingerprint(run.recipe, protocol),
            "data_fingerprint": data.fingerprint(images),
            **run.marks(protocol.weights),
        }
        path = folder(run.recipe) / f"evaluations/{protocol.key}.json"
        store.set_aside_damaged(path)
        with _Partial(path, known, len(images)) as partial:
            model = equivalents(run.model(protocol.weights))  # attacked in its fastest form
            hits = correct(model, images, protocol, on_progress, partial.found, partial.keep)
            record = {
                "n": hits.shape[1],
                "correct": int(hits.sum()),
                "bits": pack(hits),
                "seconds": partial.seconds(),
                "precision": "fp32",
                **known,
                **device.describe(),
            }
            store.write_signed(partial.path, record)
            partial.path.replace(path)
        return record


def find(run: Run, protocol: Protocol, any_code: bool = False) -> Record | None:
    """Return the record of an evaluation if there is one that counts.

    What other code measured counts where that is wanted, here or by SUITE_FROM_RECORDS.
    """
    any_code = any_code or store.redrawing()
    whole = (record for record in kept(run, protocol.key) if "protocol" in record)
    return next((record for record in whole if any_code or is_current(run, record)), None)


def kept(run: Run, name: str) -> Iterator[Record]:
    """Yield the whole records of a name that were measured on a run's weights, by any code."""
    for home in run.places():
        yield from (record for _, record in store.measured(home, name) if _whole(run, name, record))


def held(run: Run) -> dict[str, Record]:
    """Return by name every whole record that was measured on a run's weights, by any code."""
    pairs = [pair for home in run.places() for pair in store.measured(home)]
    found = {name: record for name, record in reversed(pairs) if _whole(run, name, record)}
    return dict(sorted(found.items()))


def is_current(run: Run, record: Record) -> bool:
    """Return whether today's code measured a record, or has been shown to score it alike.

    What was measured under no protocol is the same by whatever code.
    """
    if "protocol" not in record:
        return True
    protocol = Protocol(**record["protocol"])
    today = scoring.code_fingerprint(run.recipe, protocol)
    shown = [p.get("evaluations", {}).get(protocol.key, {}) for p in store.proofs(run.key)]
    return record.get("code") == today or any(
        proof(record, today).items() <= one.items() for one in shown
    )


def proof(record: Record, code: str) -> dict[str, str]:
    """Return what says that code scores exactly this record alike."""
    return {"record": store.digest(record), "code": code}


def _whole(run: Run, name: str, record: Record) -> bool:
    """Return whether a record is of a run's weights, of its own name, sound, and of today's images.

    Only a folder of images can change under its name; records count without other data.
    """
    if "protocol" not in record:
        return run.marks().items() <= record.items()
    try:
        protocol = Protocol(**record["protocol"])
        hits = unpack(record["bits"], record["n"])
    except (KeyError, TypeError, ValueError, UserError):
        return False
    dataset, split = run.recipe.data.dataset, protocol.split
    total = protocol.images or data.spec(dataset).images[data.SPLITS.index(split)] or record["n"]
    now = data.folder_fingerprint(dataset, split, protocol.images)
    return (
        protocol.key == name
        and run.marks(protocol.weights).items() <= record.items()
        and (record["n"], record.get("correct")) == (total, int(hits.sum()))
        and (not now or record.get("data_fingerprint") == now)
    )


class _Partial:
    """What an unfinished evaluation has found, kept beside the record that it will be.

    It counts only for what is known of it: protocol, code, images, weights; and the same device. As
    a context manager it writes what an interruption would lose. In the end it becomes the record.
    """

    def __init__(self, record: Path, known: Record, total: int) -> None:
        self.path = record.with_suffix(".partial.json")
        self.marks = known | device.describe()
        self.started = self.saved = time.perf_counter()
        self.found: Tensor | None = None
        self.before, self.earlier = 0, 0.0  # images and seconds
        store.set_aside_damaged(self.path)
        past = store.read_signed(self.path)
        if past and self.marks.items() <= past.items():
            try:
                found, earlier = unpack(past["bits"], past["n"]), float(past["seconds"])
                if found.shape[1] > total or not 0 <= earlier < float("inf"):
                    raise ValueError
                self.found, self.before, self.earlier = found, found.shape[1], earlier
            except (KeyError, TypeError, ValueError):  # signed, but not what `save` writes
                store.quarantine(self.path)

    def __enter__(self) -> _Partial:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind and self.found is not None and self.found.shape[1] > self.before:
            self.save(self.found)

    def seconds(self) -> float:
        return round(self.earlier + time.perf_counter() - self.started, 2)

    def keep(self, found: Tensor) -> None:
        """Take over what has been found, and write it at most every few seconds."""
        self.found = found
        if time.perf_counter() - self.saved >= SAVE_EVERY:
            self.save(found)

    def save(self, found: Tensor) -> None:
        self.saved = time.perf_counter()
        bits = {"bits": pack(found), "n": found.shape[1]}
        store.write_signed(self.path, self.marks | bits | {"seconds": self.seconds()})


def pack(hits: Tensor) -> str:
    """Return booleans (draws, N) as a hexadecimal number for each draw, separated by spaces.

    The highest bit of N is the first image.
    """
    rows = ("".join("1" if hit else "0" for hit in row) for row in hits.tolist())
    return " ".join(f"{int(text, 2):0{(len(text) + 3) // 4}x}" for text in rows)


def unpack(bits: str, n: int) -> Tensor:
    """Return the booleans (draws, n) that `pack` was given."""
    draws = bits.split() if isinstance(bits, str) else []
    texts = [f"{int(draw, 16):0{n}b}" for draw in draws]
    if any(len(text) != n for text in texts) or not texts:
        raise ValueError
    return torch.tensor([[digit == "1" for digit in text] for text in texts])
