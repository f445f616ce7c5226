"""Fine-tuning of what GDWS left: every input channel of a convolution keeps its kernels."""

from typing import Any

import torch
from torch import Tensor

from lib.models.gdws import spectrum
from lib.trainers.pruners.base import Batch, Masks


class FixedRanks(Masks):
    """Holds W_c, the weights (M, kh kw) that read channel c, at the rank g_c that they begin with.

    After every step they become the nearest matrix of that rank, which the g_c largest singular
    values make. So it trains as fast as a dense network, and exact GDWS then gives it g_c kernels.
    """

    ranks: list[Tensor]  # of each layer (C,)

    def begin(self, batch: Batch | None = None) -> None:
        """Count the kernels that each channel has."""
        self.ranks = [(spectrum(layer.weight).values > 0).sum(1) for layer in self.layers]

    @torch.no_grad()
    def after_step(self) -> None:
        """Take from each channel what is beyond its rank."""
        for layer, ranks in zip(self.layers, self.ranks, strict=True):
            matrices = layer.weight.flatten(2).transpose(0, 1).double()  # (C, M, K)
            size = matrices.shape[2]
            if int(ranks.min()) < min(matrices.shape[1:]):
                _, kernels = torch.linalg.eigh(matrices.transpose(1, 2) @ matrices)  # rising
                last = torch.arange(size, 0, -1) <= ranks[:, None]
                kernels = kernels * last[:, None].to(kernels)
                nearest = matrices @ kernels @ kernels.transpose(1, 2)
                layer.weight.copy_(nearest.transpose(0, 1).view_as(layer.weight))

    def state(self) -> dict[str, Any]:
        return {"ranks": self.ranks}

    def restore(self, state: dict[str, Any]) -> None:
        self.ranks = [ranks.cpu() for ranks in state["ranks"]]  # wherever it was loaded to
