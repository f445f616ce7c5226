"""ADMM of whole channels that can be taken out: those inside of blocks (GDWS, section 4.2)."""

from typing import Any

import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.sparsity import AdmmInner
from lib.trainers.pruners.admm import AdmmStage
from lib.trainers.pruners.base import Batch
from lib.trainers.pruners.hydra import Everywhere
from lib.trainers.pruners.units import Channels


class Columns(Channels):
    """The channels that a linear layer reads, each with the columns of all its pixels."""

    def __init__(self, layer: nn.Linear, total: int) -> None:
        self.layer, self.total = layer, total
        self.size = layer.weight.numel() // total

    def mask(self, kept: Tensor) -> Tensor:
        pixels = self.layer.in_features // self.total
        return kept.repeat_interleave(pixels).expand_as(self.layer.weight)

    def importance(self, values: Tensor) -> Tensor:
        return values.square().unflatten(1, (self.total, -1)).sum((0, 2))


class InnerStage(Everywhere, AdmmStage):
    """The ADMM stage for layers whose input one convolution of their block, or before them, makes.

    `lib.models.compact` takes their dead channels out, with the filters that make them. All other
    layers stay whole and are not drawn anywhere. Linear layers stay pruned by `FixedAll` alone.
    """

    part: AdmmInner

    def __init__(self, model: nn.Module, *how: Any) -> None:
        super().__init__(model, *how)
        blocks = [(block, getattr(block, "LINKS", ())) for block in model.modules()]
        links = [map(block.get_submodule, link) for block, found in blocks for link in found]
        read: dict[Any, Any] = {reader: maker for maker, _, reader in links}
        self.every, self.layers = self.layers, [one for one in self.layers if one in read]
        if not self.layers:
            raise UserError("This network has no channels inside of blocks; use sparsity 'admm'.")
        self.units = [
            Columns(one, read[one].out_channels) if isinstance(one, nn.Linear) else Channels(one)
            for one in self.layers
        ]

    @torch.no_grad()
    def begin(self, batch: Batch | None = None) -> None:
        super().begin(batch)
        self.counts = [
            max(unit.least, round(self.part.density * unit.total)) for unit in self.units
        ]
        self.z = self.projected([layer.weight for layer in self.layers])

    def count(self) -> int:
        return sum(int(layer.mask.sum()) for layer in self.every)
