"""ResNets for small images: 3x3 stem of stride 1, no max-pooling, projection shortcuts."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lib.models import layers
from lib.models.layers import ConvFactory, LinearFactory, NormFactory


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        stage: int,
        conv: ConvFactory,
        norm: NormFactory,
    ) -> None:
        super().__init__()
        branch = {"stage": stage, "site": "branch"}
        self.conv1 = conv(in_channels, channels, 3, stride=stride, padding=1, **branch)
        self.bn1 = norm(channels, site="branch")
        self.conv2 = conv(channels, channels, 3, padding=1, **branch)
        self.bn2 = norm(channels, site="branch")
        self.downsample = projection(in_channels, channels, stride, stage, conv, norm)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return F.relu(out, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions around a shortcut."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        stage: int,
        conv: ConvFactory,
        norm: NormFactory,
    ) -> None:
        super().__init__()
        branch = {"stage": stage, "site": "branch"}
        out_channels = channels * self.expansion
        self.conv1 = conv(in_channels, channels, 1, **branch)
        self.bn1 = norm(channels, site="branch")
        self.conv2 = conv(channels, channels, 3, stride=stride, padding=1, **branch)
        self.bn2 = norm(channels, site="branch")
        self.conv3 = conv(channels, out_channels, 1, **branch)
        self.bn3 = norm(out_channels, site="branch")
        self.downsample = projection(in_channels, out_channels, stride, stage, conv, norm)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return F.relu(out, inplace=True)


def projection(
    in_channels: int,
    out_channels: int,
    stride: int,
    stage: int,
    conv: ConvFactory,
    norm: NormFactory,
) -> layers.Shortcut | None:
    """The 1x1 shortcut where shapes change, None where the identity will do."""
    if stride == 1 and in_channels == out_channels:
        return None
    return layers.Shortcut(
        stride,
        conv(in_channels, out_channels, 1, stage=stage, site="shortcut"),
        norm(out_channels, site="shortcut"),
    )


class ResNet(nn.Module):
    """Stages of w, 2w, 4w ... channels, each but the first halving the image."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: Sequence[int],
        width: int = 64,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        conv: ConvFactory = layers.conv,
        norm: NormFactory = layers.norm,
        linear: LinearFactory = layers.linear,
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, width, 3, padding=1, stage=0, site="stem")
        self.bn1 = norm(width, site="stem")
        self.stages = len(blocks)
        channels = width
        for stage, count in enumerate(blocks, start=1):
            planes = width * 2 ** (stage - 1)
            sequence = []
            for index in range(count):
                stride = 2 if stage > 1 and index == 0 else 1
                sequence.append(block(channels, planes, stride, stage, conv, norm))
                channels = planes * block.expansion
            setattr(self, f"layer{stage}", nn.Sequential(*sequence))
        self.fc = linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
