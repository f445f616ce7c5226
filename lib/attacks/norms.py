"""The balls that bound an attack: where it starts, how it climbs, how it is brought back.

A ball offers start, ascend and project. Images are (N, C, H, W) in [0, 1] and so is every result.
All three project first onto the norm ball around x and then clamp to [0, 1]. In that order the
result satisfies both: x itself is in [0, 1], so clamping moves no coordinate farther from x.
For Linf this is the exact projection onto the intersection; for L2 and L1 it is a point of it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TINY = 1e-12


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


def _random_radius(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return radii U^(1/d), which make directions uniform on a sphere uniform in the unit ball."""
    u = torch.rand(len(x), device=x.device, dtype=x.dtype, generator=generator)
    return _per_image(u ** (1 / x[0].numel()), x)


class Linf:
    """Every pixel moves by at most eps."""

    def start(self, x: Tensor, eps: float, generator: torch.Generator | None) -> Tensor:
        """Return a uniform draw from the ball, clamped."""
        noise = torch.empty(x.shape, device=x.device, dtype=x.dtype)
        noise.uniform_(-eps, eps, generator=generator)
        return _laid_out_as(noise, x).add_(x).clamp_(0, 1)

    def ascend(self, adv: Tensor, grad: Tensor, step: float) -> Tensor:
        """Return adv after a step along the sign of the gradient."""
        return torch.add(adv, grad.sign(), alpha=step)

    def project(self, adv: Tensor, x: Tensor, eps: float) -> Tensor:
        """Return the nearest point of the ball inside [0, 1]."""
        return (adv - x).clamp_(-eps, eps).add_(x).clamp_(0, 1)

    def distance(self, adv: Tensor, x: Tensor) -> Tensor:
        """Return the Linf distance of each image (N,)."""
        return (adv - x).flatten(1).abs().amax(1)


class L2:
    """The Euclidean length of the perturbation of an image is at most eps."""

    def start(self, x: Tensor, eps: float, generator: torch.Generator | None) -> Tensor:
        """Return a uniform draw from the ball, clamped."""
        noise = torch.randn(x.shape, device=x.device, dtype=x.dtype, generator=generator)
        length = noise.flatten(1).norm(dim=1).clamp_min(TINY)
        noise = noise * (eps * _random_radius(x, generator) / _per_image(length, x))
        return _laid_out_as(noise, x).add_(x).clamp_(0, 1)

    def ascend(self, adv: Tensor, grad: Tensor, step: float) -> Tensor:
        """Return adv after a step of length step along the gradient."""
        # Scaled by its largest entry first: gradients of confident networks underflow when squared.
        largest = grad.flatten(1).abs().amax(1).clamp_min(torch.finfo(grad.dtype).tiny)
        grad = grad / _per_image(largest, grad)
        length = grad.flatten(1).norm(dim=1).clamp_min(TINY)
        return adv + grad * _per_image(step / length, grad)

    def project(self, adv: Tensor, x: Tensor, eps: float) -> Tensor:
        """Return adv scaled radially onto the ball, then clamped to [0, 1]."""
        delta = adv - x
        length = delta.flatten(1).norm(dim=1)
        scale = eps / length.clamp_min(max(eps, TINY))
        return delta.mul_(_per_image(scale, x)).add_(x).clamp_(0, 1)

    def distance(self, adv: Tensor, x: Tensor) -> Tensor:
        """Return the L2 distance of each image (N,)."""
        return (adv - x).flatten(1).norm(dim=1)


class L1:
    """The absolute changes of an image sum to at most eps.

    Steepest ascent in L1 would move a single coordinate; as in SLIDE (Tramer and Boneh 2019) a step
    is spread evenly over the fraction top of the coordinates that have the largest gradient, among
    those that still have room before 0 or 1.
    """

    def __init__(self, top: float = 0.01) -> None:
        self.top = top

    def start(self, x: Tensor, eps: float, generator: torch.Generator | None) -> Tensor:
        """Return a uniform draw from the ball, clamped."""
        noise = torch.empty(x.shape, device=x.device, dtype=x.dtype)
        noise.exponential_(generator=generator)
        length = noise.flatten(1).sum(1).clamp_min(TINY)
        signs = torch.rand(x.shape, device=x.device, dtype=x.dtype, generator=generator)
        noise = torch.where(signs < 0.5, -noise, noise)
        noise = noise * (eps * _random_radius(x, generator) / _per_image(length, x))
        return _laid_out_as(noise, x).add_(x).clamp_(0, 1)

    def ascend(self, adv: Tensor, grad: Tensor, step: float) -> Tensor:
        """Return adv after a step of L1 length step over the steepest coordinates with room."""
        flat = grad.flatten(1)
        here = adv.flatten(1)
        blocked = ((flat > 0) & (here >= 1)) | ((flat < 0) & (here <= 0))
        slope = flat.abs().masked_fill(blocked, 0)
        k = max(1, round(self.top * flat.shape[1]))
        chosen = slope.topk(k, dim=1).indices
        move = torch.zeros_like(flat)
        signs = flat.gather(1, chosen).sign() * (slope.gather(1, chosen) > 0)
        count = signs.abs().sum(1, keepdim=True).clamp_min(1)
        move.scatter_(1, chosen, signs * (step / count))
        return adv + move.view(adv.shape)

    def project(self, adv: Tensor, x: Tensor, eps: float) -> Tensor:
        """Return the Euclidean projection onto the ball, then clamped to [0, 1]."""
        delta = adv - x
        flat = delta.flatten(1)
        threshold = _per_image(l1_threshold(flat, eps), x)
        size = (delta.abs() - threshold).clamp_min_(0)
        return (x + delta.sign() * size).clamp_(0, 1)

    def distance(self, adv: Tensor, x: Tensor) -> Tensor:
        """Return the L1 distance of each image (N,)."""
        return (adv - x).flatten(1).abs().sum(1)


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


NORMS: dict[str, Callable[..., Linf | L2 | L1]] = {"linf": Linf, "l2": L2, "l1": L1}
