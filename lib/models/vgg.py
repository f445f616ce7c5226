"""VGG for small images: five stages of 3x3 convolutions, each followed by max-pooling."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lib.errors import UserError
from lib.models import layers
from lib.models.layers import ConvFactory, LinearFactory, NormFactory, Staged, he_normal
from lib.models.slimmable import Slimmable


class ConvNorm(nn.Module):
    """A 3x3 convolution with bias, its batch norm and ReLU."""

    def __init__(
        self, shape: tuple[int, int], stage: int, site: str, conv: ConvFactory, norm: NormFactory
    ) -> None:
        super().__init__()
        self.conv = conv(*shape, 3, padding=1, bias=True, stage=stage, site=site)
        self.bn = norm(shape[1], site=site)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class VGG(Staged):
    """Stages of w, 2w, 4w, 8w and 8w channels and one linear layer.

    Weights begin as in DNR's networks: Glorot uniform of gain 0.5, batch norms with scale 0.5, the
    classifier normal of deviation 0.01, all shifts 0.
    """

    def __init__(
        self,
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
        self.stages, inputs = len(blocks), in_channels
        names: list[str] = []
        for stage, count in enumerate(blocks, start=1):
            sequence = []
            for index in range(count):
                channels = width * min(8, 2 ** (stage - 1))
                place = (stage, "branch") if names else (0, "stem")
                sequence.append(ConvNorm((inputs, channels), *place, conv, norm))
                names.append(f"layer{stage}.{index}")
                inputs = channels
            setattr(self, f"layer{stage}", nn.Sequential(*sequence))
        self.fc = linear(inputs, num_classes)
        self.LINKS = [(f"{a}.conv", f"{a}.bn", f"{b}.conv") for a, b in pairwise(names)]
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.constant_(layer.weight, 0.5)
            elif isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight, gain=0.5)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        for stage in range(1, self.stages + 1):  # an image of one pixel stays
            x = F.max_pool2d(getattr(self, f"layer{stage}")(x), 2, ceil_mode=True)
        return self.classify(x)


def linked(network: VGG, reader: str) -> list[tuple[str, str, str]]:
    """Return the links of a network from the last, which ends in a linear layer, to the first."""
    last = network.LINKS[-1][2].removesuffix(".conv")
    return [(f"{last}.conv", f"{last}.bn", reader), *reversed(network.LINKS)]


class VggBn(VGG):
    """The same layers, whose weights begin as torch has it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
                layer.reset_parameters()
        self.LINKS = linked(self, "fc")


class HydraVgg(VGG):
    """Convolutions without bias, four poolings and two hidden linear layers of 4w units, which read
    the mean of each quarter of the image. Weights begin as in HYDRA's networks; narrower linear
    layers have larger ones, so that what comes out is no smaller.
    """

    def __init__(self, *args: Any, linear: LinearFactory = nn.Linear, **options: Any) -> None:
        super().__init__(*args, linear=linear, **options)
        channels, classes = self.fc.in_features, self.fc.out_features
        del self.fc  # which comes last
        self.hidden1 = linear(4 * channels, channels // 2)
        self.hidden2 = linear(channels // 2, channels // 2)
        self.fc = linear(channels // 2, classes)
        if isinstance(self.fc, Slimmable):
            raise UserError("Hidden linear layers have one width; choose a method without slims.")
        self.LINKS = linked(self, "hidden1")
        he_normal(self)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                layer.bias = None
            elif isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()
        for layer in (self.hidden1, self.hidden2, self.fc):
            nn.init.normal_(layer.weight, std=0.01 * (512 / channels) ** 0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        for stage in range(1, self.stages + 1):
            x = x if stage == 1 else F.max_pool2d(x, 2, ceil_mode=True)
            x = getattr(self, f"layer{stage}")(x)
        x = F.relu(self.hidden1(F.adaptive_avg_pool2d(x, 2).flatten(1)), inplace=True)
        return self.fc(F.relu(self.hidden2(x), inplace=True))
