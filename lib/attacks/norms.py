"""The balls that bound an attack: where it starts, how it climbs, how it is brought back.

Images are (N, C, H, W) in [0, 1] and so is every start and every projection.
All three project first onto the norm ball around x and then clamp to [0, 1]. In that order the
result satisfies both: x itself is in [0, 1], so clamping moves no coordinate farther from x.
For Linf this is the exact projection onto the intersection; for L2 and L1 it is a point of it.
"""

import torch
from torch import Tensor

TINY = 1e-12
MOVED = (5, 20)  # coordinates that a step in L1 over few of them moves


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    """Shape one value per image (N,) so that it broadcasts over images."""
    return values.view(-1, *[1] * (like.ndim - 1))


def _laid_out_as(values: Tensor, like: Tensor) -> Tensor:
    """Give values the memory layout of like.

    Random numbers are drawn contiguously first, so that a seed means the same start in any layout.
    """
    if like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last):
        return values.contiguous(memory_format=torch.channels_last)
    return values


class Ball:
    """Where an attack starts and how it is brought back; a norm says how long a move is.

    `top` is the fraction of the coordinates that a step in L1 moves.
    """

    def __init__(self, top: float = 0.01) -> None:
        self.top = top

    def start(self, x: Tensor, eps: float, generator: torch.Generator | None) -> Tensor:
        """Return a uniform draw from the ball, clamped."""
        return _laid_out_as(self.draw(x, eps, generator), x).add_(x).clamp_(0, 1)

    def project(self, adv: Tensor, x: Tensor, eps: float) -> Tensor:
        """Return adv brought back into the ball, then clamped to [0, 1]."""
        return self.shrink(adv - x, eps).add_(x).clamp_(0, 1)

    def draw(self, x: Tensor, eps: float, generator: torch.Generator | None) -> Tensor:
        """Return moves of the shape of x, uniform in the ball around 0.

        U^(1/d) as radius makes directions uniform on a sphere uniform in the unit ball.
        """
        noise, length = self.direction(x, generator)
        u = torch.rand(len(x), device=x.device, dtype=x.dtype, generator=generator)
        radius = _per_image(u ** (1 / x[0].numel()), x)
        return noise * (eps * radius / _per_image(length.clamp_min(TINY), x))

    def direction(self, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return moves of the shape of x, uniform on spheres, and their lengths (N,)."""
        raise NotImplementedError

    def shrink(self, delta: Tensor, eps: float) -> Tensor:
        """Return the moves of the ball that stand for delta, which is overwritten."""
        raise NotImplementedError

    def ascend(self, adv: Tensor, grad: Tensor, step: float) -> Tensor:
        """Return adv after a step of length step along the steepest ascent."""
        raise NotImplementedError


class Linf(Ball):
    """Every pixel moves by at most eps; a step follows the sign of the gradient."""

    def draw(self, x: Tensor, eps: float, generator: torch.Generator | None) -> Tensor:
        noise = torch.empty(x.shape, device=x.device, dtype=x.dtype)
        return noise.uniform_(-eps, eps, generator=generator)

    def shrink(self, delta: Tensor, eps: float) -> Tensor:
        return delta.clamp_(-eps, eps)

    def ascend(self, adv: Tensor, grad: Tensor, step: float) -> Tensor:
        return torch.add(adv, grad.sign(), alpha=step)


class L2(Ball):
    """The Euclidean length of the perturbation of an image is at most eps; shrunk radially."""

    def direction(self, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        noise = torch.randn(x.shape, device=x.device, dtype=x.dtype, generator=generator)
        return noise, noise.flatten(1).norm(dim=1)

    def shrink(self, delta: Tensor, eps: float) -> Tensor:
        length = delta.flatten(1).norm(dim=1)
        return delta.mul_(_per_image(eps / length.clamp_min(max(eps, TINY)), delta))

    def ascend(self, adv: Tensor, grad: Tensor, step: float) -> Tensor:
        # Scaled by its largest entry first: gradients of confident networks underflow when squared.
        largest = grad.flatten(1).abs().amax(1).clamp_min(torch.finfo(grad.dtype).tiny)
        grad = grad / _per_image(largest, grad)
        length = grad.flatten(1).norm(dim=1).clamp_min(TINY)
        return adv + grad * _per_image(step / length, grad)


class L1(Ball):
    """The absolute changes of an image sum to at most eps.

    Steepest ascent in L1 would move a single coordinate; as in SLIDE (Tramer and Boneh 2019) a step
    is spread evenly over the fraction top of the coordinates that have the largest gradient, among
    those that still have room before 0 or 1.
    """

    def direction(self, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        noise = torch.empty(x.shape, device=x.device, dtype=x.dtype)
        noise.exponential_(generator=generator)
        signs = torch.rand(x.shape, device=x.device, dtype=x.dtype, generator=generator)
        return torch.where(signs < 0.5, -noise, noise), noise.flatten(1).sum(1)

    def shrink(self, delta: Tensor, eps: float) -> Tensor:
        threshold = _per_image(l1_threshold(delta.flatten(1), eps), delta)
        return delta.sign() * (delta.abs() - threshold).clamp_min_(0)

    def ascend(self, adv: Tensor, grad: Tensor, step: float) -> Tensor:
        flat, here = grad.flatten(1), adv.flatten(1)
        blocked = ((flat > 0) & (here >= 1)) | ((flat < 0) & (here <= 0))
        slope = flat.abs().masked_fill(blocked, 0)
        k = max(1, round(self.top * flat.shape[1]))
        chosen = slope.topk(k, dim=1).indices
        signs = flat.gather(1, chosen).sign() * (slope.gather(1, chosen) > 0)
        count = signs.abs().sum(1, keepdim=True).clamp_min(1)
        move = torch.zeros_like(flat).scatter_(1, chosen, signs * (step / count))
        return adv + move.view(adv.shape)


class FewL1(L1):
    """L1 with each step over few coordinates, how many is drawn anew for it (Maini et al. 2020).

    It is the same number for all images, uniform in MOVED, by torch's global generator. The
    released code passes over pixels with less room than the step, even where they could move in.
    """

    def ascend(self, adv: Tensor, grad: Tensor, step: float) -> Tensor:
        least, most = MOVED
        self.top = min(1.0, int(torch.randint(least, most + 1, ())) / adv[0].numel())
        return super().ascend(adv, grad, step)


def l1_threshold(delta: Tensor, eps: float) -> Tensor:
    """Return how much to shrink every coordinate of delta (N, d) to project it onto the L1 ball.

    Projection onto the simplex by sorting (Duchi et al. 2008); 0 where delta is already inside.
    """
    ordered = delta.abs().sort(dim=1, descending=True).values
    surplus = ordered.cumsum(1) - eps
    rank = torch.arange(1, delta.shape[1] + 1, device=delta.device, dtype=delta.dtype)
    active = (ordered * rank > surplus).sum(1, keepdim=True).clamp_min_(1)
    threshold = surplus.gather(1, active - 1) / active
    return threshold.squeeze(1).clamp_min_(0)


NORMS: dict[str, type[Ball]] = {"linf": Linf, "l2": L2, "l1": L1, "l1-sparse": FewL1}
