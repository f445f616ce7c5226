"""What this processor's kernels get wrong: `python kernels.py layers|networks`.

A process of its own, since a wrong kernel may also end it. Prints a line for each result that is
not what float64 gives, and `checked N` at the end.
"""

import itertools
import sys
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lib import data
from lib.batch.status import known
from lib.models import Conditional
from lib.models.layers import Shortcut
from lib.runs import build

FORMATS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
INPUTS, OUTPUTS = (1, 2, 3, 4, 7, 8, 16), (1, 4, 8, 16)
LIMIT = {"layers": 1e-4, "networks": 1e-1}  # of the norm; ReLUs and batch norms magnify rounding
SIDE = 32  # pixels; larger images meet the same kernels

Case = tuple[str, nn.Module, Tensor]


def layers() -> Iterator[Case]:
    """Yield small convolutions of every kind that networks of the suite hold, with images."""
    for inputs, outputs, kernel, stride in itertools.product(INPUTS, OUTPUTS, (1, 3), (1, 2)):
        layer: nn.Module = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        if kernel == 1:
            layer = Shortcut(stride, nn.Conv2d(inputs, outputs, 1, bias=False))
        name = f"{kernel}x{kernel} {inputs}-{outputs} /{stride}"
        yield name, layer, torch.randn(16, inputs, 8, 8)
    for channels, stride in itertools.product(INPUTS, (1, 2)):
        layer = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
        yield f"depthwise {channels} /{stride}", layer, torch.randn(16, channels, 8, 8)


def networks() -> Iterator[Case]:
    """Yield the networks that presets train, with images; of those of equal shapes the first."""
    seen = set()
    for recipe in known().values():
        spec = data.spec(recipe.data.dataset)
        model, side = recipe.model, min(spec.size, SIDE)
        slims = recipe.method.widths
        name = f"{model.backbone}-{model.width} {slims} {spec.channels}x{side}x{side}"
        if name not in seen:
            seen.add(name)
            torch.manual_seed(0)
            images = torch.rand(8 if model.width else 2, spec.channels, side, side)
            network = build(recipe.override({"model.dropout": 0.0}))
            yield f"{recipe.method.kind} {name}", network, images


def results(layer: nn.Module, x: Tensor, noise: Tensor | None) -> dict[str, Tensor]:
    """Return the output and the gradients of images and weights, for one goal for all.

    Of vectors none: the gradient of a noise scale is a sum in which almost everything cancels.
    """
    x.requires_grad_()
    out = layer(x, 1.0, noise=noise) if isinstance(layer, Conditional) else layer(x)
    goal = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    names, used = zip(*((n, p) for n, p in layer.named_parameters() if p.dim() > 1), strict=True)
    found = torch.autograd.grad(out, (x, *used), goal.to(out), allow_unused=True)
    got = dict(zip(("output", "images", *names), (out.detach(), *found), strict=True))
    return {name: value.double() for name, value in got.items() if value is not None}


def differing(case: Case, limit: float) -> Iterator[str]:
    """Yield what differs from float64 by more than limit of its norm: formats, threads."""
    name, layer, x = case
    noise = layer.draw_noise() if isinstance(layer, Conditional) else None
    exact = results(layer.double(), x.double(), None if noise is None else noise.double())
    least = 1e-6 + 1e-5 * max(float(value.norm()) for value in exact.values())  # others cancel
    layer.float()
    for threads, (title, form) in itertools.product((1, 2), FORMATS.items()):
        torch.set_num_threads(threads)
        found = results(layer.to(memory_format=form), x.contiguous(memory_format=form), noise)
        for part, value in found.items():
            error, scale = (value - exact[part]).norm(), exact[part].norm()
            if not error <= limit * scale + least:
                where = f"{name}, {title}, {threads} threads"
                yield f"{where}: {part} is off by {error / scale:.1e} of its norm"


def main(what: str) -> None:
    """Print what differs."""
    torch.manual_seed(0)
    count = 0
    for case in {"layers": layers, "networks": networks}[what]():
        count += 1
        wrong = list(differing(case, LIMIT[what]))
        if wrong:  # an activation at 0 may fall to either side; a wrong kernel is so on all images
            name, layer, x = case
            wrong = list(differing((name, layer, 0.9 * x.detach().flip(0, 2)), LIMIT[what]))
        for line in wrong:
            print(line, flush=True)
    print(f"checked {count}")


if __name__ == "__main__":
    main(sys.argv[1])
