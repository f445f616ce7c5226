"""The plain factories: what a backbone is built from when no method asks for anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

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
    **options: Any,
) -> nn.Conv2d:
    """A convolution without bias; stage (0 is the stem) and site are for factories that differ."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, bias=False, **options)


def norm(channels: int, *, site: str) -> nn.BatchNorm2d:
    """A batch norm; site is "stem", "branch", "shortcut" or "final"."""
    return nn.BatchNorm2d(channels)


def linear(in_features: int, out_features: int) -> nn.Linear:
    """The classifier layer."""
    return nn.Linear(in_features, out_features)
