"""What is pruned in a layer, single weights or whole channels, and how a budget is shared out."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor


def allocate(total: int, shares: Sequence[float], caps: Sequence[int]) -> list[int]:
    """Split total into whole numbers in proportion to shares, none above its cap.

    What a full layer cannot take goes to the others in proportion, equally where they have no
    share; rounding is by largest remainder. Parts sum to total, at most the sum of the caps.
    """
    if total > sum(caps):
        raise ValueError(f"{total} do not fit into caps {list(caps)}")
    exact: list[float] = [0.0] * len(caps)
    open_, rest = list(range(len(caps))), total
    while open_:
        weight = sum(shares[i] for i in open_)
        for i in open_:
            exact[i] = rest * (shares[i] / weight if weight > 0 else 1 / len(open_))
        full = [i for i in open_ if exact[i] >= caps[i]]
        for i in full:
            exact[i] = caps[i]
        open_ = [i for i in open_ if exact[i] < caps[i]] if full else []
        rest -= sum(caps[i] for i in full)
    parts = [min(cap, math.floor(share)) for share, cap in zip(exact, caps, strict=True)]
    spare = [i for i, cap in enumerate(caps) if parts[i] < cap]
    spare.sort(key=lambda i: exact[i] - parts[i], reverse=True)
    for i in spare[: total - sum(parts)]:
        parts[i] += 1
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

    def mask(self, kept: Tensor) -> Tensor:
        """Return the mask that leaves exactly these units active, shaped like the weight."""
        return kept.view_as(self.layer.mask)

    def keep(self, kept: Tensor) -> None:
        """Set the mask of the layer so."""
        self.layer.mask.copy_(self.mask(kept))

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

    def mask(self, kept: Tensor) -> Tensor:
        return kept.view(1, -1, 1, 1).expand_as(self.layer.mask)

    def importance(self, values: Tensor) -> Tensor:
        return values.square().sum(dim=(0, 2, 3))

    def to_prune(self, rate: float) -> int:
        active = int(self.kept().sum())
        return min(math.floor(rate * active), active - self.least)


UNITS: dict[str, type[Weights]] = {"weight": Weights, "channel": Channels}


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
