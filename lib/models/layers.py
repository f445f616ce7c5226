"""The plain factories: what a backbone is built from when no method asks for anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

ConvFactory = Callable[..., nn.Conv2d]
NormFactory = Callable[..., nn.BatchNorm2d]
LinearFactory = Callable[..., nn.Linear]


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stage: int,
    site: str,
    bias: bool = False,
    **options: Any,
) -> nn.Conv2d:
    """A convolution; stage (0 is the stem) and site are for factories that differ."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, bias=bias, **options)


def norm(channels: int, *, site: str, **options: Any) -> nn.BatchNorm2d:
    """A batch norm; site is "stem", "branch", "shortcut" or "final"."""
    return nn.BatchNorm2d(channels, **options)


def linear(in_features: int, out_features: int, **options: Any) -> nn.Linear:
    """The classifier layer."""
    return nn.Linear(in_features, out_features, **options)


class Shortcut(nn.Sequential):
    """A 1x1 projection of every stride-th pixel, with its batch norm where it has one.

    The pixels are taken before the convolution, whose own stride is 1: the same function as a
    strided 1x1 convolution, which oneDNN (3.13.3 in torch 2.15, its issue 6035) gets wrong. On a
    processor with AVX2 alone, float32, channels_last and fewer than 8 input channels, the backward
    pass writes past a buffer: one thread crashes, several give a wrong gradient without a word.
    """

    def __init__(self, stride: int, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, :, :: self.stride, :: self.stride])
