"""Which form of each GDWS layer is fastest on this device, and what a kernel costs there."""

import copy
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from lib.models.depthwise import FORMS, GeneralizedDepthwise, converted, replaced
from lib.models.gdws import Price, convertible
from lib.timing import interleaved

MARGIN = 1.05  # times as fast as dense a form, or a network, must be to take its place


@torch.no_grad()
def fastest(
    model: nn.Module,
    images: Tensor,
    original: nn.Module | None = None,
    rounds: int = 7,
    whole: Callable[[nn.Module], Any] = lambda model: model,
) -> nn.Module:
    """Return a copy of a converted network, every GDWS layer in its fastest form or dense.

    Each layer is measured by itself on what reaches it of the images (N, C, H, W), in evaluation
    mode and in the autocast that this is called in: batch, layout and precision are to be those it
    will be used with. Where none is faster by a MARGIN, the convolution is that of the original, if
    it is given. So is every layer's if the network is not as a whole, which is timed as `whole`
    makes it, as torch.compile.
    """
    layers, new, plain = converted(model), dict[str, nn.Module](), dict[str, nn.Module]()
    for name, x in _inputs(model, layers, images).items():
        seconds = _seconds(layers[name], x, rounds)
        best = str(seconds.idxmin())
        own = None if original is None else copy.deepcopy(original.get_submodule(name))
        plain[name] = own or layers[name].dense()
        wins = best != "dense" and seconds[best] * MARGIN < seconds["dense"]
        new[name] = layers[name].executed(best) if wins else plain[name]
    if new == plain:
        return replaced(model, plain)
    both = {"mixed": replaced(model, new), "dense": replaced(model, plain)}
    times = _least({name: whole(_still(made)) for name, made in both.items()}, images, rounds)
    return both["mixed" if times["mixed"] * MARGIN < times["dense"] else "dense"]


@torch.no_grad()
def measured_prices(
    model: nn.Module, images: Tensor, kernels: tuple[int, int] = (2, 4), rounds: int = 5
) -> dict[str, Price]:
    """Return what each convolution takes in seconds for the images, as `convert` takes prices.

    Measured as `fastest` does, with so many kernels a channel in the mean; a line through the two
    gives the price of a kernel and what a layer costs beside its kernels. Layers of equal shape
    are measured once.
    """
    layers, prices = convertible(model), {}
    known: dict[Any, Price] = {}
    for name, x in _inputs(model, layers, images).items():
        conv = layers[name]
        key = (x.shape, conv.extra_repr())
        if key not in known:
            known[key] = _price(conv, x, kernels, rounds)
        prices[name] = known[key]
    return prices


def _price(conv: nn.Conv2d, x: Tensor, kernels: Iterable[int], rounds: int) -> Price:
    """Return the price of a layer whose channels have one kernel less, as many or one more."""
    times, counts = [], []
    for each in kernels:
        g = [each + c % 3 - 1 for c in range(conv.in_channels)]
        factors = (
            conv.weight.new_zeros(conv.out_channels, sum(g)),
            conv.weight.new_zeros(sum(g), *conv.kernel_size),
        )
        seconds = _seconds(GeneralizedDepthwise(conv, *factors, g), x, rounds)
        times.append(float(seconds.drop("dense").min()))
        counts.append(sum(g))
    kernel = min(max(0.0, times[1] - times[0]) / (counts[1] - counts[0]), times[0] / counts[0])
    return Price(float(seconds["dense"]), times[0] - kernel * counts[0], kernel)


def _inputs(model: nn.Module, names: Iterable[str], images: Tensor) -> dict[str, Tensor]:
    """Return what reaches each of some layers when the network, in evaluation mode, sees images."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, layer: nn.Module, inputs: Any) -> None:
        seen[name] = inputs[0].clone()

    still = _still(model)
    hooks = [still.get_submodule(n).register_forward_pre_hook(partial(keep, n)) for n in names]
    still(images)
    for hook in hooks:
        hook.remove()
    return seen


def _still(model: nn.Module) -> nn.Module:
    """Return a network in evaluation mode, or a copy that is."""
    return copy.deepcopy(model).eval() if model.training else model


def _seconds(layer: GeneralizedDepthwise, x: Tensor, rounds: int) -> "pd.Series[float]":
    """Return the seconds of every form."""
    forms = {form: layer.executed(form) for form in FORMS}
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        forms = {form: made.to(memory_format=torch.channels_last) for form, made in forms.items()}
    return _least(forms, x, rounds)


def _least(modules: Mapping[str, nn.Module], x: Tensor, rounds: int) -> "pd.Series[float]":
    """Return the least seconds of all rounds: whatever else the machine does only adds to them."""
    calls = {name: partial(module, x) for name, module in modules.items()}
    return interleaved(calls, rounds).groupby("label")["seconds"].min()
