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


class Diverging(Trainer):
    """TRADES: the attack climbs the divergence from the outputs of the clean images."""

    def _attack(
        self, generator: torch.Generator, f: Classifier, x: Tensor, y: Tensor, **loss: Any
    ) -> Tensor:
        a, still = self.recipe.attack, self.standing.still(f)
        with nullcontext() if still else under_attack(self.model):
            return trades(still or f, x, y, a.eps, a.step or None, a.steps, a.norm, generator)


class Steepest(Trainer):
    """MSD: the attack takes the best of a step in each of three balls."""

    def _attack(
        self, generator: torch.Generator, f: Classifier, x: Tensor, y: Tensor, **loss: Any
    ) -> Tensor:
        a, method, still = self.recipe.attack, self.recipe.method, self.standing.still(f)
        assert isinstance(method, Msd)
        radii, sizes = method.balls(a.eps, a.step or default_step(a.eps, a.steps))
        with nullcontext() if still else under_attack(self.model):
            return msd(still or f, x, y, radii, sizes, a.steps)


TRAINERS: dict[str, type[Trainer]] = {"trades": Diverging, "msd": Steepest}


def trainer_of(method: Method) -> type[Trainer]:
    """Return what trains a network by a method."""
    return TRAINERS.get(method.kind, Trainer)
