"""The attack of TRADES (Zhang et al. 2019): away from what the network says of the clean image."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.attacks.loss import Classifier, input_gradient
from lib.attacks.norms import NORMS
from lib.step import default_step

NEAR = 1e-3  # deviation of the start: at the image itself the divergence has no gradient


def log_softmax(logits: Tensor) -> Tensor:
    """Return log probabilities (N, K), in float32 or better also under autocast."""
    return logits.log_softmax(1, torch.promote_types(logits.dtype, torch.float32))


@torch.no_grad()
def trades(
    f: Classifier,
    x: Tensor,
    y: Tensor,
    eps: float,
    step: float | None,
    steps: int,
    norm: str = "linf",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return images within eps of x in norm, inside [0, 1], whose outputs are far from those of x.

    The last iterate of steps up KL(f(x) || f(adv)) from x + 0.001 N(0, 1); labels do not count.
    step=None is `lib.step.default_step`.
    """
    size = default_step(eps, steps, norm) if step is None else step
    ball = NORMS[norm]()
    target = log_softmax(f(x))

    def divergence(logits: Tensor, y: Tensor) -> Tensor:
        ours = log_softmax(logits)
        return F.kl_div(ours, target, reduction="none", log_target=True).sum(1)

    noise = torch.randn(x.shape, device=x.device, dtype=x.dtype, generator=generator)
    adv = ball.project(x + NEAR * noise, x, eps)
    for _ in range(steps):
        grad = input_gradient(f, adv, y, loss=divergence)
        adv = ball.project(ball.ascend(adv, grad, size), x, eps)
    return adv
