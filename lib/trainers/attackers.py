"""Trainings with attacks of their own, by method; all others climb by `pgd`."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from lib.attacks import trades
from lib.attacks.loss import Classifier
from lib.method import Method
from lib.trainers.loop import Trainer, under_attack


class Attacker(Trainer):
    """A training whose attack on the network as it stands is `climb`."""

    def _attack(
        self, generator: torch.Generator, f: Classifier, x: Tensor, y: Tensor, **loss: Any
    ) -> Tensor:
        still = self.standing.still(f)
        with nullcontext() if still else under_attack(self.model):
            return self.climb(still or f, x, y, generator)

    def climb(self, f: Classifier, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return attacked images."""
        raise NotImplementedError


class Diverging(Attacker):
    """TRADES: the attack climbs the divergence from the outputs of the clean images."""

    def climb(self, f: Classifier, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        a = self.recipe.attack
        return trades(f, x, y, a.eps, a.step or None, a.steps, a.norm, generator)


TRAINERS: dict[str, type[Trainer]] = {"trades": Diverging}


def trainer_of(method: Method) -> type[Trainer]:
    """Return what trains a network by a method."""
    return TRAINERS.get(method.kind, Trainer)
