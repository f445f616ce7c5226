"""FGSM (Goodfellow et al. 2015) and projected gradient ascent (Madry et al. 2018)."""

import torch
from torch import Tensor

from lib.attacks.loss import Classifier, Loss, Worst, check_attack, cross_entropy, input_gradient
from lib.attacks.norms import NORMS
from lib.errors import UserError, check_range
from lib.step import default_step


def fgsm(
    f: Classifier,
    x: Tensor,
    y: Tensor,
    eps: float,
    *,
    random_start: bool = False,
    eot: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return x after one signed gradient step of size eps, inside [0, 1].

    With random_start it is 1.25 eps from a uniform point, projected back (Wong et al. 2020).
    """
    step = 1.25 * eps if random_start else eps
    return pgd(f, x, y, eps, step, 1, random_start=random_start, eot=eot, generator=generator)


def pgd(
    f: Classifier,
    x: Tensor,
    y: Tensor,
    eps: float,
    step: float | None,
    steps: int,
    norm: str = "linf",
    random_start: bool = True,
    restarts: int = 1,
    eot: int = 1,
    generator: torch.Generator | None = None,
    *,
    top: float = 0.01,
    loss: Loss = cross_entropy,
    trusted: bool = False,
) -> Tensor:
    """Return images within eps of x in norm, inside [0, 1], that raise the loss of f.

    f maps images (N, C, H, W) to logits and is called in the mode it is in; nothing of it is
    changed; loss maps logits (N, K) and y to a value for each image (N,). The result is the last
    iterate (FLOAT Eq. 2); of several restarts each image keeps the first that f gets wrong in every
    one of eot passes, or what comes nearest to it: most often wrong, then of highest loss.
    step=None is `lib.step.default_step`. top is the fraction of coordinates that an L1 step moves.
    """
    counts = {"steps": (steps, 0), "restarts": (restarts, 1), "eot": (eot, 1)}
    check_attack(x, y, eps, norm, trusted, **counts)
    check_range("top", top, 0, 1)
    check_range("step", 0 if step is None else step, 0)
    if generator is not None and generator.device.type != x.device.type:
        raise UserError(
            f"The generator lives on {generator.device} but the images on {x.device}; "
            f"make it with torch.Generator('{x.device.type}')."
        )
    if eps == 0 or len(x) == 0:
        return x.detach().clone()
    ball = NORMS[norm](top)
    size = default_step(eps, steps, norm) if step is None else step
    # An attack may be called from evaluation code that runs in inference mode.
    with torch.inference_mode(False), torch.no_grad():
        x, y = (t.clone() if t.is_inference() else t.detach() for t in (x, y))

        def climb(x: Tensor, y: Tensor) -> Tensor:
            """Return the last iterate from one start."""
            adv = ball.start(x, eps, generator) if random_start else x.clone()
            for _ in range(int(steps)):
                grad = input_gradient(f, adv, y, eot, loss)
                adv = ball.project(ball.ascend(adv, grad, size), x, eps)
            return adv

        best = climb(x, y)
        if restarts == 1:
            return best
        worst = Worst(f, best, y, eot, loss)
        for _ in range(restarts - 1):
            rows = worst.standing()
            if len(rows):
                worst.offer(climb(x[rows], y[rows]), rows)
        return worst.images
