"""ResNets for small images whose blocks begin with batch norm and ReLU (He et al., 2016)."""

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lib.models import layers
from lib.models.layers import ConvFactory, NormFactory, shortcut
from lib.models.resnet import ResNet
from lib.models.separable import separable
from lib.models.wide_resnet import PreActBlock


class PreActBasicBlock(PreActBlock):
    """The block of wide ResNets without dropout."""

    def __init__(
        self, inputs: int, channels: int, stride: int, conv: ConvFactory, norm: NormFactory
    ) -> None:
        super().__init__(inputs, channels, stride, conv, norm, dropout=0.0)


class PreActBottleneck(nn.Module):
    """Norm, ReLU and a convolution, three times: 1x1, 3x3 (with the stride) and 1x1."""

    expansion = 4
    LINKS = (("conv2", "bn3", "conv3"), ("conv1", "bn2", "conv2"))

    def __init__(
        self, inputs: int, channels: int, stride: int, conv: ConvFactory, norm: NormFactory
    ) -> None:
        super().__init__()
        outputs = channels * self.expansion
        self.bn1 = norm(inputs)
        self.conv1 = conv(inputs, channels, 1)
        self.bn2 = norm(channels)
        self.conv2 = conv(channels, channels, 3, stride=stride, padding=1)
        self.bn3 = norm(channels)
        self.conv3 = conv(channels, outputs, 1)
        self.downsample = shortcut(inputs, outputs, stride, conv)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x), inplace=True)
        out = F.relu(self.bn2(self.conv1(active)), inplace=True)
        out = F.relu(self.bn3(self.conv2(out)), inplace=True)
        return self.conv3(out) + (x if self.downsample is None else self.downsample(active))


class PreActResNet(ResNet):
    """No batch norm after the stem but one, with a ReLU, after the last stage."""

    FINAL = True

    def __init__(self, *args: Any, norm: NormFactory = layers.norm, **options: Any) -> None:
        super().__init__(*args, norm=norm, **options)
        del self.bn1
        self.bn = norm(self.fc.in_features, site="final") if self.FINAL else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.through_stages(self.conv1(x))
        return self.classify(x if self.bn is None else F.relu(self.bn(x), inplace=True))


class UnnormedPreActResNet(PreActResNet):
    """Nothing between the last stage and the mean of each channel."""

    FINAL = False


def in_two(
    conv: ConvFactory, inputs: int, outputs: int, kernel: int, *, stage: int, **options: Any
) -> nn.Module:
    """A convolution, made of two where it is a 3x3 one after the stem."""
    if kernel == 1 or stage == 0:
        return conv(inputs, outputs, kernel, stage=stage, **options)
    return separable(partial(conv, stage=stage), inputs, outputs, options.get("stride", 1))


class SeparablePreActResNet(PreActResNet):
    """All 3x3 convolutions but the stem are depthwise-separable, nothing between the two."""

    def __init__(self, *args: Any, conv: ConvFactory = layers.conv, **options: Any) -> None:
        super().__init__(*args, conv=partial(in_two, conv), **options)
