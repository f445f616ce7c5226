"""ResNets for small images: 3x3 stem of stride 1, no max-pooling; shortcuts are projections."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from lib.models import layers
from lib.models.layers import ConvFactory, LinearFactory, NormFactory, Staged, he_normal, shortcut


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    expansion = 1
    LINKS = (("conv1", "bn1", "conv2"),)

    def __init__(
        self,
        inputs: int,
        channels: int,
        stride: int,
        conv: ConvFactory,
        norm: NormFactory,
        shortcut: Callable[..., Callable[[Tensor], Tensor] | None] = shortcut,
    ) -> None:
        super().__init__()
        self.conv1 = conv(inputs, channels, 3, stride=stride, padding=1)
        self.bn1 = norm(channels)
        self.conv2 = conv(channels, channels, 3, padding=1)
        self.bn2 = norm(channels)
        self.downsample = shortcut(inputs, channels, stride, conv, norm)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return F.relu(out, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions around a shortcut."""

    expansion = 4
    LINKS = (("conv2", "bn2", "conv3"), ("conv1", "bn1", "conv2"))

    def __init__(
        self, inputs: int, channels: int, stride: int, conv: ConvFactory, norm: NormFactory
    ) -> None:
        super().__init__()
        outputs = channels * self.expansion
        self.conv1 = conv(inputs, channels, 1)
        self.bn1 = norm(channels)
        self.conv2 = conv(channels, channels, 3, stride=stride, padding=1)
        self.bn2 = norm(channels)
        self.conv3 = conv(channels, outputs, 1)
        self.bn3 = norm(outputs)
        self.downsample = shortcut(inputs, outputs, stride, conv, norm)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return F.relu(out, inplace=True)


class ResNet(Staged):
    """A stem of w channels, stages of w, 2w, 4w ... times the block's expansion."""

    BLOCK: ClassVar[dict[str, Any]] = {}  # what every block takes beside its shape

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
        linear: LinearFactory = nn.Linear,
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, width, 3, padding=1, stage=0, site="stem")
        self.bn1 = norm(width, site="stem")
        outputs = self.add_stages(block, blocks, width, width, conv, norm=norm, **self.BLOCK)
        self.fc = linear(outputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return self.classify(self.through_stages(x))


def grown(stride: int, inputs: int, outputs: int, x: Tensor) -> Tensor:
    """Every stride-th pixel, with channels of zeros behind its own; in a narrower sub-network
    they grow by the same factor.
    """
    added = x.shape[1] * (outputs - inputs) // inputs
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, added))


def without_parameters(
    inputs: int, outputs: int, stride: int, conv: ConvFactory, norm: NormFactory
) -> Callable[[Tensor], Tensor] | None:
    """The shortcut of a block whose shapes change, None where the identity will do."""
    same = stride == 1 and inputs == outputs
    return None if same else partial(grown, stride, inputs, outputs)


class CifarResNet(ResNet):
    """The narrow ResNets of He et al. (2016, section 4.2): no parameters in shortcuts, and weights
    that begin normal with variance 2 / (k^2 outputs), of the classifier 2 / inputs, its bias at 0.
    """

    BLOCK: ClassVar[dict[str, Any]] = {"shortcut": without_parameters}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        nn.init.kaiming_normal_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)


class ImageNetResNet(ResNet):
    """ResNets for large images: a 7x7 stem of stride 2, then 3x3 max-pooling of stride 2.

    Keys, function and first weights are those of torchvision's.
    """

    def __init__(self, *args: Any, conv: ConvFactory = layers.conv, **options: Any) -> None:
        super().__init__(*args, conv=conv, **options)
        shape = self.conv1.in_channels, self.conv1.out_channels
        self.conv1 = conv(*shape, 7, stride=2, padding=3, stage=0, site="stem")
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return self.classify(self.through_stages(F.max_pool2d(x, 3, stride=2, padding=1)))
