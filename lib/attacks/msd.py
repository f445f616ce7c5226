"""MSD (Maini et al. 2020): the attack of a training against several balls at once."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lib.attacks.loss import Classifier, cross_entropy, each, input_gradient
from lib.attacks.norms import NORMS


@torch.no_grad()
def msd(
    f: Classifier,
    x: Tensor,
    y: Tensor,
    radii: Mapping[str, float],
    sizes: Mapping[str, float],
    steps: int,
) -> Tensor:
    """Return images inside one of several balls around x that raise the cross-entropy of f most.

    Multi steepest descent: every step goes from the same point in the norm of each ball, all by one
    gradient, and keeps for each image the candidate of the largest loss; the norm that radii names
    first wins a tie. What comes back is the best of all steps; it starts at x. radii and sizes, the
    lengths of the steps, are by norm.
    """
    balls = {norm: NORMS[norm]() for norm in radii}
    adv = best = x
    highest = torch.full(y.shape, -torch.inf, device=x.device)
    for _ in range(steps):
        grad = input_gradient(f, adv, y)
        candidates = torch.stack(
            [b.project(b.ascend(adv, grad, sizes[n]), x, radii[n]) for n, b in balls.items()]
        )
        losses = torch.stack([each(cross_entropy, f(one), y) for one in candidates])
        top, chosen = losses.max(0)
        adv = candidates[chosen, torch.arange(len(x), device=x.device)]
        best = torch.where((top > highest).view(-1, *[1] * (x.ndim - 1)), adv, best)
        highest = torch.maximum(highest, top)
    return best
