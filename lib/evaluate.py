"""Accuracy of a network on clean and attacked images, per image, and the rows of metrics.csv.

The attack always differentiates exactly the function that is scored: the same lam, path, batch norm
and noise policy. Nothing of the network is changed.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import torch
from torch import Tensor, nn

from lib import data, device, source, store
from lib.attacks import fgsm, pgd
from lib.errors import UserError
from lib.models import Conditional
from lib.protocol import Protocol
from lib.recipe import Recipe
from lib.trainers import under_attack

Classifier = Callable[[Tensor], Tensor]
BATCH = 100  # images that share a draw of weight noise
PARTS = ("attacks", "data", "device", "evaluate", "models", "protocol")


@cache
def code_fingerprint() -> str:
    """Return a hash of the code that decides what an evaluation of given weights comes to."""
    text = " ".join(source.fingerprint(part) for part in PARTS)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stream(purpose: str, seed: int) -> int:
    """Return the seed of one purpose, so that draws for different purposes are independent."""
    return int.from_bytes(hashlib.sha256(f"{purpose} {seed}".encode()).digest()[:6], "big")


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
    """Return the function of images that the protocol attacks and scores: one lam, one policy."""
    if not isinstance(model, Conditional):
        return model
    options: dict[str, Any] = {"lam": protocol.lam}
    if protocol.threshold:
        options["threshold"] = protocol.threshold
    if protocol.noise == "frozen":
        place = next(model.parameters()).device
        generator = torch.Generator(place).manual_seed(stream("frozen noise", protocol.seed))
        options["noise"] = model.draw_noise(generator)
    return partial(model, **options)


def perturb(
    f: Classifier, x: Tensor, y: Tensor, protocol: Protocol, generator: torch.Generator
) -> Tensor:
    """Return the images that the protocol's attack makes of x (N, C, H, W) in [0, 1]."""
    if protocol.attack == "none":
        return x
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
) -> Tensor:
    """Return (N,) booleans: which images are still classified correctly under the protocol.

    Attack and scoring are in float32, whatever the training used: in bfloat16 logits tie. With
    fresh noise each batch of images meets draws of its own.
    """
    f = function(model, protocol)
    place = images.images.device
    starts = torch.Generator(place).manual_seed(stream("attack", protocol.seed))
    hits, done = [], 0
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(stream("weight noise", protocol.seed))
        with under_attack(model):
            for x, y in data.in_order(images, BATCH):
                perturbed = perturb(f, x, y, protocol, starts)
                with torch.no_grad():
                    hits.append(f(perturbed).argmax(1) == y)
                done += len(x)
                on_step(done / len(images))
    return torch.cat(hits).cpu()


def evaluate(
    run: Trained, protocol: Protocol, on_progress: Callable[[float], None] = lambda done: None
) -> dict[str, Any]:
    """Return the record of one evaluation of a run: from the run's folder, or measured now.

    The record holds the protocol, n, the number of correct images, and per image whether it is
    correct (`bits`, hexadecimal, first image in the highest bit). What other code measured is
    measured anew, except where SUITE_FROM_RECORDS asks for records.
    """
    path = run.folder / "evaluations" / f"{protocol.key}.json"
    if record := _recorded(path, protocol):
        return record
    with store.one_writer(run.folder):
        if record := _recorded(path, protocol):
            return record
        started = time.perf_counter()
        images = data.load(
            run.recipe.data.dataset,
            protocol.split,
            limit=protocol.images,
            device=device.device(),
        )
        model = run.model(protocol.weights)
        hits = correct(model, images, protocol, on_progress)
        record = {
            "protocol": protocol.to_dict(),
            "n": len(hits),
            "correct": int(hits.sum()),
            "bits": pack(hits),
            "seconds": round(time.perf_counter() - started, 2),
            "precision": "fp32",
            "code": code_fingerprint(),
            "data_fingerprint": data.fingerprint(images),
            **device.describe(),
        }
        store.write_json(path, store.signed(record))
        return record


def _recorded(path: Path, protocol: Protocol) -> dict[str, Any] | None:
    record = store.read_signed(path)
    return record if record and counts(record, protocol) else None


def counts(record: dict[str, Any], protocol: Protocol, records: bool | None = None) -> bool:
    """Return whether a record is of this protocol and of today's code (or records are wanted)."""
    if records is None:
        records = bool(os.environ.get("SUITE_FROM_RECORDS"))
    try:
        same = Protocol(**record["protocol"]) == protocol
    except (KeyError, TypeError, UserError):
        return False
    return same and (records or record.get("code") == code_fingerprint())


def pack(hits: Tensor) -> str:
    """Return booleans (N,) as a hexadecimal number whose highest bit is the first image."""
    text = "".join("1" if hit else "0" for hit in hits.tolist())
    return f"{int(text, 2):0{(len(text) + 3) // 4}x}"


def unpack(bits: str, n: int) -> list[bool]:
    """Return the booleans that `pack` was given."""
    return [digit == "1" for digit in f"{int(bits, 16):0{n}b}"]
