"""What backbones are built of: the plain factories, and what residual networks share."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ConvFactory = Callable[..., nn.Conv2d]
NormFactory = Callable[..., nn.BatchNorm2d]
LinearFactory = Callable[..., nn.Linear]


def conv(*shape: Any, stage: int, site: str = "branch", **options: Any) -> nn.Conv2d:
    """A convolution; stage, 0 in the stem, and site are for factories that differ."""
    own: dict[str, Any] = {"bias": False, **options}
    return nn.Conv2d(*shape, **own)


def norm(channels: int, *, site: str = "branch", **options: Any) -> nn.BatchNorm2d:
    """A batch norm; site is "stem", "branch", "shortcut" or "final"."""
    return nn.BatchNorm2d(channels, **options)


def he_normal(model: nn.Module) -> None:
    """Draw convolutions from a normal distribution of variance 2 / (k^2 outputs)."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


class Normalised(nn.Module):
    """Mixin before a backbone: images in [0, 1] less the mean, over the standard deviation.

    Both are of each channel or of all of them, (C,) or (1,).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, *args: Any, mean: Sequence[float], std: Sequence[float], **options: Any
    ) -> None:
        super().__init__(*args, **options)
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x - self.mean) / self.std)


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


def shortcut(
    inputs: int, outputs: int, stride: int, conv: ConvFactory, norm: NormFactory | None = None
) -> Shortcut | None:
    """The projection of a block whose shapes change, None where the identity will do."""
    if stride == 1 and inputs == outputs:
        return None
    projection = conv(inputs, outputs, 1, site="shortcut")
    return Shortcut(stride, projection, *([norm(outputs, site="shortcut")] if norm else []))


class Staged(nn.Module):
    """A network of stages `layer1`, `layer2` ..., each but the first halving the image."""

    fc: nn.Linear

    def add_stages(
        self,
        block: Any,
        blocks: Sequence[int],
        inputs: int,
        width: int,
        conv: ConvFactory,
        **own: Any,
    ) -> int:
        """Add so many blocks a stage, of width, 2 width ... channels; return how many leave."""
        self.stages = len(blocks)
        for stage, count in enumerate(blocks, start=1):
            sequence = []
            for index in range(count):
                stride = 2 if stage > 1 and index == 0 else 1
                channels = width * 2 ** (stage - 1)
                sequence.append(block(inputs, channels, stride, partial(conv, stage=stage), **own))
                inputs = channels * block.expansion
            setattr(self, f"layer{stage}", nn.Sequential(*sequence))
        return inputs

    def through_stages(self, x: Tensor) -> Tensor:
        """What the last stage makes of what leaves the stem."""
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        return x

    def classify(self, x: Tensor) -> Tensor:
        """Logits from the mean of each channel."""
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
