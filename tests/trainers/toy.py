"""A pruner that is not in lib: one class, one part of a recipe and an entry in each table."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from lib.recipe import SPARSITIES, Sparsity
from lib.trainers import PRUNERS
from lib.trainers.pruners.base import Masks


@dataclass(frozen=True)
class Toy(Sparsity):
    """Keep this share of each layer's weights, drawn there with this force."""

    kind: ClassVar[str] = "toy"
    density: float = 0.25
    rho: float = 0.01


class ToyAdmm(Masks):
    """ADMM for the largest weights of each layer: weight W, projected copy Z, dual U."""

    def begin(self, batch=None):
        self.z = [self.projected(layer.weight) for layer in self.layers]
        self.u = [torch.zeros_like(z) for z in self.z]

    @torch.no_grad()
    def projected(self, w):
        return w * (w.abs() >= w.abs().flatten().quantile(1 - self.part.density))

    def penalty(self):
        terms = zip(self.layers, self.z, self.u, strict=True)
        return self.part.rho / 2 * sum((x.weight - z + u).square().sum() for x, z, u in terms)

    @torch.no_grad()
    def after_epoch(self, epoch, momentum):
        for i, layer in enumerate(self.layers):
            self.z[i] = self.projected(layer.weight + self.u[i])
            self.u[i] = self.u[i] + layer.weight - self.z[i]
            if epoch + 1 == self.epochs:
                layer.weight.copy_(self.projected(layer.weight))

    def state(self):
        return {"z": self.z, "u": self.u}

    def restore(self, state):
        self.z, self.u = list(state["z"]), list(state["u"])


SPARSITIES[Toy.kind], PRUNERS[Toy.kind] = Toy, ToyAdmm
