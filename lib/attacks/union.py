"""Attacks of several balls (Maini et al. 2020): PGD in L1 by few pixels, and MSD for training."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lib.attacks.loss import (
    Classifier,
    Worst,
    check_attack,
    cross_entropy,
    each,
    input_gradient,
)
from lib.attacks.norms import NORMS
from lib.attacks.steps import climb, step_in
from lib.errors import check_range

MOVED = (5, 20)  # coordinates that a step in L1 moves, drawn anew for each


def _counts(steps: int, x: Tensor, generator: torch.Generator | None) -> list[int]:
    """Return how many coordinates each step in L1 moves, uniform in MOVED."""
    least, most = MOVED
    drawn = torch.randint(least, most + 1, (steps,), device=x.device, generator=generator)
    return drawn.tolist()


def sparse(
    f: Classifier,
    x: Tensor,
    y: Tensor,
    eps: float,
    step: float,
    steps: int,
    random_start: bool = True,
    restarts: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return images within eps of x in L1, inside [0, 1], that raise the cross-entropy of f.

    A step of length step is spread over k coordinates of the largest gradient, of those with room;
    k is drawn for each step, the same for all images. The released code passes over every pixel
    that is 0, 1 or has less room than the step, also where it could move inwards. Of restarts each
    image keeps what `lib.attacks.loss.Worst` keeps, as in `pgd`.
    """
    check_attack(x, y, eps, "l1", steps=(steps, 0), restarts=(restarts, 1))
    check_range("step", step, 0)
    if eps == 0 or len(x) == 0:
        return x.detach().clone()
    ball = NORMS["l1"]()

    def once(x: Tensor, y: Tensor) -> Tensor:
        start = ball.start(x, eps, generator) if random_start else x.clone()
        moves = (step_in("l1", x, eps, step, k) for k in _counts(steps, x, generator))
        return climb(f, start, y, moves)

    # An attack may be called from evaluation code that runs in inference mode
    with torch.inference_mode(False), torch.no_grad():
        x, y = (t.clone() if t.is_inference() else t.detach() for t in (x, y))
        best = once(x, y)
        if restarts == 1:
            return best
        worst = Worst(f, best, y)
        for _ in range(restarts - 1):
            rows = worst.standing()
            if len(rows):
                worst.offer(once(x[rows], y[rows]), rows)
        return worst.images


def msd(
    f: Classifier,
    x: Tensor,
    y: Tensor,
    radii: Mapping[str, float],
    sizes: Mapping[str, float],
    steps: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return images inside one of several balls around x that raise the cross-entropy of f most.

    Multi steepest descent: every step goes from the same point in the norm of each ball, all by one
    gradient, and keeps for each image the candidate of the largest loss; the norm that radii names
    first wins a tie. What comes back is the best of all steps; it starts at x. radii and sizes, the
    lengths of the steps, are by norm; in L1 a step is that of `sparse`.
    """
    adv = best = x
    highest = torch.full(y.shape, -torch.inf, device=x.device)
    with torch.no_grad():
        for k in _counts(steps, x, generator):
            grad = input_gradient(f, adv, y)
            chosen, top = adv, torch.full_like(highest, -torch.inf)
            for norm, eps in radii.items():
                candidate = step_in(norm, x, eps, sizes[norm], k)(adv, grad)
                loss = each(cross_entropy, f(candidate), y)
                chosen = _where(loss > top, candidate, chosen)
                top = torch.maximum(top, loss)
            adv, best = chosen, _where(top > highest, chosen, best)
            highest = torch.maximum(highest, top)
    return best


def _where(rows: Tensor, ours: Tensor, others: Tensor) -> Tensor:
    """Return images (N, C, H, W): ours in rows (N,), others elsewhere."""
    return torch.where(rows.view(-1, *[1] * (ours.ndim - 1)), ours, others)
