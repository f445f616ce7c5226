"""FGSM (Goodfellow et al. 2015) and projected gradient ascent (Madry et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from lib.attacks.loss import Classifier, Worst, check_count, check_images, input_gradient
from lib.attacks.norms import L1, L2, NORMS, Linf
from lib.errors import UserError, check_radius, check_range, choose


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

    With random_start the step is 1.25 eps from a uniform point of the ball, projected back
    (Wong et al. 2020).
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
) -> Tensor:
    """Return images within eps of x in norm, inside [0, 1], that raise the cross-entropy of f.

    f maps images (N, C, H, W) to logits and is called in the mode it is in; nothing of it is
    changed. The result is the last iterate (FLOAT Eq. 2); of several restarts each image keeps one
    that f gets wrong, and among those the one of highest loss. step=None is the papers' step,
    min(1.25 eps, eps + 4/255) / steps, for Linf and 2.5 eps / steps for L2 and L1, whose radii
    have no such scale. top is the fraction of coordinates that an L1 step moves.
    """
    ball = _ball(norm, top)
    _check(x, y, eps, norm, step, steps, restarts, eot, generator)
    if eps == 0 or len(x) == 0:
        return x.detach().clone()
    if step is None:
        step = default_step(eps, steps, norm)
    # An attack may be called from evaluation code that runs in inference mode.
    with torch.inference_mode(False), torch.no_grad():
        if x.is_inference():
            x = x.clone()
        if y.is_inference():
            y = y.clone()
        x = x.detach()
        best = _climb(f, ball, x, y, eps, step, steps, random_start, eot, generator)
        if restarts == 1:
            return best
        worst = Worst(f, best, y, eot)
        for _ in range(restarts - 1):
            worst.offer(_climb(f, ball, x, y, eps, step, steps, random_start, eot, generator))
        return worst.images


def default_step(eps: float, steps: int, norm: str = "linf") -> float:
    """Return the step that step=None stands for."""
    if norm == "linf":
        return min(1.25 * eps, eps + 4 / 255) / max(steps, 1)
    return 2.5 * eps / max(steps, 1)


def _climb(
    f: Classifier,
    ball: Linf | L2 | L1,
    x: Tensor,
    y: Tensor,
    eps: float,
    step: float,
    steps: int,
    random_start: bool,
    eot: int,
    generator: torch.Generator | None,
) -> Tensor:
    """Return the last of steps iterates from one start."""
    adv = ball.start(x, eps, generator) if random_start else x.clone()
    for _ in range(int(steps)):
        grad = input_gradient(f, adv, y, eot)
        adv = ball.project(ball.ascend(adv, grad, step), x, eps)
    return adv


def _ball(norm: str, top: float) -> Linf | L2 | L1:
    """Return the ball that norm names."""
    choose("norm", norm, NORMS)
    check_range("top", top, 0, 1)
    return L1(top) if norm == "l1" else NORMS[norm]()


def _check(
    x: Tensor,
    y: Tensor,
    eps: float,
    norm: str,
    step: float | None,
    steps: int,
    restarts: int,
    eot: int,
    generator: torch.Generator | None,
) -> None:
    """Refuse what would give a silently wrong attack; one look at the pixels per call."""
    check_radius("eps", eps, norm, x.shape[1:].numel())
    check_range("step", 0 if step is None else step, 0)
    for name, count, least in (("steps", steps, 0), ("restarts", restarts, 1), ("eot", eot, 1)):
        check_count(name, count, least)
    check_images(x, y)
    if generator is not None and generator.device.type != x.device.type:
        raise UserError(
            f"The generator lives on {generator.device} but the images on {x.device}; "
            f"make it with torch.Generator('{x.device.type}')."
        )
