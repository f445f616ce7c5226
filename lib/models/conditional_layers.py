"""Layers whose weights and statistics follow the condition of a call (PNI, OAT, FLOAT, SMART)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Condition:
    """What the layers of one network need to know during one call."""

    adversarial: bool = False  # path: masks and batch norms
    split: int | None = None  # the first `split` samples use the clean batch norms whatever path
    noise: Tensor | None = None  # (all noisy weights of the network,), standard normal
    sigma: tuple[Tensor, ...] = ()  # for each noisy layer: scale of the noise times std(w)
    code: Tensor | None = None  # (1 or N, D), of lambda, for FiLM
    slim: float = 1.0  # share of the channels that slimmable layers use

    def clear(self) -> None:
        """Back to the clean path at full width, keeping no tensor alive."""
        self.adversarial, self.split, self.slim = False, None, 1.0
        self.noise, self.sigma, self.code = None, (), None


class Noisy(nn.Module):
    """Weights w + scale * alpha * std(w) * eta with eta ~ N(0, 1) (FLOAT Eq. 4, PNI).

    alpha is trained, std(w) is a constant to the gradient; the layer's eta is a slice of the
    one draw that the network makes for all its layers.
    """

    weight: Tensor
    bias: Any  # None, or (outputs,)

    def __init__(
        self,
        *shape: int,
        condition: Condition,
        alpha: float | None = None,
        granularity: str = "layer",
        **options: Any,
    ) -> None:
        """Add the parameter alpha: one per layer, output channel or element; None: no noise."""
        super().__init__(*shape, **options)
        self.condition = condition
        self.noise_start = self.noise_index = 0
        sizes = {
            "layer": (1,),
            "channel": (len(self.weight),) + (1,) * (self.weight.dim() - 1),
            "element": tuple(self.weight.shape),
        }
        start = None if alpha is None else torch.full(sizes[granularity], float(alpha))
        self.alpha = None if start is None else nn.Parameter(start)

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

    def effective_weight(self) -> Tensor:
        """The weight that this call computes with."""
        return self.with_noise(self.weight)


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
        self, *shape: int, paths: bool = False, prunable: bool = False, **options: Any
    ) -> None:
        super().__init__(*shape, **options)
        ones = torch.ones_like(self.weight, dtype=torch.bool)
        self.register_buffer("mask", ones.clone() if prunable else None)
        self.register_buffer("mask_clean", ones.clone() if paths else None)
        self.register_buffer("mask_adv", ones.clone() if paths else None)

    def effective_weight(self) -> Tensor:
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
        self,
        channels: int,
        *,
        condition: Condition,
        dual: bool = False,
        code_dim: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(channels, **options)
        self.condition = condition
        self.adv = nn.BatchNorm2d(channels, **options) if dual else None
        self.film = FiLM(code_dim, channels) if code_dim else None

    def active(self) -> nn.BatchNorm2d:
        """The batch norm of the path of this call."""
        return self.adv if self.adv is not None and self.condition.adversarial else self

    def normalise(self, x: Tensor) -> Tensor:
        """Each sample through the batch norm of its path; the other's statistics stay untouched."""
        split = self.condition.split
        if split is None:
            split = 0 if self.condition.adversarial else len(x)
        if self.adv is None or split == len(x):
            return super().forward(x)
        if split == 0:
            return self.adv(x)
        return torch.cat([super().forward(x[:split]), self.adv(x[split:])])

    def forward(self, x: Tensor) -> Tensor:
        x = self.normalise(x)
        return x if self.film is None else self.film(x, self.condition.code)
