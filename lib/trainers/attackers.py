"""Trainings with attacks of their own, by method; all others climb by `pgd`."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from lib.attacks import msd, trades
from lib.attacks.loss import Classifier
from lib.method import Method
from lib.methods import Msd
from lib.step import default_step
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


class Steepest(Attacker):
    """MSD: the attack takes the best of a step in each of three balls."""

    def climb(self, f: Classifier, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        a, method = self.recipe.attack, self.recipe.method
        assert isinstance(method, Msd)
        radii, sizes = method.balls(a.eps, a.step or default_step(a.eps, a.steps))
        return msd(f, x, y, radii, sizes, a.steps, generator)


TRAINERS: dict[str, type[Trainer]] = {"trades": Diverging, "msd": Steepest}


def trainer_of(method: Method) -> type[Trainer]:
    """Return what trains a network by a method."""
    return TRAINERS.get(method.kind, Trainer)
