"""Fine-tuning of a pruned network: what an earlier training has pruned stays zero."""

import torch

from lib.trainers.pruners.base import Batch, Masks


class Fixed(Masks):
    """Keeps the masks that the network comes with.

    A layer whose mask has no zero takes its non-zero weights for its mask.
    """

    @torch.no_grad()
    def begin(self, batch: Batch | None = None) -> None:
        """Close the masks over the weights that are zero already."""
        for layer in self.layers:
            if layer.mask.all():
                layer.mask.copy_(layer.weight != 0)
        self.after_step()
