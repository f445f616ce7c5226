"""A converted network from its tensors alone: without what it was made of, or what was computed."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lib.models.compaction import GatheredConv2d
from lib.models.depthwise import GeneralizedDepthwise, replaced

BUFFERS = ("index", "gain")  # that conversions give to a convolution


def shaped(plain: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return a plain network with the layers and shapes of tensors, which `load_state_dict` takes.

    plain is changed. Layers get as many channels as their tensors have, and convolutions the
    buffers, or they become GDWS layers where there are kernels.
    """
    own: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        parts = key.split(".")
        for end in range(1, len(parts)):
            own.setdefault(".".join(parts[:end]), {})[".".join(parts[end:])] = value
    new: dict[str, nn.Module] = {}
    for name, layer in plain.named_modules():
        found = own.get(name, {})
        if isinstance(layer, nn.Conv2d) and "counts" in found:
            new[name] = _generalized(layer, found)
        elif isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            _resize(layer, found)
    return replaced(plain, new) if new else plain


def _resize(layer: nn.Conv2d | nn.BatchNorm2d | nn.Linear, tensors: Mapping[str, Tensor]) -> None:
    for name, value in [*layer.named_parameters(), *layer.named_buffers()]:
        if tensors[name].shape != value.shape:
            value.data = torch.empty_like(tensors[name])
    if isinstance(layer, nn.BatchNorm2d):
        layer.num_features = len(layer.weight)
        return
    if isinstance(layer, nn.Linear):
        layer.in_features = layer.weight.shape[1]
        return
    layer.out_channels, layer.in_channels = len(layer.weight), layer.weight.shape[1] * layer.groups
    for name in BUFFERS:
        if name in tensors:
            layer.register_buffer(name, torch.empty_like(tensors[name]))
    if "index" in tensors:
        layer.__class__ = GatheredConv2d


def _generalized(conv: nn.Conv2d, tensors: Mapping[str, Tensor]) -> GeneralizedDepthwise:
    pointwise, bias = tensors["pointwise.weight"], tensors.get("pointwise.bias")
    conv.in_channels, conv.out_channels = len(tensors["counts"]), len(pointwise)
    conv.bias = None if bias is None else nn.Parameter(bias)
    if "source" in tensors:
        conv.register_buffer("index", tensors["source"])
    factors = pointwise[:, :, 0, 0], tensors["depthwise.weight"][:, 0]
    return GeneralizedDepthwise(conv, *factors, tensors["counts"].tolist())
