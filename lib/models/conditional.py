"""Layers whose function depends on the trade-off lambda (PNI, OAT, FLOAT, SMART).

All conditional layers of a network share one Condition. The outermost forward sets it on every
call and clears it afterwards, so nothing of one call is left for the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from lib.errors import UserError, check_range
from lib.models.encoding import Encoder


@dataclass
class Condition:
    """What the layers of one network need to know during one call."""

    adversarial: bool = False  # path: masks and batch norms
    split: int | None = None  # the first `split` samples use the clean batch norms whatever path
    noise: Tensor | None = None  # (all noisy weights of the network,), standard normal
    sigma: tuple[Tensor, ...] = ()  # for each noisy layer: scale of the noise times std(w)
    code: Tensor | None = None  # (1 or N, D), of lambda, for FiLM

    def clear(self) -> None:
        """Back to the clean path, keeping no tensor alive."""
        self.adversarial, self.split = False, None
        self.noise, self.sigma, self.code = None, (), None


class Noisy(nn.Module):
    """Weights w + scale * alpha * std(w) * eta with eta ~ N(0, 1) (FLOAT Eq. 4, PNI).

    alpha is trained, std(w) is a constant to the gradient; the layer's eta is a slice of the
    one draw that the network makes for all its layers.
    """

    weight: Tensor
    condition: Condition

    def make_noisy(self, alpha: float | None, granularity: str) -> None:
        """Add the parameter alpha: one per layer, output channel or element; None: no noise."""
        shape = {
            "layer": (1,),
            "channel": (len(self.weight),) + (1,) * (self.weight.dim() - 1),
            "element": tuple(self.weight.shape),
        }[granularity]
        self.alpha = None if alpha is None else nn.Parameter(torch.full(shape, float(alpha)))
        self.noise_start = self.noise_index = 0

    def eta(self, noise: Tensor) -> Tensor:
        """This layer's slice of the network's draw, in the shape of the weight.

        Convolutions are filled channels last, which is their fast memory format; the order is
        the same in either format, so that one draw means one network.
        """
        flat = noise.narrow(0, self.noise_start, self.weight.numel())
        if self.weight.dim() == 2:
            return flat.view(self.weight.shape)
        out_channels, in_channels, height, width = self.weight.shape
        return flat.view(out_channels, height, width, in_channels).permute(0, 3, 1, 2)

    def with_noise(self, weight: Tensor, mask: Tensor | None = None) -> Tensor:
        """Weight plus this call's noise, which is only where the mask is."""
        condition = self.condition
        if self.alpha is None or condition.noise is None:
            return weight
        eta = self.eta(condition.noise)
        size = condition.sigma[self.noise_index] * self.alpha
        return torch.addcmul(weight, eta if mask is None else eta * mask, size)


def spread(weights: Sequence[Tensor], counts: Tensor) -> Tensor:
    """Unbiased standard deviation of each weight tensor (0 for a single number), (L,).

    Like operations follow each other, which on small networks is twice as fast as std() by layer.
    """
    total = torch.stack([weight.sum() for weight in weights])
    norm = torch.stack([torch.linalg.vector_norm(weight) for weight in weights])
    return ((norm**2 - total**2 / counts).clamp(min=0) / (counts - 1).clamp(min=1)).sqrt()


class Conv2d(Noisy, nn.Conv2d):
    """A convolution with any of: weight noise, a mask for each path, one pruning mask.

    Effective weight: (weight + noise) * mask * path mask. Weights outside their path mask get no
    gradient; pruned ones do, because regrowth by momentum needs to know theirs.
    """

    mask: Tensor | None
    mask_clean: Tensor | None
    mask_adv: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        condition: Condition,
        alpha: float | None = None,
        granularity: str = "layer",
        paths: bool = False,
        prunable: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        self.condition = condition
        self.make_noisy(alpha, granularity)
        ones = torch.ones_like(self.weight, dtype=torch.bool)
        self.register_buffer("mask", ones.clone() if prunable else None)
        self.register_buffer("mask_clean", ones.clone() if paths else None)
        self.register_buffer("mask_adv", ones.clone() if paths else None)

    def effective_weight(self) -> Tensor:
        """The weight that this call convolves with."""
        weight = self.weight
        if self.mask is not None:  # straight through: the value is masked, the gradient is not
            weight = weight + (weight * self.mask - weight).detach()
        weight = self.with_noise(weight, self.mask)
        path = self.mask_adv if self.condition.adversarial else self.mask_clean
        return weight if path is None else weight * path

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.effective_weight(), self.bias)


class Linear(Noisy, nn.Linear):
    """A linear layer with weight noise; the bias has none."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        condition: Condition,
        alpha: float | None = None,
        granularity: str = "layer",
    ) -> None:
        super().__init__(in_features, out_features)
        self.condition = condition
        self.make_noisy(alpha, granularity)

    def effective_weight(self) -> Tensor:
        """The weight that this call multiplies with."""
        return self.with_noise(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.effective_weight(), self.bias)


class FiLM(nn.Module):
    """Scales and shifts channels by what two linear layers make of the code of lambda (OAT)."""

    def __init__(self, code_dim: int, channels: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(code_dim, 2 * channels)
        self.linear2 = nn.Linear(2 * channels, 2 * channels)

    def affine(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift of each channel, both (1 or N, C)."""
        hidden = F.leaky_relu(self.linear1(code), 0.01)
        scale, shift = F.leaky_relu(self.linear2(hidden), 0.01).chunk(2, dim=1)
        return scale, shift

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        scale, shift = self.affine(code)
        return x * scale[:, :, None, None] + shift[:, :, None, None]


