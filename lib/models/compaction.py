"""What channel pruning saves on ordinary hardware: networks without their dead channels."""

from __future__ import annotations

import copy
from typing import TypeGuard

import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.models.conditional import Conditional
from lib.models.conditional_layers import BatchNorm2d, Conv2d, Linear
from lib.models.resnet import BasicBlock, Bottleneck
from lib.models.wide_resnet import PreActBlock

# In each block: a convolution, its batch norm and the one convolution that reads the two.
# The last comes first, since a convolution with fewer filters may leave inputs of its own unused.
LINKS: dict[type[nn.Module], tuple[tuple[str, str, str], ...]] = {
    BasicBlock: (("conv1", "bn1", "conv2"),),
    Bottleneck: (("conv2", "bn2", "conv3"), ("conv1", "bn1", "conv2")),
    PreActBlock: (("conv1", "bn2", "conv2"),),
}


class GatheredConv2d(nn.Conv2d):
    """A convolution of those channels of its input that `index`, (in_channels,), names."""

    index: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.index_select(1, self.index))


def channels(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Return how many input channels of each convolution are live, and how many there are.

    A channel is live if the masks of any path leave a weight of it; without masks, if any of its
    weights is not zero.
    """
    return {
        name: (int(live(layer).sum()), layer.in_channels)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d)
    }


def live(conv: nn.Conv2d) -> Tensor:
    """Return which input channels a convolution makes use of, boolean (in_channels,)."""
    groups = standing(conv).unflatten(0, (conv.groups, -1))
    return groups.any(dim=1).any(dim=-1).any(dim=-1).flatten()


def standing(conv: nn.Conv2d) -> Tensor:
    """Return which weights the masks of any path leave, without masks those that are not zero."""
    masks = [getattr(conv, name, None) for name in ("mask", "mask_clean", "mask_adv")]
    if all(mask is None for mask in masks):
        return conv.weight != 0
    every = torch.ones_like(conv.weight, dtype=torch.bool)
    kept, clean, adv = (every if mask is None else mask for mask in masks)
    return kept & (clean | adv)


@torch.no_grad()
def compact(model: nn.Module) -> nn.Module:
    """Return a network of equal outputs without the input channels whose weights are all zero.

    model is plain, as `freeze` returns it, and stays as it is. Inside a block the filters that
    make dead channels go too, with their entries of the batch norm; elsewhere, as on the residual
    stream, the convolution gathers its live channels. Every layer keeps at least one.
    """
    own = (Conditional, Conv2d, Linear, BatchNorm2d)
    if any(isinstance(layer, own) for layer in model.modules()):
        raise UserError("compact takes a plain network; give it what freeze(model, lam) returns.")
    narrow = copy.deepcopy(model)
    for block in narrow.modules():
        for names in LINKS.get(type(block), ()):
            producer, norm, consumer = (block.get_submodule(name) for name in names)
            if is_full(producer) and isinstance(norm, nn.BatchNorm2d) and is_full(consumer):
                cut_link(producer, norm, consumer)
    for layer in narrow.modules():
        if is_full(layer):
            gather(layer)
    return narrow


def is_full(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a layer is a convolution of which every filter reads every channel."""
    return isinstance(layer, nn.Conv2d) and layer.groups == 1


def kept_inputs(conv: nn.Conv2d) -> Tensor:
    """Return the indices of the live input channels, the first where none is live."""
    kept = live(conv)
    kept[0] |= not kept.any()
    return kept.nonzero().flatten()


def cut_link(producer: nn.Conv2d, norm: nn.BatchNorm2d, consumer: nn.Conv2d) -> None:
    """Take the channels out of a link that its consumer does not use."""
    index = kept_inputs(consumer)
    select(producer, ("weight", "bias"), index)
    select(norm, ("weight", "bias", "running_mean", "running_var"), index)
    select(consumer, ("weight",), index, dim=1)
    producer.out_channels = norm.num_features = consumer.in_channels = len(index)


def gather(conv: nn.Conv2d) -> None:
    """Make a convolution with dead input channels a GatheredConv2d without them."""
    index = kept_inputs(conv)
    if len(index) == conv.in_channels:
        return
    select(conv, ("weight",), index, dim=1)
    conv.in_channels = len(index)
    if isinstance(conv, GatheredConv2d):
        index = conv.index[index]
    conv.__class__ = GatheredConv2d
    conv.register_buffer("index", index)


def select(layer: nn.Module, names: tuple[str, ...], index: Tensor, dim: int = 0) -> None:
    """Keep the entries at index, along dim, of the parameters and buffers of these names."""
    for name in names:
        value = getattr(layer, name)
        if value is None:
            continue
        chosen = value.index_select(dim, index)
        if isinstance(value, nn.Parameter):
            chosen = nn.Parameter(chosen, requires_grad=value.requires_grad)
        setattr(layer, name, chosen)
