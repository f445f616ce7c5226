"""Pruning by ADMM (Ye et al. 2019), the second of its three stages.

The first trains the network, the third trains on what this one leaves (`Fixed`).
"""

from typing import Any

import torch
from torch import Tensor, nn

from lib.models.masks import largest
from lib.sparsity import Admm
from lib.trainers.pruners.base import Batch, Masks, MomentumOf
from lib.trainers.pruners.units import UNITS, Channels, Weights, allocate, whole_units


def ranked(units: list[Weights], budget: int) -> list[int]:
    """Return how many units each layer holds of the most important that fit into budget weights.

    Units are compared by the size of their weights over the whole network; those that a layer must
    keep, and one at least, come first.
    """
    scores = []
    for unit in units:
        score = unit.importance(unit.layer.weight.detach()).double() / unit.size
        score[score.topk(max(1, unit.least)).indices] = torch.inf
        scores.append(score)
    owners = torch.cat([torch.full((len(s),), float(i)) for i, s in enumerate(scores)]).long()
    sizes = torch.tensor([unit.size for unit in units])
    order = torch.cat(scores).cpu().argsort(descending=True, stable=True)
    kept = sizes[owners[order]].cumsum(0) <= budget
    return torch.bincount(owners[order][kept], minlength=len(units)).tolist()


def uniform(units: list[Weights], budget: int) -> list[int]:
    """Return equal shares of the budget for all layers but the first, which stays whole."""
    first, *rest = units
    sizes, totals = [unit.size for unit in rest], [unit.total for unit in rest]
    room = [total * size for total, size in zip(totals, sizes, strict=True)]
    left = min(sum(room), max(0, budget - first.total * first.size))
    return [first.total, *whole_units(allocate(left, room, room), sizes, totals)]


RATIOS = {"magnitude": ranked, "uniform": uniform}


class AdmmStage(Masks):
    """Weights W, drawn by rho / 2 |W - Z + U|^2 to Z, their projection on the layers' budgets."""

    part: Admm

    def __init__(self, model: nn.Module, *how: Any) -> None:
        super().__init__(model, *how)
        kind = UNITS[self.part.granularity]
        self.units = [kind(layer) for layer in self.layers]
        if kind is Channels:  # the colours of the image stay
            self.units[0].least = self.units[0].total

    @torch.no_grad()
    def begin(self, batch: Batch | None = None) -> None:
        """Fix the budget of every layer; Z is the projection of the weights, U is zero."""
        total = sum(layer.mask.numel() for layer in self.layers)
        budget = self.units[0].budget(self.part.density * total)
        self.counts = RATIOS[self.part.ratios](self.units, budget)
        self.rho = self.part.rho
        self.z = self.projected([layer.weight for layer in self.layers])
        self.u = [torch.zeros_like(z) for z in self.z]

    def projected(self, values: list[Tensor]) -> list[Tensor]:
        """Return values, like the weights, with nothing but the most important units of each."""
        return [v * mask for v, mask in zip(values, self._masks(values), strict=True)]

    def _masks(self, values: list[Tensor]) -> list[Tensor]:
        parts = zip(self.units, values, self.counts, strict=True)
        return [unit.mask(largest(unit.importance(v), count)) for unit, v, count in parts]

    def penalty(self) -> Tensor | float:
        """Return rho / 2 sum |W - Z + U|^2."""
        layers = zip(self.layers, self.z, self.u, strict=True)
        apart = [(layer.weight - z + u).square().sum() for layer, z, u in layers]
        return 0.5 * self.rho * torch.stack(apart).sum()

    @torch.no_grad()
    def after_epoch(self, epoch: int, momentum: MomentumOf) -> None:
        """Update rho, Z and U when it is time; after the last epoch prune for good."""
        weights = [layer.weight.detach() for layer in self.layers]
        if epoch + 1 == self.epochs:
            for layer, mask in zip(self.layers, self._masks(weights), strict=True):
                layer.mask.copy_(mask)
            self.after_step()
        elif (epoch + 1) % self.part.every == 0:
            self.rho *= self.part.growth
            sums = [w + u for w, u in zip(weights, self.u, strict=True)]
            self.z = self.projected(sums)
            self.u = [both - z for both, z in zip(sums, self.z, strict=True)]

    def state(self) -> dict[str, Any]:
        return {"z": self.z, "u": self.u, "rho": self.rho, "counts": self.counts}

    def restore(self, state: dict[str, Any]) -> None:
        self.z, self.u = list(state["z"]), list(state["u"])
        self.rho, self.counts = state["rho"], list(state["counts"])
