"""A few test images, and what attacked networks make of them, small enough for a page."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib import anatomy, data, scoring, store
from lib.device import device
from lib.protocol import Protocol
from lib.runs import Run


@dataclass(frozen=True)
class Samples:
    """The first test images of different classes, chosen before any network sees them.

    They are attacked in a batch of their own, so that the random start, and with noise the draws,
    are not those behind a network's accuracy.
    """

    images: data.Images

    @classmethod
    def of(cls, dataset: str, many: int = 4) -> Samples:
        """Return so many images of a data set, or as many as there are classes."""
        first = data.load(dataset, "test", 32, device())
        labels = first.labels.tolist()
        return cls(first[torch.tensor([labels.index(n) for n in dict.fromkeys(labels)][:many])])

    def attacked(self, model: nn.Module, protocol: Protocol) -> tuple[Tensor, Tensor]:
        """Return the images (N, C, H, W) that a protocol makes, and the odds of classes (N, K).

        Odds are those of the softmax, a mean over draws of noise.
        """
        x, y = self.images.float(), self.images.labels
        f, seed = scoring.function(model, protocol), scoring.stream("samples", protocol.seed)
        times = protocol.draws(getattr(model, "method", None))
        with torch.random.fork_rng(), scoring.under_attack(model):
            torch.manual_seed(seed)
            moved = scoring.ATTACKS[protocol.attack](f, x, y, protocol, seed, lambda done: None)
            with torch.no_grad():
                odds = torch.stack([f(moved).softmax(1) for _ in range(times)])
        return moved, odds.mean(0)

    def seen(self, run: Run, protocols: Sequence[Protocol]) -> dict[str, Any]:
        """Return what a run makes of the images: kept beside the run, or looked up and kept.

        guesses are the class and its odds for each protocol and image, noise is by how many 1/255
        the pixels moved, packed.
        """
        shown = data.fingerprint(self.images), *(p.key for p in protocols)
        here = {"code": scoring.code_fingerprint(run.recipe, protocols[-1])}
        name = f"samples-{store.digest({'of': shown})[:12]}"
        found = anatomy.recorded(run, name, partial(self._look, protocols=protocols), here)
        return {key: found[key] for key in ("guesses", "noise")}

    def _look(self, model: nn.Module, protocols: Sequence[Protocol]) -> dict[str, Any]:
        x, guesses, noise = self.images.float(), [], []
        for moved, odds in (self.attacked(model, p) for p in protocols):
            best = zip(*(t.tolist() for t in odds.max(1)), strict=True)
            guesses.append([[which, round(share, 3)] for share, which in best])
            noise.append((moved - x).mul(255).round().clamp(-127, 127).to(torch.int8))
        return {"guesses": guesses, "noise": pack(torch.stack(noise))}

    def moved(self, seen: dict[str, Any]) -> np.ndarray:
        """Return the packed noise as whole numbers (protocols, N, C, H, W)."""
        shape = (len(seen["guesses"]), *self.images.images.shape)
        return np.frombuffer(unpack(seen["noise"], 2**24), np.int8).reshape(shape).astype(int)


def pack(numbers: Tensor) -> str:
    """Return the bytes of a tensor compressed, as ASCII."""
    return base64.b64encode(zlib.compress(numbers.cpu().numpy().tobytes(), 9)).decode()


def unpack(text: Any, most: int) -> bytes:
    """Return the bytes that `pack` was given; more than so many, or others, are a ValueError."""
    try:
        unpacker = zlib.decompressobj()
        found = unpacker.decompress(base64.b64decode(text, validate=True), most + 1)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"it holds no packed bytes ({error})") from error
    if len(found) > most or not unpacker.eof:
        raise ValueError(f"it holds more than {most} bytes, or not all of them")
    return found
