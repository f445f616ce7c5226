"""The steps of attacks that climb otherwise than `pgd`: other starts, losses or several balls."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from lib.attacks.loss import Classifier, Loss, cross_entropy, input_gradient
from lib.attacks.norms import NORMS

Step = Callable[[Tensor, Tensor], Tensor]  # of images under attack and their gradient


def step_in(norm: str, x: Tensor, eps: float, size: float, moved: int = 0) -> Step:
    """Return a step of length size inside the ball of radius eps around x and inside [0, 1].

    moved is the number of coordinates that a step in L1 is spread over, at most all.
    """
    ball = NORMS[norm](min(1.0, moved / max(1, x[:1].numel())))

    def step(adv: Tensor, grad: Tensor) -> Tensor:
        return ball.project(ball.ascend(adv, grad, size), x, eps)

    return step


def climb(
    f: Classifier, start: Tensor, y: Tensor, steps: Iterable[Step], loss: Loss = cross_entropy
) -> Tensor:
    """Return where steps lead from start that follow the gradient of a loss of f."""
    adv = start
    with torch.no_grad():
        for step in steps:
            adv = step(adv, input_gradient(f, adv, y, loss=loss))
    return adv
