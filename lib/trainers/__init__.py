"""Training: one loop, an objective per method, pruners."""

from lib.trainers.attackers import trainer_of
from lib.trainers.graphed import make
from lib.trainers.loop import Trainer, under_attack
from lib.trainers.objectives import Context, objective
from lib.trainers.pruners import PRUNERS, Pruner, pruner

__all__ = [
    "PRUNERS",
    "Context",
    "Pruner",
    "Trainer",
    "make",
    "objective",
    "pruner",
    "trainer_of",
    "under_attack",
]
