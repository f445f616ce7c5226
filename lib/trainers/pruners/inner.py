"""ADMM of whole channels that can be taken out: those inside of blocks (GDWS, section 4.2)."""

from typing import Any

import torch
from torch import nn

from lib.errors import UserError
from lib.sparsity import AdmmInner
from lib.trainers.pruners.admm import AdmmStage
from lib.trainers.pruners.base import Batch
from lib.trainers.pruners.units import Channels


class InnerStage(AdmmStage):
    """The ADMM stage for convolutions whose input one other layer of their block makes.

    `lib.models.compact` takes their dead channels out, with the filters that make them. All other
    layers stay whole and are not drawn anywhere.
    """

    part: AdmmInner

    def __init__(self, model: nn.Module, *how: Any) -> None:
        super().__init__(model, *how)
        blocks = [(block, getattr(block, "LINKS", ())) for block in model.modules()]
        readers = [block.get_submodule(names[2]) for block, links in blocks for names in links]
        self.every, self.layers = self.layers, [one for one in self.layers if one in readers]
        if not self.layers:
            raise UserError("This network has no channels inside of blocks; use sparsity 'admm'.")
        self.units = [Channels(layer) for layer in self.layers]

    @torch.no_grad()
    def begin(self, batch: Batch | None = None) -> None:
        """Keep the same share of the channels of every layer."""
        super().begin(batch)
        self.counts = [
            max(unit.least, round(self.part.density * unit.total)) for unit in self.units
        ]
        self.z = self.projected([layer.weight for layer in self.layers])

    def count(self) -> int:
        """Return the number of active weights over all convolutions."""
        return sum(int(layer.mask.sum()) for layer in self.every)
