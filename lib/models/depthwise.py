"""Generalised depthwise-separable convolutions (GDWS, section 3.1) and ways to execute them.

Channel c of the input is convolved with g_c kernels of its own, G in all; a 1x1 convolution makes
the outputs of the G maps. One function, several forms: which is fastest depends on shapes, on g
and on the machine, so that `lib.deployment` measures.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lib.errors import UserError, choose
from lib.models.compaction import GatheredConv2d
from lib.models.separable import Summed

FORMS = ("gather", "ranks", "sum", "buckets", "dense")
GEOMETRY = ("kernel_size", "stride", "padding", "dilation", "padding_mode")


class Joined(nn.ModuleList):
    """What its modules make of one input, side by side."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self], 1)


class GeneralizedDepthwise(nn.Module):
    """Stands for a convolution: a gather of channels, g_c kernels for each, a 1x1 convolution.

    The released code has this form. `executed` makes another, `dense` what it equals.
    """

    counts: Tensor  # g, (C,)
    source: Tensor | None  # which channels of its input the convolution gathers itself

    def __init__(
        self, conv: nn.Conv2d, pointwise: Tensor, depthwise: Tensor, g: Sequence[int]
    ) -> None:
        """Take the convolution that it stands for, whose geometry and bias it shares, and factors.

        pointwise is (M, G), depthwise (G, kh, kw), ordered by channel; g sums to G. Where that is 0
        a kernel of zeros makes the one map that is needed.
        """
        super().__init__()
        if conv.groups != 1:
            raise UserError(
                f"A convolution of {conv.groups} groups has no GDWS form; leave it as it is."
            )
        if not sum(g):
            pointwise, g = pointwise.new_zeros(conv.out_channels, 1), [1, *g[1:]]
            depthwise = depthwise.new_zeros(1, *conv.kernel_size)
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.geometry: dict[str, Any] = {name: getattr(conv, name) for name in GEOMETRY}
        self.register_buffer("counts", torch.tensor(list(g), device=depthwise.device))
        self.register_buffer("source", getattr(conv, "index", None))
        self.depthwise = self._kernels(depthwise[:, None], torch.arange(sum(g)))
        self.pointwise = _conv(pointwise[:, :, None, None], conv.bias)
        self.train(conv.training)

    @property
    def g(self) -> list[int]:
        """Return how many kernels each channel has."""
        return self.counts.tolist()

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))

    def _channel(self) -> Tensor:
        """Return the channel that each kernel reads, (G,)."""
        return torch.arange(self.in_channels).repeat_interleave(self.counts.cpu())

    def _ranks(self) -> Iterator[Tensor]:
        """Yield the first kernels of all channels that have one, the second ones and so on."""
        g = self.counts.cpu()
        first = g.cumsum(0) - g
        return (first[g > rank] + rank for rank in range(int(g.max())))

    def _buckets(self) -> Iterator[tuple[Tensor, int]]:
        """Yield the kernels of all channels that have so many, and how many."""
        counts = self.counts.cpu()[self._channel()]
        return ((torch.nonzero(counts == n).flatten(), n) for n in sorted(set(self.g) - {0}))

    def _kernels(self, weight: Tensor, rows: Tensor, times: int = 1) -> nn.Conv2d:
        """Return the depthwise convolution by some kernels, so many for each of their channels.

        It gathers its channels, unless they are all there are, in order.
        """
        index = self._channel()[rows][::times]
        whole = self.source is None and torch.equal(index, torch.arange(self.in_channels))
        own = {"groups": len(index), "bias": False, "device": "meta", **self.geometry}
        conv = (nn.Conv2d if whole else GatheredConv2d)(len(index), len(rows), **own)
        conv.weight = nn.Parameter(weight.detach()[rows])
        if not whole:
            index = index.to(weight.device)
            conv.register_buffer("index", index if self.source is None else self.source[index])
        return conv

    @torch.no_grad()
    def executed(self, form: str) -> nn.Module:
        """Return a module of equal outputs, with weights of its own, in one of FORMS.

        gather: as this layer. ranks: a depthwise convolution for the first kernels of all channels,
        one for the second ones and so on, side by side, without a gather where all channels take
        part. sum: the same, each with its own 1x1 convolution. buckets: a grouped convolution for
        all channels of equal g, a single one without a gather where g is uniform.
        """
        if choose("form", form, FORMS) == "dense":
            return self.dense()
        if form == "gather":
            return copy.deepcopy(self)
        weight, point = self.depthwise.weight, self.pointwise.weight
        bias, ranks = self.pointwise.bias, list(self._ranks())
        if form == "sum":
            biases = [bias] + [None] * (len(ranks) - 1)
            return Summed(
                nn.Sequential(self._kernels(weight, rows), _conv(point[:, rows], b))
                for rows, b in zip(ranks, biases, strict=True)
            ).train(self.training)
        groups = [(rows, 1) for rows in ranks] if form == "ranks" else list(self._buckets())
        parts = [self._kernels(weight, rows, times) for rows, times in groups]
        order = torch.cat([rows for rows, _ in groups])
        joined = parts[0] if len(parts) == 1 else Joined(parts)
        return nn.Sequential(joined, _conv(point[:, order], bias)).train(self.training)

    @torch.no_grad()
    def dense(self) -> nn.Conv2d:
        """Return the convolution that this layer equals, in which attacks are fast."""
        point, bias, channel = self.pointwise.weight, self.pointwise.bias, self._channel()
        shape = (self.in_channels, self.out_channels, *self.geometry["kernel_size"])
        weight = point.new_zeros(shape)
        for rows in self._ranks():  # (g, M, 1, 1) times (g, 1, kh, kw)
            weight[channel[rows]] += point[:, rows].transpose(0, 1) * self.depthwise.weight[rows]
        conv = nn.Conv2d if self.source is None else GatheredConv2d
        made = conv(self.in_channels, self.out_channels, device="meta", **self.geometry)
        made.weight = nn.Parameter(weight.transpose(0, 1).contiguous())
        made.bias = None if bias is None else nn.Parameter(bias.clone())
        if self.source is not None:
            made.register_buffer("index", self.source)
        return made.train(self.training)


def _conv(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """Return the 1x1 convolution of a weight."""
    conv = nn.Conv2d(weight.shape[1], len(weight), 1, bias=bias is not None, device="meta")
    conv.weight = nn.Parameter(weight.detach().contiguous())
    conv.bias = None if bias is None else nn.Parameter(bias.detach().clone())
    return conv


def equivalents(model: nn.Module, form: str = "dense") -> nn.Module:
    """Return a copy of a converted network with every GDWS layer in one form, any other itself."""
    layers = converted(model)
    new = {name: layer.executed(form) for name, layer in layers.items()}
    return replaced(model, new) if new else model


def converted(model: nn.Module) -> dict[str, GeneralizedDepthwise]:
    """Return the GDWS layers of a network by name."""
    found = model.named_modules()
    return {name: layer for name, layer in found if isinstance(layer, GeneralizedDepthwise)}


def replaced(model: nn.Module, new: Mapping[str, nn.Module]) -> nn.Module:
    """Return a copy of a network with other layers under some names, wherever those are used.

    They lie channels_last if the convolutions of the network do.
    """
    weights = [layer.weight for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    last = torch.channels_last
    if any(w.is_contiguous(memory_format=last) and not w.is_contiguous() for w in weights):
        new = {name: layer.to(memory_format=last) for name, layer in new.items()}
    return copy.deepcopy(model, {id(model.get_submodule(name)): new[name] for name in new})
