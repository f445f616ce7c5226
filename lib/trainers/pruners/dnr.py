"""Dynamic network rewiring (DNR Algorithm 1): sparse momentum with a dynamic L2 regulariser."""

from typing import Any

import torch
from torch import Tensor

from lib.sparsity import Dnr
from lib.trainers.pruners.base import Batch, MomentumOf
from lib.trainers.pruners.momentum import SparseMomentum


class Rewiring(SparseMomentum):
    """The masks of a network under DNR, and z, what its weights were after the last rewiring.

    Masked weights and z are zero alike, so that no pruned weight is pulled.
    """

    part: Dnr
    epoch = 0  # epochs that are over

    def begin(self, batch: Batch | None = None) -> None:
        """Draw masks and take the duplicate of the masked weights."""
        super().begin(batch)
        self.renew()

    @torch.no_grad()
    def renew(self) -> None:
        """Set z to the masked weights of now."""
        self.z = [layer.weight.detach().clone() for layer in self.layers]

    def penalty(self) -> Tensor | float:
        """Return pull / 2 sum |theta m - z|^2, 0 in the clean epochs (DNR Eq. 4)."""
        if self.epoch < self.part.clean_epochs or self.part.pull == 0:
            return 0.0
        apart = [(layer.weight - z).square().sum() for layer, z in self._pairs()]
        return 0.5 * self.part.pull * torch.stack(apart).sum()

    def _pairs(self) -> Any:
        return zip(self.layers, self.z, strict=True)

    def after_epoch(self, epoch: int, momentum: MomentumOf) -> None:
        """Rewire, then take the duplicate anew."""
        super().after_epoch(epoch, momentum)
        self.epoch = epoch + 1
        self.renew()

    def state(self) -> dict[str, Any]:
        return {"z": self.z, "epoch": self.epoch}

    def restore(self, state: dict[str, Any]) -> None:
        self.z, self.epoch = list(state["z"]), state["epoch"]
