"""What errors in weights do to decisions: the weights of the error that GDWS bounds (Eq. 8)."""

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.compaction import GatheredConv2d
from lib.progress import Report


class _Gains:
    """Sums the squared gradient |dY X^T|^2 of each image by rows of X, by the cheaper way."""

    def __init__(self, layer: nn.Conv2d, uses: list[tuple[Tensor, Tensor]], classes: int) -> None:
        """Take what went into a layer in each of its uses, and the number of dY to come."""
        self.patches = torch.cat([patches(layer, x) for x, _ in uses], 2)  # (N, C kh kw, P)
        images, rows, pixels = self.patches.shape
        heights = classes * layer.out_channels
        self.gram = pixels * (heights + rows) < heights * rows  # |dY x|^2 = x^T (dY^T dY) x
        self.sums = self.patches.new_zeros(images, pixels if self.gram else 1, pixels)
        if not self.gram:
            self.sums = self.patches.new_zeros(images, rows)

    def add(self, gradient: Tensor) -> None:
        """Take dY, (N, M, P)."""
        if self.gram:
            self.sums += gradient.mT @ gradient
        else:
            self.sums += (gradient @ self.patches.mT).square().sum(1)

    def total(self, channels: int) -> Tensor:
        """Return the sums over images and the positions of a kernel, (C,)."""
        rows = ((self.patches @ self.sums) * self.patches).sum(2) if self.gram else self.sums
        return rows.double().sum(0).view(channels, -1).sum(1).clamp(min=0).cpu()


def patches(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return what each weight of a convolution meets, (N, C kh kw, pixels of its output)."""
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    x = F.pad(x, conv._reversed_padding_repeated_twice, mode=mode)
    return F.unfold(x, conv.kernel_size, dilation=conv.dilation, stride=conv.stride)


def error_weights(
    model: nn.Module, images: Tensor, batch: int = 8, report: Report = lambda done: None
) -> dict[str, Tensor]:
    """GDWS Eq. 8: how much an error in the weights of each input channel can flip decisions.

    The mean over images, in evaluation mode, of sum_j |d(z_j - z_n) / dW_c|^2 / (2 (z_j - z_n)^2),
    where n is the class that the network predicts, over the number of weights in W_c. Returns alpha
    (C,) in float64 for every convolution but grouped ones; a channel that no image needs has 0. A
    logit equal to the largest counts nothing.
    """
    still = copy.deepcopy(model).eval()
    convs = {
        name: layer
        for name, layer in still.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.groups == 1
    }
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, layer in convs.items():
        layer.register_forward_hook(_probing(name, seen))
    sums = {name: torch.zeros(layer.in_channels).double() for name, layer in convs.items()}
    for start in range(0, len(images), batch):
        seen.clear()
        with torch.enable_grad():
            logits = still(images[start : start + batch])
        label, classes = logits.argmax(1, keepdim=True), logits.shape[1]
        gains = {name: _Gains(convs[name], uses, classes - 1) for name, uses in seen.items()}
        probes = [probe for uses in seen.values() for _, probe in uses]
        for step in range(1, classes):
            with torch.enable_grad():
                delta = logits.gather(1, (label + step) % classes) - logits.gather(1, label)
                margin = delta.detach() * math.sqrt(2)
                total = (delta / margin.where(margin != 0, math.inf)).sum()
            gradients = iter(torch.autograd.grad(total, probes, retain_graph=True))
            for name, uses in seen.items():
                gains[name].add(torch.cat([next(gradients).flatten(2) for _ in uses], 2))
        for name, gain in gains.items():
            sums[name] += gain.total(convs[name].in_channels)
        report(min(1.0, (start + batch) / len(images)))
    sizes = {name: layer.weight[:, 0].numel() * len(images) for name, layer in convs.items()}
    return {name: total / sizes[name] for name, total in sums.items()}


def _probing(name: str, seen: dict[str, list[tuple[Tensor, Tensor]]]) -> Any:
    """Return a hook that keeps what enters a layer, and a zero added to what leaves it."""

    def hook(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        x, probe = inputs[0].detach(), torch.zeros_like(output, requires_grad=True)
        if isinstance(layer, GatheredConv2d):
            x = x.index_select(1, layer.index)
        seen.setdefault(name, []).append((x.clone(), probe))
        return output + probe

    return hook
