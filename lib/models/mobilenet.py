"""MobileNets for small images: strides of the stem and of the second stage of V2 are 1."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from lib.models import layers
from lib.models.layers import ConvFactory, LinearFactory, NormFactory, Staged
from lib.models.resnet import ResNet
from lib.models.separable import depthwise

# V2's stages: growth inside of a block, channels at a width of 32, blocks, stride of the first
STAGES = (
    *((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)


class SeparableBlock(nn.Module):
    """A depthwise and a 1x1 convolution, each with batch norm and ReLU."""

    expansion = 2

    def __init__(
        self, inputs: int, channels: int, stride: int, conv: ConvFactory, norm: NormFactory
    ) -> None:
        super().__init__()
        outputs = channels * self.expansion
        self.conv1 = depthwise(conv, inputs, stride)
        self.bn1 = norm(inputs)
        self.conv2 = conv(inputs, outputs, 1)
        self.bn2 = norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(x)), inplace=True)


class MobileNetV1(ResNet):
    """A stem and stages as a ResNet's, but of blocks without shortcuts (Howard et al., 2017)."""


class InvertedResidual(nn.Module):
    """1x1 to more channels, depthwise, 1x1 without ReLU; the input is added where it fits.

    Without growth there is no first convolution.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        stride: int,
        growth: int,
        conv: ConvFactory,
        norm: NormFactory,
    ) -> None:
        super().__init__()
        inner = growth * inputs
        self.grows, self.added = growth > 1, stride == 1 and inputs == channels
        if self.grows:
            self.conv1 = conv(inputs, inner, 1)
            self.bn1 = norm(inner)
        self.conv2 = depthwise(conv, inner, stride)
        self.bn2 = norm(inner)
        self.conv3 = conv(inner, channels, 1)
        self.bn3 = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu6(self.bn1(self.conv1(x)), inplace=True) if self.grows else x
        out = F.relu6(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        return out + x if self.added else out


class MobileNetV2(Staged):
    """A stem of w channels, 17 inverted residual blocks and a 1x1 convolution to 40w channels
    (Sandler et al., 2018).
    """

    def __init__(
        self,
        width: int = 32,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        conv: ConvFactory = layers.conv,
        norm: NormFactory = layers.norm,
        linear: LinearFactory = nn.Linear,
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, width, 3, padding=1, stage=0, site="stem")
        self.bn1 = norm(width, site="stem")
        self.stages, inputs = len(STAGES), width
        for stage, (growth, share, blocks, stride) in enumerate(STAGES, start=1):
            sequence, channels = [], max(1, share * width // 32)
            for step in (stride, *[1] * (blocks - 1)):
                here = partial(conv, stage=stage)
                sequence.append(InvertedResidual(inputs, channels, step, growth, here, norm))
                inputs = channels
            setattr(self, f"layer{stage}", nn.Sequential(*sequence))
        self.conv2 = conv(inputs, 40 * width, 1, stage=self.stages)
        self.bn2 = norm(40 * width, site="final")
        self.fc = linear(40 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.through_stages(F.relu6(self.bn1(self.conv1(x)), inplace=True))
        return self.classify(F.relu6(self.bn2(self.conv2(x)), inplace=True))
