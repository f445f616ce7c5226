"""HYDRA (Sehwag et al. 2020): which weights stay is trained, by a score for each of them.

The second of its three stages: the first trains the network, the third the weights that this one
leaves. As there, linear layers are pruned, too; no mask in the network's state says so, but zeros.
"""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lib.models.masks import largest
from lib.sparsity import Hydra
from lib.trainers.pruners.base import Batch, Masks
from lib.trainers.pruners.fixed import Fixed


class Everywhere(Masks):
    """Masks of convolutions and linear layers; those of linear layers are not saved with them."""

    def __init__(self, model: nn.Module, *how: Any) -> None:
        super().__init__(model, *how)
        for layer in model.modules():
            if isinstance(layer, nn.Linear) and layer not in self.layers:
                mask = torch.ones_like(layer.weight, dtype=torch.bool)
                layer.register_buffer("mask", mask, persistent=False)
                self.layers.append(layer)


class FixedEverywhere(Everywhere, Fixed):
    """Keeps what an earlier training has pruned, of linear layers, too."""


def kept(density: float, weights: int) -> int:
    """Return how many weights of a layer stay, as the released code counts."""
    return weights - int((1 - density) * weights)


class Scores(Everywhere):
    """Trains scores s and computes with W 1[|s| among the largest of the layer]; W stands still.

    Between two steps the parameters of the network hold these products, which attacks, validation
    and the saved network see. When the gradient G of one has come it is turned into that of the
    scores, G W sign(s), straight through the choice, and the scores take the place of the products
    until the optimiser, with rate, momentum and decay, has made its step. Biases of these layers
    stand still, too, batch norms are trained.
    """

    part: Hydra

    @torch.no_grad()
    def begin(self, batch: Batch | None = None) -> None:
        """Take the weights as they are, and scores in proportion to them."""
        self.weights = [layer.weight.detach().clone() for layer in self.layers]
        self.scores = [scaled(weight) for weight in self.weights]
        for i, layer in enumerate(self.layers):
            layer.weight.register_post_accumulate_grad_hook(partial(self._to_score, i))
            if layer.bias is not None:
                layer.bias.requires_grad_(False)
        self._choose()

    @torch.no_grad()
    def _to_score(self, i: int, parameter: Tensor) -> None:
        assert parameter.grad is not None
        parameter.grad.mul_(self.weights[i]).mul_(self.scores[i].sign())
        parameter.copy_(self.scores[i])

    @torch.no_grad()
    def after_step(self) -> None:
        """Take the scores out of the parameters, which they are in since the gradient came."""
        for layer, score in zip(self.layers, self.scores, strict=True):
            score.copy_(layer.weight)
        self._choose()

    def _choose(self) -> None:
        for layer, weight, score in zip(self.layers, self.weights, self.scores, strict=True):
            layer.mask.copy_(largest(score.abs(), kept(self.part.density, score.numel())))
            layer.weight.copy_(weight * layer.mask)

    def state(self) -> dict[str, Any]:
        return {"weights": self.weights, "scores": self.scores}

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        self.weights, self.scores = ([t.clone() for t in state[n]] for n in ("weights", "scores"))
        self._choose()


class StillScores(Scores):
    """Trains scores and nothing else, for networks of which HYDRA takes whole filters.

    These give constants, at which each batch norm multiplies gradients by its scale over the root
    of epsilon, 316. Those of its scale and shift, due to be zero, are then what rounding leaves.
    """

    def begin(self, batch: Batch | None = None) -> None:
        super().begin(batch)
        for norm in self.model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.requires_grad_(False)


def scaled(weight: Tensor) -> Tensor:
    """Return the scores that a training begins with, sqrt(6 / fan_in) W / max |W|."""
    largest_weight = weight.abs().max().clamp_min(torch.finfo(weight.dtype).tiny)
    return math.sqrt(6 / weight[0].numel()) * weight / largest_weight
