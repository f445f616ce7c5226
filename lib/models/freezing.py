"""One network at one lambda: as a function of images, as weights, as a plain network."""

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.models.conditional import Conditional
from lib.models.conditional_layers import BatchNorm2d, Conv2d, Noisy


def classifier(
    model: nn.Module, lam: float | Tensor, *, slim: float = 1.0, **options: Any
) -> Callable[[Tensor], Tensor]:
    """Images to logits at lam and slim; a plain network has no lam and is returned as it is."""
    if not isinstance(model, Conditional):
        check_plain(slim)
        return model
    return functools.partial(model, lam=lam, slim=slim, **options)


def check_plain(slim: float) -> None:
    """Refuse a slim factor for a plain network, which would be ignored."""
    if slim != 1:
        raise UserError(f"slim is {slim:g} but a plain network has one width; leave it at 1.")


@contextmanager
def called(
    model: nn.Module, lam: float | Tensor | None, slim: float, **call: Any
) -> Iterator[None]:
    """Put the layers of a network in the condition of a call; noise and threshold as there."""
    if not isinstance(model, Conditional):
        check_plain(slim)
        yield
        return
    try:
        model.set_condition(lam, slim=slim, **call)
        yield
    finally:
        model.condition.clear()


@torch.no_grad()
def effective_weights(
    model: nn.Module, lam: float | None = None, *, slim: float = 1.0, **call: Any
) -> dict[str, Tensor]:
    """Convolution and linear weights as used at lam and slim, by names in the state dict.

    call may hold noise and threshold, as a call of the model.
    """
    with called(model, lam, slim, **call):
        return {
            f"{name}.weight": (
                layer.effective_weight() if isinstance(layer, Noisy) else layer.weight
            ).clone()
            for name, layer in model.named_modules()
            if isinstance(layer, nn.Conv2d) or (isinstance(layer, nn.Linear) and "film" not in name)
        }


@torch.no_grad()
def freeze(
    model: nn.Module, lam: float | None = None, *, slim: float = 1.0, **call: Any
) -> nn.Module:
    """Return a network of torch's own layers that equals model at lam in eval mode.

    Weights are baked with their masks and one draw of noise (a fresh one where call has none);
    the path's batch norm is kept, with FiLM's scale and shift folded into it. slim < 1 exports
    that sub-network, as the plain backbone of its width. call may hold noise and threshold.
    """
    plain = copy.deepcopy(model)
    with called(plain, lam, slim, **call):
        bake(plain)
    if isinstance(plain, Conditional):
        for name in plain.OWN:
            delattr(plain, name)
        plain.__class__ = type(plain).__mro__[2]  # the backbone: (mixed, Conditional, backbone)
    return plain


def bake(module: nn.Module) -> None:
    """Put a torch layer in the place of every conditional one below the module."""
    for name, layer in list(module.named_children()):
        if isinstance(layer, Noisy):
            setattr(module, name, plain_weighted(layer))
        elif isinstance(layer, BatchNorm2d):
            setattr(module, name, plain_norm(layer))
        else:
            bake(layer)


def plain_weighted(layer: Noisy) -> nn.Module:
    """The torch layer with the effective weight; no random number is drawn for it."""
    weight, bias = layer.effective_weight(), layer.bias
    outputs, inputs = weight.shape[:2]
    plain: nn.Conv2d | nn.Linear
    if isinstance(layer, Conv2d):
        names = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
        geometry: dict[str, Any] = {name: getattr(layer, name) for name in names}
        inputs *= layer.groups
        plain = nn.Conv2d(inputs, outputs, bias=bias is not None, device="meta", **geometry)
    else:
        plain = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    plain.weight = nn.Parameter(weight.clone())
    plain.bias = None if bias is None else nn.Parameter(bias[:outputs].clone())
    return plain.train(layer.training)


def plain_norm(layer: BatchNorm2d) -> nn.BatchNorm2d:
    """The batch norm of the path and width set now, with FiLM's scale and shift in its own."""
    source, code = layer.active(), layer.condition.code
    plain = nn.BatchNorm2d(source.num_features, source.eps, source.momentum).to(source.weight)
    plain.load_state_dict(source.state_dict(), strict=False)  # which may hold other branches
    if layer.film is not None and code is not None:
        scale, shift = layer.film.affine(code)
        plain.bias.copy_(plain.bias * scale[0] + shift[0])
        plain.weight.mul_(scale[0])
    return plain.train(layer.training)
