"""Sparse momentum learning (Dettmers & Zettlemoyer; DNR Algorithm 1 without its regulariser).

Weights of convolutions are pruned by magnitude and regrown where the momentum is largest after
every epoch. The number of active weights over the whole network is the same after every rewiring.
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


class SparseMomentum:
    """The masks of a network under sparse momentum learning.

    Every prunable convolution carries its boolean `mask` as a buffer, so masks are saved and
    restored with the network. `rate` is the fraction of active weights rewired next.
    """

    def __init__(self, model: nn.Module, recipe: Momentum, epochs: int) -> None:
        self.layers: list[Any] = [
            m for m in model.modules() if getattr(m, "mask", None) is not None
        ]
        if not self.layers:
            raise UserError("This network has no prunable layer; create it with prunable=True.")
        self.recipe, self.epochs = recipe, max(1, epochs)
        self.target = round(recipe.density * sum(layer.mask.numel() for layer in self.layers))

    def rate(self, epoch: int) -> float:
        """Return the prune rate after an epoch (counted from 0), falling linearly to zero."""
        return self.recipe.prune_rate * max(0.0, 1 - (epoch + 1) / self.epochs)

    @torch.no_grad()
    def init(self, generator: torch.Generator) -> None:
        """Draw masks of equal density in all layers, with exactly `target` ones in total."""
        sizes = [layer.mask.numel() for layer in self.layers]
        for layer, count in zip(self.layers, allocate(self.target, sizes, sizes), strict=True):
            flat = torch.zeros(layer.mask.numel(), dtype=torch.bool)
            flat[torch.randperm(len(flat), generator=generator)[:count]] = True
            layer.mask.copy_(flat.view_as(layer.mask))
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
        """Prune the smallest active weights of each layer and regrow as many by momentum.

        momentum holds one tensor per layer, shaped like its weight. A layer's share of the regrowth
        is the mean |momentum| of its active weights; layers that are nearly dense and gain weights
        anyway are spared from pruning (they would only lose and regain the same weights).
        """
        size = [v.abs() for v in momentum]
        shares = [self._mean_active(layer, s) for layer, s in zip(self.layers, size, strict=True)]
        average = sum(shares) / len(shares)
        rate = self.rate(epoch)
        for layer, share in zip(self.layers, shares, strict=True):
            active = int(layer.mask.sum())
            sparsity = 1 - active / layer.mask.numel()
            own = min(sparsity, rate) if sparsity < 0.2 and share > average else rate
            self._prune(layer, math.ceil(own * active) if own > 0 else 0)
        free = [layer.mask.numel() - int(layer.mask.sum()) for layer in self.layers]
        grown = allocate(self.target - self.count(), shares, free)
        for layer, s, count in zip(self.layers, size, grown, strict=True):
            score = s.masked_fill(layer.mask, -1).flatten()
            self._switch(layer, score.topk(count).indices, on=True)
        self.apply()

    @staticmethod
    def _mean_active(layer: Any, size: Tensor) -> float:
        active = size[layer.mask]
        return float(active.mean()) if active.numel() else 0.0

    @staticmethod
    def _prune(layer: Any, count: int) -> None:
        score = layer.weight.abs().masked_fill(~layer.mask, math.inf).flatten()
        index = score.topk(min(count, int(layer.mask.sum())), largest=False).indices
        SparseMomentum._switch(layer, index, on=False)

    @staticmethod
    def _switch(layer: Any, index: Tensor, on: bool) -> None:
        flat = layer.mask.flatten().clone()  # a channels-last mask has no flat view
        flat[index] = on
        layer.mask.copy_(flat.view_as(layer.mask))
