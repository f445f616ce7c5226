"""SNIP (Lee et al. 2019): pruning by connection sensitivity, once, before the first step."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.models.masks import largest
from lib.sparsity import Snip
from lib.trainers.pruners.base import Batch, Masks


def sensitivities(model: nn.Module, layers: list[str], batch: Batch) -> list[Tensor]:
    """Return |dL/dm| at m = 1 of a mask m on the weights of layers: |w dL/dw|, in their shapes.

    L is the cross-entropy in training mode on images (B, C, H, W) and labels (B,). All else stays.
    """
    twin = copy.deepcopy(model).train()
    weights: list[Any] = [twin.get_submodule(name).weight for name in layers]
    images, labels = batch
    gradients = torch.autograd.grad(F.cross_entropy(twin(images), labels), weights)
    return [(w * g).detach().abs() for w, g in zip(weights, gradients, strict=True)]


class Sensitivity(Masks):
    """Masks that keep the most sensitive weights of the whole network, and never change."""

    part: Snip

    def begin(self, batch: Batch | None = None) -> None:
        """Score all weights on a batch and keep the largest; without one it keeps all of them."""
        if batch is None:
            return
        names = [name for name, layer in self.model.named_modules() if layer in self.layers]
        place = batch[0].device
        with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
            torch.manual_seed(self.seed)  # for dropout and weight noise
            scores = sensitivities(self.model, names, batch)
        flat = torch.cat([score.flatten() for score in scores])
        kept = largest(flat, max(1, round(self.part.density * len(flat))))
        for layer, part in zip(self.layers, kept.split([s.numel() for s in scores]), strict=True):
            layer.mask.copy_(part.view_as(layer.mask))
        self.after_step()
