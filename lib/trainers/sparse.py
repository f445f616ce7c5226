"""Sparse momentum learning (Dettmers & Zettlemoyer; DNR Algorithm 1 without its regulariser).

Weights of convolutions, or whole input channels of them, are pruned by magnitude and regrown where
the momentum is largest after every epoch. The number of active weights over the whole network
stays within its budget (FLOAT Eq. 5) after every rewiring.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.recipe import Momentum


def allocate(total: int, shares: Sequence[float], caps: Sequence[int]) -> list[int]:
    """Split total into whole numbers in proportion to shares, none above its cap.

    What a full layer cannot take goes to the others in proportion; rounding is by largest
    remainder. The parts sum to total, which must not exceed the sum of the caps.
    """
    if total > sum(caps):
        raise ValueError(f"{total} do not fit into caps {list(caps)}")
    parts = [0] * len(caps)
    while (rest := total - sum(parts)) > 0:
        open_ = [i for i, cap in enumerate(caps) if parts[i] < cap]
        weight = sum(shares[i] for i in open_)
        exact = {i: rest * (shares[i] / weight if weight > 0 else 1 / len(open_)) for i in open_}
        for i in open_:
            parts[i] = min(caps[i], parts[i] + math.floor(exact[i]))
        left = total - sum(parts)
        if left == rest:  # nothing moved by whole numbers: hand out the remainders
            for i in sorted(open_, key=lambda i: exact[i] - math.floor(exact[i]), reverse=True):
                if left and parts[i] < caps[i]:
                    parts[i], left = parts[i] + 1, left - 1
    return parts


def whole_units(parts: Sequence[int], sizes: Sequence[int], caps: Sequence[int]) -> list[int]:
    """Return how many units of sizes[i] weights each layer can have if it is given parts[i].

    What is left of the sum of the parts buys further units, none above its cap, for the layers
    that rounding has left furthest behind, until the cheapest one no longer fits.
    """
    units = [part // size for part, size in zip(parts, sizes, strict=True)]
    left = sum(part - n * size for part, n, size in zip(parts, units, sizes, strict=True))
    while fits := [i for i, n in enumerate(units) if n < caps[i] and sizes[i] <= left]:
        behind = max(fits, key=lambda i: parts[i] / sizes[i] - units[i])
        units[behind], left = units[behind] + 1, left - sizes[behind]
    return units


class Weights:
    """What is pruned and regrown in one layer: its single weights, of which all may go."""

    size = 1  # weights in a unit
    least = 0  # units that must stay

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.total = layer.mask.numel()

    @staticmethod
    def budget(weights: float) -> int:
        """Return the whole number of weights that a density asks for."""
        return round(weights)

    def kept(self) -> Tensor:
        """Return which units are active, a new boolean tensor (units,)."""
        return self.layer.mask.flatten().clone()  # flatten may be a view

    def keep(self, kept: Tensor) -> None:
        """Set the mask so that exactly these units are active."""
        self.layer.mask.copy_(kept.view_as(self.layer.mask))

    def importance(self, values: Tensor) -> Tensor:
        """Return the size of each unit in a tensor shaped like the weight, (units,)."""
        return values.abs().flatten()

    def to_prune(self, rate: float) -> int:
        """Return how many active units are the share rate of them."""
        return math.ceil(rate * int(self.kept().sum()))


class Channels(Weights):
    """Whole input channels of a convolution, of which one must stay.

    The importance of channel c is the squared Frobenius norm of weight[:, c] (FLOAT, section 3.2).
    """

    least = 1

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.total = layer.mask.shape[1]
        self.size = layer.mask.numel() // self.total

    @staticmethod
    def budget(weights: float) -> int:
        return math.floor(weights)

    def kept(self) -> Tensor:
        return self.layer.mask[0, :, 0, 0].clone()

    def keep(self, kept: Tensor) -> None:
        self.layer.mask.copy_(kept.view(1, -1, 1, 1))

    def importance(self, values: Tensor) -> Tensor:
        return values.square().sum(dim=(0, 2, 3))

    def to_prune(self, rate: float) -> int:
        active = int(self.kept().sum())
        return min(math.floor(rate * active), active - self.least)


UNITS: dict[str, type[Weights]] = {"weight": Weights, "channel": Channels}


class SparseMomentum:
    """The masks of a network under sparse momentum learning.

    Every prunable convolution carries its boolean `mask` as a buffer, so masks are saved and
    restored with the network. `target` is the largest allowed number of active weights: single
    weights meet it exactly, whole channels miss it by less than the smallest that could be added.
    With channels the stem, whose inputs are the colours of the image, stays dense.
    """

    def __init__(self, model: nn.Module, recipe: Momentum, epochs: int) -> None:
        self.layers: list[Any] = [
            m for m in model.modules() if getattr(m, "mask", None) is not None
        ]
        if not self.layers:
            raise UserError("This network has no prunable layer; create it with prunable=True.")
        self.recipe, self.epochs = recipe, max(1, epochs)
        kind = UNITS[recipe.granularity]
        self.units = [kind(layer) for layer in self.layers]
        if kind is Channels:
            self.units[0].least = self.units[0].total
        total = sum(layer.mask.numel() for layer in self.layers)
        self.target = kind.budget(recipe.density * total)
        least = sum(unit.least * unit.size for unit in self.units)
        if least > self.target:
            raise UserError(
                f"sparsity.density is {recipe.density:g}, but the stem and one channel of every "
                f"other layer already take {least / total:.4f}; raise it or make the network wider."
            )

    def rate(self, epoch: int) -> float:
        """Return the prune rate after an epoch (counted from 0), falling linearly to zero."""
        return self.recipe.prune_rate * max(0.0, 1 - (epoch + 1) / self.epochs)

    @torch.no_grad()
    def init(self, generator: torch.Generator) -> None:
        """Draw masks of equal density in all layers, with `target` ones in total."""
        least = [unit.least for unit in self.units]
        room = [(unit.total - unit.least) * unit.size for unit in self.units]
        for unit, count in zip(self.units, self._spend(least, room), strict=True):
            kept = torch.zeros(unit.total, dtype=torch.bool)
            kept[torch.randperm(unit.total, generator=generator)[: unit.least + count]] = True
            unit.keep(kept)
        self.apply()

    @torch.no_grad()
    def apply(self) -> None:
        """Set inactive weights to zero; called after every optimiser step."""
        for layer in self.layers:
            layer.weight.mul_(layer.mask)

    def count(self) -> int:
        """Return the number of active weights over all layers."""
        return sum(int(layer.mask.sum()) for layer in self.layers)

    @torch.no_grad()
    def rewire(self, momentum: Sequence[Tensor], epoch: int) -> None:
        """Prune the smallest active units of each layer and regrow as much by momentum.

        momentum holds one tensor per layer, shaped like its weight. A layer's share of the regrowth
        is the mean |momentum| of its active weights; layers that are nearly dense and gain weights
        anyway are spared from pruning (they would only lose and regain the same weights).
        """
        shares = [
            mean_active(layer, v.abs()) for layer, v in zip(self.layers, momentum, strict=True)
        ]
        average = sum(shares) / len(shares)
        rate = self.rate(epoch)
        for unit, share in zip(self.units, shares, strict=True):
            sparsity = 1 - int(unit.kept().sum()) / unit.total
            own = min(sparsity, rate) if sparsity < 0.2 and share > average else rate
            prune(unit, unit.to_prune(own))
        grown = self._spend([int(unit.kept().sum()) for unit in self.units], shares)
        for unit, v, count in zip(self.units, momentum, grown, strict=True):
            grow(unit, unit.importance(v), count)
        self.apply()

    def _spend(self, active: Sequence[int], shares: Sequence[float]) -> list[int]:
        """Return how many units each layer gains beyond its `active` ones to fill the target."""
        sizes = [unit.size for unit in self.units]
        free = [unit.total - n for unit, n in zip(self.units, active, strict=True)]
        rest = self.target - sum(n * size for n, size in zip(active, sizes, strict=True))
        room = [n * size for n, size in zip(free, sizes, strict=True)]
        return whole_units(allocate(rest, shares, room), sizes, free)


def mean_active(layer: Any, size: Tensor) -> float:
    """Return the mean of size over the active weights of a layer, 0 if it has none."""
    active = size[layer.mask]
    return float(active.mean()) if active.numel() else 0.0


def prune(unit: Weights, count: int) -> None:
    """Take the count least important active units of a layer out of its mask."""
    kept = unit.kept()
    score = unit.importance(unit.layer.weight).masked_fill(~kept, math.inf)
    kept[score.topk(count, largest=False).indices] = False
    unit.keep(kept)


def grow(unit: Weights, importance: Tensor, count: int) -> None:
    """Put the count most important inactive units of a layer into its mask."""
    kept = unit.kept()
    kept[importance.masked_fill(kept, -1).topk(count).indices] = True
    unit.keep(kept)
