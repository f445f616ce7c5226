"""Depthwise-separable convolutions, which the networks made to be light consist of."""

from functools import reduce
from operator import iadd

from torch import Tensor, nn

from lib.models.layers import ConvFactory


def depthwise(conv: ConvFactory, channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 kernel of its own for each channel."""
    return conv(channels, channels, 3, stride=stride, padding=1, groups=channels)


def separable(conv: ConvFactory, inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A depthwise convolution and a 1x1 convolution, with nothing between them."""
    return nn.Sequential(depthwise(conv, inputs, stride), conv(inputs, outputs, 1))


class Summed(nn.ModuleList):
    """The sum of what its modules make of one input, put into what the first of them makes."""

    def forward(self, x: Tensor) -> Tensor:
        return reduce(iadd, (part(x) for part in self))
