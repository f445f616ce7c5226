"""Wide ResNets: pre-activation blocks, three stages, optional dropout."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lib.models import layers
from lib.models.layers import ConvFactory, LinearFactory, NormFactory


class PreActBlock(nn.Module):
    """Norm, ReLU, 3x3 convolution, twice; a changing shortcut starts after the first ReLU."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        stage: int,
        dropout: float,
        conv: ConvFactory,
        norm: NormFactory,
    ) -> None:
        super().__init__()
        branch = {"stage": stage, "site": "branch"}
        self.dropout = dropout
        self.bn1 = norm(in_channels, site="branch")
        self.conv1 = conv(in_channels, channels, 3, stride=stride, padding=1, **branch)
        self.bn2 = norm(channels, site="branch")
        self.conv2 = conv(channels, channels, 3, padding=1, **branch)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = layers.Shortcut(
                stride, conv(in_channels, channels, 1, stage=stage, site="shortcut")
            )

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x), inplace=True)
        out = F.relu(self.bn2(self.conv1(active)), inplace=True)
        if self.dropout:
            out = F.dropout(out, self.dropout, self.training)
        return self.conv2(out) + (x if self.downsample is None else self.downsample(active))


class WideResNet(nn.Module):
    """Depth 6n+4: a stem of `width` channels, then stages of factor x width, 2x and 4x that."""

    def __init__(
        self,
        depth: int,
        factor: int,
        width: int = 16,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        dropout: float = 0.0,
        conv: ConvFactory = layers.conv,
        norm: NormFactory = layers.norm,
        linear: LinearFactory = layers.linear,
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, width, 3, padding=1, stage=0, site="stem")
        self.stages = 3
        channels = width
        for stage in range(1, self.stages + 1):
            planes = width * factor * 2 ** (stage - 1)
            sequence = []
            for index in range((depth - 4) // 6):
                stride = 2 if stage > 1 and index == 0 else 1
                sequence.append(PreActBlock(channels, planes, stride, stage, dropout, conv, norm))
                channels = planes
            setattr(self, f"layer{stage}", nn.Sequential(*sequence))
        self.bn = norm(channels, site="final")
        self.fc = linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        x = F.relu(self.bn(x), inplace=True)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
