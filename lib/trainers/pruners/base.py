"""What the training loop asks of everything that prunes while it trains."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.sparsity import Sparsity

Batch = tuple[Tensor, Tensor]  # images (B, C, H, W) in [0, 1] and labels (B,)
MomentumOf = Callable[[Tensor], Tensor]  # the optimiser's own momentum of a parameter


class Pruner:
    """Prunes nothing: the base of all others, which override what they need.

    The loop makes it for a network before the optimiser, calls `begin` once, adds `penalty` to the
    loss of every step, and calls `after_step` and `after_epoch` when their names say. Buffers and
    parameters of the network are saved with it; `state` holds whatever else is needed to go on.
    """

    def __init__(
        self, model: nn.Module, part: Sparsity | None = None, epochs: int = 1, seed: int = 0
    ) -> None:
        self.model, self.part, self.epochs, self.seed = model, part, max(1, epochs), seed

    def begin(self, batch: Batch | None = None) -> None:
        """Make the network ready, by masks or scores, before the first step."""

    def penalty(self) -> Tensor | float:
        """Return what is added to the objective of a step, a scalar with gradients."""
        return 0.0

    def after_step(self) -> None:
        """Follow a step of the optimiser."""

    def after_epoch(self, epoch: int, momentum: MomentumOf) -> None:
        """Follow an epoch, counted from 0."""

    def row(self) -> dict[str, Any]:
        """Return what the epoch's row of the history holds besides loss and learning rate."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs, in plain containers and tensors."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state` returned; the network has been restored before."""


class Masks(Pruner):
    """The pruning masks of a network, which hold the weights outside of them at zero.

    Every prunable convolution carries its boolean `mask` as a buffer, which is saved with it.
    """

    def __init__(self, model: nn.Module, *how: Any) -> None:
        super().__init__(model, *how)
        masked = (m for m in model.modules() if getattr(m, "mask", None) is not None)
        self.layers: list[Any] = list(masked)
        if not self.layers:
            raise UserError("This network has no prunable layer; create it with prunable=True.")

    @torch.no_grad()
    def after_step(self) -> None:
        """Set inactive weights to zero."""
        for layer in self.layers:
            layer.weight.mul_(layer.mask)

    def count(self) -> int:
        """Return the number of active weights over all layers."""
        return sum(int(layer.mask.sum()) for layer in self.layers)

    def row(self) -> dict[str, Any]:
        """Return the number of active weights."""
        return {"active_weights": self.count()}