class BatchNorm2d(nn.BatchNorm2d):
    """The clean batch norm; where asked for, the adversarial one beside it and FiLM after it."""

    def __init__(
        self, channels: int, *, condition: Condition, dual: bool = False, code_dim: int = 0
    ) -> None:
        super().__init__(channels)
        self.condition = condition
        self.adv = nn.BatchNorm2d(channels) if dual else None
        self.film = FiLM(code_dim, channels) if code_dim else None

    def normalise(self, x: Tensor) -> Tensor:
        """Each sample through the batch norm of its path; the other's statistics stay untouched."""
        split = self.condition.split
        if self.adv is None:
            return super().forward(x)
        if split is None:
            return self.adv(x) if self.condition.adversarial else super().forward(x)
        if split == 0:
            return self.adv(x)
        if split == len(x):
            return super().forward(x)
        return torch.cat([super().forward(x[:split]), self.adv(x[split:])])

    def forward(self, x: Tensor) -> Tensor:
        x = self.normalise(x)
        return x if self.film is None else self.film(x, self.condition.code)


class Conditional(nn.Module):
    """Mixin before a backbone: calls take lambda, layers follow it.

    lam = 0 is the clean path: its masks and batch norms, no noise. lam > 0 is the adversarial
    path with noise scaled by lam. Draws of noise come from torch's global generator.
    """

    counts: Tensor  # (noisy layers,), elements of each

    OWN = ("condition", "method", "default_lam", "encoder", "noisy", "noise_size", "counts")

    def __init__(
        self,
        *args: Any,
        condition: Condition,
        method: str,
        default_lam: float = 0.0,
        encoder: Encoder | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.condition = condition
        self.method = method
        self.default_lam = default_lam
        self.encoder = encoder
        self.index_noise()

    def index_noise(self) -> None:
        """Give each noisy layer its slice of the one draw; again after any change of layers."""
        layers = [layer for layer in self.modules() if isinstance(layer, Noisy)]
        self.noisy = [layer for layer in layers if layer.alpha is not None]
        counts = [layer.weight.numel() for layer in self.noisy]
        self.noise_size = sum(counts)
        for index, layer in enumerate(self.noisy):
            layer.noise_index, layer.noise_start = index, sum(counts[:index])
        device = next(self.parameters()).device
        self.register_buffer("counts", torch.tensor(counts, device=device), persistent=False)

    def draw_noise(self, generator: Generator | None = None) -> Tensor:
        """Standard normal values for every noisy weight, to be frozen by passing them as noise."""
        weight = next(self.parameters())
        device = weight.device if generator is None else generator.device
        noise = torch.randn(self.noise_size, generator=generator, device=device, dtype=weight.dtype)
        return noise.to(weight.device)

    def set_condition(
        self,
        lam: float | Tensor | None = None,
        *,
        split: int | None = None,
        noise: Tensor | None = None,
        threshold: float = 0.0,
    ) -> None:
        """Check the arguments of a call and tell the layers; forward does this on every call."""
        lam = self.default_lam if lam is None else lam
        condition = self.condition
        condition.clear()
        if isinstance(lam, Tensor):
            if self.encoder is None:
                raise UserError(f"lam must be one number for {self.method}, only OAT takes more.")
            condition.code, zeros = self.encoder.encode_each(lam)
            condition.split = zeros if split is None else split
            return
        check_range("lam", lam, 0.0, 1.0)
        condition.split = split
        condition.adversarial = lam > threshold
        scale = lam if threshold == 0 else self.rescale(lam, threshold)
        if self.noise_size and scale > 0:
            condition.noise = self.draw_noise() if noise is None else self.check_noise(noise)
            weights = [layer.weight.detach() for layer in self.noisy]
            condition.sigma = (scale * spread(weights, self.counts)).unbind()
        if self.encoder is not None:
            condition.code = self.encoder.encode(lam)

    def rescale(self, lam: float, threshold: float) -> float:
        """Noise scale that starts again from 0 at the threshold (FLOAT Eq. 6)."""
        if self.method != "float":
            raise UserError(
                f"threshold is defined for FLOAT only; leave it at 0 for {self.method}."
            )
        check_range("threshold", threshold, 0.0, 1.0)
        if lam > threshold:
            return (lam - threshold) / (1 - threshold)
        return lam / threshold

    def check_noise(self, noise: Tensor) -> Tensor:
        """Refuse frozen noise of another network."""
        if noise.shape != (self.noise_size,):
            raise UserError(
                f"noise has shape {tuple(noise.shape)} but this network needs "
                f"({self.noise_size},): take it from its own draw_noise()."
            )
        return noise

    def forward(
        self,
        x: Tensor,
        lam: float | Tensor | None = None,
        *,
        split: int | None = None,
        noise: Tensor | None = None,
        threshold: float = 0.0,
    ) -> Tensor:
        """Logits of x at lam (None: 0, for PNI 1).

        split=k routes the first k samples through the clean batch norms and the others through
        the adversarial ones, whatever lam; noise freezes the draw; threshold is FLOAT's Eq. 6.
        """
        try:
            self.set_condition(lam, split=split, noise=noise, threshold=threshold)
            check_batch(len(x), lam, split)
            return super().forward(x)
        finally:
            self.condition.clear()


def check_batch(size: int, lam: float | Tensor | None, split: int | None) -> None:
    """Refuse a split or a tensor of lambdas that does not belong to a batch of this size."""
    if split is not None and not 0 <= split <= size:
        raise UserError(f"split is {split} but must be between 0 and the batch of {size}.")
    if isinstance(lam, Tensor) and lam.shape != (size,):
        raise UserError(
            f"lam has shape {tuple(lam.shape)} but must be one number, or one for each of the "
            f"{size} samples."
        )
