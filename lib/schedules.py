"""Learning rates over a training, by the name of the recipe's `train.schedule`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib.recipe import Train


def constant(train: Train, progress: float) -> float:
    """Return the same rate always."""
    return train.lr


def cosine(train: Train, progress: float) -> float:
    """Fall to zero along half a cosine, constant within an epoch as in the released code."""
    return train.lr * 0.5 * (1 + math.cos(math.pi * int(progress) / max(1, train.epochs)))


def onecycle(train: Train, progress: float) -> float:
    """Rise over the first fifth, then fall to zero, both linearly and with every step."""
    peak = 0.2 * train.epochs
    if progress < peak:
        return train.lr * (0.1 + 0.9 * progress / peak)
    return train.lr * max(0.0, (train.epochs - progress) / (train.epochs - peak))


def milestones(train: Train, progress: float) -> float:
    """Multiply the rate by gamma after each number of epochs in milestones."""
    return train.lr * train.gamma ** sum(progress >= epoch for epoch in train.milestones)


SCHEDULES: dict[str, Callable[[Train, float], float]] = {
    schedule.__name__: schedule for schedule in (constant, cosine, onecycle, milestones)
}


def learning_rate(train: Train, progress: float) -> float:
    """Return the learning rate after `progress` epochs, which may be a fraction."""
    return SCHEDULES[train.schedule](train, progress)
