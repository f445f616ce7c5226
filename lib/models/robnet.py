"""RobNet-free (Guo et al., 2020): cells found by a search among adversarially trained networks."""

from collections.abc import Sequence
from functools import partial, reduce
from operator import add
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.errors import UserError
from lib.models import layers
from lib.models.layers import ConvFactory, LinearFactory, NormFactory, Shortcut, Staged
from lib.models.separable import Summed, separable

# A cell has four steps, here a word each. A step adds up what its letters make of the outputs of
# the two cells before and of its own steps so far: S two separable convolutions, I the identity,
# R both, Z nothing. From architecture_code.py of github.com/gmh14/RobNets, commit 08987b3, where
# they are 01, 10, 11 and 00.
ROBNET_FREE = (
    *("RI RRI RSSI RRZRS", "RZ SIS ZIIZ SRIRZ", "RR RSS RSZI ZIIZR", "IR ISS IISI RZZSI"),
    *("RR SZI IISI SZISR", "RI RRR SIRZ ISRSR", "RR RII SRIS IIISI", "SR RRS RRRS RSRIZ"),
    *("RR RRR SSRI SZISR", "IR SZR RIRS RRRRZ", "RI RZZ ZRZS IZSIR", "SR SRR IIRI RSRIZ"),
    *("RR IIS ZIRR SIIZS", "SR RRS SRSS RRSII", "SR RRR SZSI IRIIR", "RR ZRR SZSI ZRSRR"),
    *("RR SRR IRII IIIRR", "IR SRR SRZR RZIZS", "RI RRR RRIR ZRSRR", "RR SSR RSZZ IZSSR"),
)


def unscaled(norm: NormFactory, channels: int) -> nn.BatchNorm2d:
    """A batch norm without scale and shift; refuses one of several branches or with FiLM."""
    made = norm(channels, affine=False)
    if type(made) is not nn.BatchNorm2d:
        raise UserError(
            "RobNet's batch norms have neither scale nor shift, so they are never dual and have no "
            "FiLM; choose a method without both, as pgd_at or pni, or another backbone."
        )
    return made


def separable_twice(
    channels: int, stride: int, conv: ConvFactory, norm: NormFactory
) -> nn.Sequential:
    """ReLU, depthwise-separable convolution and batch norm, twice; the first has the stride."""
    sequence: list[nn.Module] = []
    for step in (stride, 1):
        pair = separable(conv, channels, channels, step)
        sequence += [nn.ReLU(), *pair, unscaled(norm, channels)]
    return nn.Sequential(*sequence)


class Reduced(nn.Module):
    """Half the pixels of a side: half of the channels read even pixels, the others odd ones."""

    def __init__(self, inputs: int, outputs: int, conv: ConvFactory, norm: NormFactory) -> None:
        super().__init__()
        self.even = Shortcut(2, conv(inputs, outputs // 2, 1, site="shortcut"))
        self.odd = Shortcut(2, conv(inputs, outputs // 2, 1, site="shortcut"))
        self.bn = unscaled(norm, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        shifted = F.pad(x[:, :, 1:, 1:], (0, 1, 0, 1))
        return self.bn(torch.cat([self.even(x), self.odd(shifted)], dim=1))


def edge(letter: str, channels: int, stride: int, conv: ConvFactory, norm: NormFactory) -> Summed:
    """What a letter makes of one input of a step; the identity is reduced where the step is."""
    ways: list[nn.Module] = []
    if letter in "SR":
        ways.append(separable_twice(channels, stride, conv, norm))
    if letter in "IR":
        same = stride == 1
        ways.append(nn.Identity() if same else Reduced(channels, channels, conv, norm))
    return Summed(ways)


def entry(inputs: int, channels: int, conv: ConvFactory, norm: NormFactory) -> nn.Sequential:
    """ReLU, 1x1 convolution and batch norm, by which a cell begins."""
    return nn.Sequential(nn.ReLU(), conv(inputs, channels, 1), unscaled(norm, channels))


class Cell(nn.Module):
    """Four steps on the outputs of the two cells before; what the steps give is joined."""

    def __init__(
        self,
        words: str,
        inputs: tuple[int, int],
        channels: int,
        stride: int,
        halved: bool,
        conv: ConvFactory,
        norm: NormFactory,
    ) -> None:
        """Take the channels of the two cells before, and whether the later one halved the image."""
        super().__init__()
        first = Reduced if halved else entry
        self.before = first(inputs[0], channels, conv, norm)
        self.last = entry(inputs[1], channels, conv, norm)
        self.steps: Any = nn.ModuleList()
        for word in words.split():
            strides = stride, stride, *[1] * (len(word) - 2)
            edges = {
                str(source): edge(letter, channels, strides[source], conv, norm)
                for source, letter in enumerate(word)
                if letter != "Z"
            }
            self.steps.append(nn.ModuleDict(edges))

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        states = [self.before(before), self.last(last)]
        for step in self.steps:
            states.append(reduce(add, [edge(states[int(name)]) for name, edge in step.items()]))
        return torch.cat(states[2:], dim=1)


class RobNet(Staged):
    """A stem of 3w channels and cells of w; twice from a third on, and 4w from two thirds on, where
    the image is halved. A cell gives four times its channels.
    """

    def __init__(
        self,
        cells: Sequence[str],
        width: int = 36,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        conv: ConvFactory = layers.conv,
        norm: NormFactory = layers.norm,
        linear: LinearFactory = nn.Linear,
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, 3 * width, 3, padding=1, stage=0, site="stem")
        self.bn1 = norm(3 * width, site="stem")
        self.cells = nn.ModuleList()
        inputs, halved, stage = (3 * width, 3 * width), False, 1
        for index, words in enumerate(cells):
            halves = index in (len(cells) // 3, 2 * len(cells) // 3)
            stage += halves
            channels, here = width * 2 ** (stage - 1), partial(conv, stage=stage)
            cell = Cell(words, inputs, channels, 2 if halves else 1, halved, here, norm)
            self.cells.append(cell)
            inputs, halved = (inputs[1], channels * len(words.split())), halves
        self.fc = linear(inputs[1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        before = last = self.bn1(self.conv1(x))
        for cell in self.cells:
            before, last = last, cell(before, last)
        return self.classify(last)
