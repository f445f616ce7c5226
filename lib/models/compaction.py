"""What channel pruning saves on ordinary hardware: networks without their dead channels."""

import copy
from typing import TypeGuard

import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.models.conditional import Conditional
from lib.models.conditional_layers import BatchNorm2d, Noisy


class GatheredConv2d(nn.Conv2d):
    """A convolution of those channels of its input that `index`, (in_channels,), names."""

    index: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.index_select(1, self.index))


def channels(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Return how many input channels of each convolution are live, and how many there are.

    A channel is live if masks of any path leave a weight of it; without masks, if one is not 0.
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
    make dead channels go too, with their entries of the batch norm, as do those that only a linear
    layer would read; elsewhere, as on the residual stream, the convolution gathers its live
    channels. Every layer keeps at least one.
    """
    if any(isinstance(layer, Conditional | Noisy | BatchNorm2d) for layer in model.modules()):
        raise UserError("compact takes a plain network; give it what freeze(model, lam) returns.")
    narrow = copy.deepcopy(model)
    for block in narrow.modules():
        for names in getattr(block, "LINKS", ()):
            producer, norm, consumer = (block.get_submodule(name) for name in names)
            if (
                is_full(producer)
                and isinstance(norm, nn.BatchNorm2d)
                and (is_full(consumer) or isinstance(consumer, nn.Linear))
            ):
                cut_link(producer, norm, consumer)
    for layer in narrow.modules():
        if is_full(layer):
            gather(layer)
    return narrow


def is_full(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a layer is a convolution of which every filter reads every channel."""
    return isinstance(layer, nn.Conv2d) and layer.groups == 1


def cut_inputs(conv: nn.Conv2d) -> Tensor:
    """Take out the dead input channels, at most all but the first; return the indices kept."""
    kept = live(conv)
    kept[0] |= not kept.any()
    index = kept.nonzero().flatten()
    if len(index) < conv.in_channels:
        conv.weight.data = conv.weight.index_select(1, index)
        conv.in_channels = len(index)
    return index


def cut_columns(linear: nn.Linear, channels: int) -> Tensor:
    """Take out the columns of channels with no other weight than 0; return the channels kept."""
    columns = linear.weight.unflatten(1, (channels, -1))  # each of so many pixels
    kept = columns.any(dim=0).any(dim=-1)
    kept[0] |= not kept.any()
    index = kept.nonzero().flatten()
    for value in (linear.weight, getattr(linear, "mask", None)):  # a pruner's, not yet stored
        if value is not None:
            value.data = value.unflatten(1, (channels, -1)).index_select(1, index).flatten(1)
    linear.in_features = linear.weight.shape[1]
    return index


def cut_link(producer: nn.Conv2d, norm: nn.BatchNorm2d, consumer: nn.Conv2d | nn.Linear) -> None:
    """Take the channels out of a link that its consumer does not use."""
    if isinstance(consumer, nn.Linear):
        index = cut_columns(consumer, producer.out_channels)
    else:
        index = cut_inputs(consumer)
    for value in (producer.weight, producer.bias, *norm.parameters(), *norm.buffers()):
        if value is not None and value.dim():  # num_batches_tracked is no vector
            value.data = value.index_select(0, index)
    producer.out_channels = norm.num_features = len(index)


def gather(conv: nn.Conv2d) -> None:
    """Make a convolution with dead input channels a GatheredConv2d without them."""
    before = getattr(conv, "index", torch.arange(conv.in_channels, device=conv.weight.device))
    index = cut_inputs(conv)
    if len(index) < len(before):
        conv.__class__ = GatheredConv2d
        conv.register_buffer("index", before[index])
