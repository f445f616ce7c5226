"""Sparse momentum learning (Dettmers & Zettlemoyer; DNR Algorithm 1 without its regulariser).

Weights of convolutions, or whole input channels of them, are pruned by magnitude and regrown where
the momentum is largest after every epoch. The number of active weights over the whole network
stays within its budget (FLOAT Eq. 5) after every rewiring.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.sparsity import Momentum
from lib.trainers.pruners.base import Batch, Masks, MomentumOf
from lib.trainers.pruners.units import UNITS, Channels, allocate, grow, prune, whole_units


class SparseMomentum(Masks):
    """The masks of a network under sparse momentum learning.

    `target` is the largest allowed number of active weights: single weights meet it exactly, whole
    channels miss it by less than the smallest that could be added.
    With channels the stem, whose inputs are the colours of the image, stays dense.
    What a full layer cannot take the others get by their shares; the released code hands it to all
    equally, fills no layer above 99 % and regrows nothing where momentum is 0, so that densities of
    small layers differ by up to 0.22. Here a regrown weight starts from rest, there with the
    momentum of its past gradients: hundreds of times larger in filters that had no weight, whose
    batch norm has variance 0, and such filters are many in narrow networks.
    """

    part: Momentum

    def __init__(self, model: nn.Module, part: Momentum, epochs: int = 1, seed: int = 0) -> None:
        super().__init__(model, part, epochs, seed)
        kind = UNITS[part.granularity]
        self.units = [kind(layer) for layer in self.layers]
        if kind is Channels:
            self.units[0].least = self.units[0].total
        total = sum(layer.mask.numel() for layer in self.layers)
        self.target = kind.budget(part.density * total)
        least = sum(unit.least * unit.size for unit in self.units)
        if least > self.target:
            raise UserError(
                f"sparsity.density is {part.density:g}, but the stem and one channel of every "
                f"other layer already take {least / total:.4f}; raise it or make the network wider."
            )

    def rate(self, epoch: int) -> float:
        """Return the prune rate after an epoch (counted from 0), falling linearly to zero."""
        return self.part.prune_rate * max(0.0, 1 - (epoch + 1) / self.epochs)

    @torch.no_grad()
    def begin(self, batch: Batch | None = None) -> None:
        """Draw masks of equal density in all layers, with `target` ones in total."""
        generator = torch.Generator().manual_seed(self.seed)
        least = [unit.least for unit in self.units]
        room = [(unit.total - unit.least) * unit.size for unit in self.units]
        for unit, count in zip(self.units, self._spend(least, room), strict=True):
            kept = torch.zeros(unit.total, dtype=torch.bool)
            kept[torch.randperm(unit.total, generator=generator)[: unit.least + count]] = True
            unit.keep(kept)
        self.after_step()

    def after_epoch(self, epoch: int, momentum: MomentumOf) -> None:
        """Rewire after every epoch but the last."""
        if epoch + 1 < self.epochs:
            self.rewire([momentum(layer.weight) for layer in self.layers], epoch)

    @torch.no_grad()
    def rewire(self, momentum: Sequence[Tensor], epoch: int) -> None:
        """Prune the smallest active units of each layer and regrow as much by momentum.

        momentum holds one tensor per layer, shaped like its weight; that of regrown weights becomes
        0. A layer's share of the regrowth is the mean |momentum| of its active weights; layers that
        are nearly dense and gain weights anyway are spared, as they would regain the same weights.
        """
        before = [layer.mask.clone() for layer in self.layers]
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
        for layer, v, mask in zip(self.layers, momentum, before, strict=True):
            v[layer.mask & ~mask] = 0.0
        self.after_step()

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
