"""Wide ResNets: pre-activation blocks, three stages, optional dropout."""

import torch.nn.functional as F
from torch import Tensor, nn

from lib.models import layers
from lib.models.layers import ConvFactory, LinearFactory, NormFactory, Staged, shortcut


class PreActBlock(nn.Module):
    """Norm, ReLU, 3x3 convolution, twice; a changing shortcut starts after the first ReLU."""

    expansion = 1
    LINKS = (("conv1", "bn2", "conv2"),)

    def __init__(
        self,
        inputs: int,
        channels: int,
        stride: int,
        conv: ConvFactory,
        norm: NormFactory,
        dropout: float,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.bn1 = norm(inputs)
        self.conv1 = conv(inputs, channels, 3, stride=stride, padding=1)
        self.bn2 = norm(channels)
        self.conv2 = conv(channels, channels, 3, padding=1)
        self.downsample = shortcut(inputs, channels, stride, conv)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x), inplace=True)
        out = F.relu(self.bn2(self.conv1(active)), inplace=True)
        if self.dropout:
            out = F.dropout(out, self.dropout, self.training)
        return self.conv2(out) + (x if self.downsample is None else self.downsample(active))


class WideResNet(Staged):
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
        linear: LinearFactory = nn.Linear,
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, width, 3, padding=1, stage=0, site="stem")
        blocks = [(depth - 4) // 6] * 3
        own = {"norm": norm, "dropout": dropout}
        channels = self.add_stages(PreActBlock, blocks, width, width * factor, conv, **own)
        self.bn = norm(channels, site="final")
        self.fc = linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.through_stages(self.conv1(x))
        return self.classify(F.relu(self.bn(x), inplace=True))
