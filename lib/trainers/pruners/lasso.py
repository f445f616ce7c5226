"""The L1 lasso: small weights shrink while it trains and are pruned in the end."""

import torch
from torch import Tensor

from lib.sparsity import Lasso
from lib.trainers.pruners.base import Masks, MomentumOf


class L1(Masks):
    """Adds coefficient sum |w| over prunable weights; the last epoch prunes what is near zero."""

    part: Lasso

    def penalty(self) -> Tensor | float:
        """Return coefficient sum |w|."""
        sizes = [layer.weight.abs().sum() for layer in self.layers]
        return self.part.coefficient * torch.stack(sizes).sum()

    @torch.no_grad()
    def after_epoch(self, epoch: int, momentum: MomentumOf) -> None:
        """Prune after the last epoch what is below the threshold, relative to its layer."""
        if epoch + 1 == self.epochs:
            for layer in self.layers:
                size = layer.weight.abs()
                layer.mask.copy_((size > 0) & (size >= self.part.threshold * size.max()))
            self.after_step()
