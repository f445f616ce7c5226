"""Training: one loop, an objective per method, sparse momentum learning."""

from lib.trainers.loop import Trainer, learning_rate, under_attack
from lib.trainers.objectives import Context, objective
from lib.trainers.sparse import SparseMomentum, allocate

__all__ = [
    "Context",
    "SparseMomentum",
    "Trainer",
    "allocate",
    "learning_rate",
    "objective",
    "under_attack",
]
