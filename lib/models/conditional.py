"""Networks whose function depends on the trade-off lambda (PNI, OAT, FLOAT, SMART).

All conditional layers of a network share one Condition. The outermost forward sets it on every
call and clears it afterwards, so nothing of one call is left for the next.
"""

from typing import Any

import torch
from torch import Generator, Tensor, nn

from lib.errors import UserError, check_range
from lib.method import Method
from lib.models.conditional_layers import Condition, Noisy, spread
from lib.models.encoding import Encoder


class Conditional(nn.Module):
    """Mixin before a backbone: calls take lambda, layers follow it.

    lam = 0 is the clean path: its masks and batch norms, no noise. lam > 0 is the adversarial
    path with noise scaled by lam. Draws of noise come from torch's global generator. `slims` are
    the shares of its channels that the network can be called with.
    """

    counts: Tensor  # (noisy layers,), elements of each

    OWN = ("condition", "method", "encoder", "slims", "noisy", "noise_size", "counts")

    def __init__(
        self,
        *args: Any,
        condition: Condition,
        method: Method,
        encoder: Encoder | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.condition = condition
        self.method = method
        self.encoder = encoder
        self.slims = method.widths
        layers = [layer for layer in self.modules() if isinstance(layer, Noisy)]
        self.noisy = [layer for layer in layers if layer.alpha is not None]
        counts = [layer.weight.numel() for layer in self.noisy]
        self.noise_size = sum(counts)
        for index, layer in enumerate(self.noisy):  # each has its slice of the one draw
            layer.noise_index, layer.noise_start = index, sum(counts[:index])
        device = next(self.parameters()).device
        self.register_buffer("counts", torch.tensor(counts, device=device), persistent=False)

    def draw_noise(self, generator: Generator | None = None) -> Tensor:
        """Standard normal values for every noisy weight, to be frozen by passing them as noise."""
        weight = next(self.parameters())
        device = weight.device if generator is None else generator.device
        noise = torch.randn(self.noise_size, generator=generator, device=device, dtype=weight.dtype)
        return noise.to(weight.device)

    def set_condition(
        self,
        lam: float | Tensor | None = None,
        *,
        split: int | None = None,
        noise: Tensor | None = None,
        threshold: float = 0.0,
        slim: float = 1.0,
    ) -> None:
        """Check the arguments of a call and tell the layers; forward does this on every call.

        split=k routes the first k samples through the clean batch norms and the others through
        the adversarial ones, whatever lam; noise freezes the draw; threshold is FLOAT's Eq. 6;
        slim selects the sub-network of that share of the channels.
        """
        lam = self.method.clean_lam if lam is None else lam
        condition = self.condition
        condition.clear()
        condition.slim = self.check_slim(slim)
        if isinstance(lam, Tensor):
            if self.encoder is None:
                raise UserError(
                    f"lam must be one number for {self.method.label}; only methods with a code of "
                    "it, as OAT, take more."
                )
            condition.code, zeros = self.encoder.encode_each(lam)
            condition.split = zeros if split is None else split
            condition.adversarial = condition.split == 0
            return
        check_range("lam", lam, 0.0, 1.0)
        condition.split = split
        condition.adversarial = lam > threshold
        scale = lam if threshold == 0 else self.rescale(lam, threshold)
        if self.noise_size and scale > 0:
            condition.noise = self.draw_noise() if noise is None else self.check_noise(noise)
            weights = [layer.weight.detach() for layer in self.noisy]
            condition.sigma = (scale * spread(weights, self.counts)).unbind()
        if self.encoder is not None:
            condition.code = self.encoder.encode(lam)

    def rescale(self, lam: float, threshold: float) -> float:
        """Noise scale that starts again from 0 at the threshold (FLOAT Eq. 6)."""
        if not self.method.rescales:
            raise UserError(
                f"threshold is defined for FLOAT only; leave it at 0 for {self.method.label}."
            )
        check_range("threshold", threshold, 0.0, 1.0)
        if lam > threshold:
            return (lam - threshold) / (1 - threshold)
        return lam / threshold

    def check_slim(self, slim: float) -> float:
        """Refuse a slim factor that this network was not built for."""
        if slim in self.slims:
            return slim
        if len(self.slims) == 1:
            raise UserError(
                f"slim is {slim:g} but this {self.method.label} network has one width; leave it at "
                "1 or create one with slims."
            )
        known = ", ".join(f"{value:g}" for value in self.slims)
        raise UserError(f"slim is {slim:g} but this network was built for slims {known} only.")

    def check_noise(self, noise: Tensor) -> Tensor:
        """Refuse frozen noise of another network."""
        if noise.shape != (self.noise_size,):
            raise UserError(
                f"noise has shape {tuple(noise.shape)} but this network needs "
                f"({self.noise_size},): take it from its own draw_noise()."
            )
        return noise

    def forward(self, x: Tensor, lam: float | Tensor | None = None, **call: Any) -> Tensor:
        """Logits of x at lam (None: 0, for PNI 1); call is what `set_condition` describes."""
        try:
            self.set_condition(lam, **call)
            check_batch(len(x), lam, call.get("split"))
            return super().forward(x)
        finally:
            self.condition.clear()


def check_batch(size: int, lam: float | Tensor | None, split: int | None) -> None:
    """Refuse a split or a tensor of lambdas that does not belong to a batch of this size."""
    if split is not None and not 0 <= split <= size:
        raise UserError(f"split is {split} but must be between 0 and the batch of {size}.")
    if isinstance(lam, Tensor) and lam.shape != (size,):
        raise UserError(
            f"lam has shape {tuple(lam.shape)} but must be one number, or one for each of the "
            f"{size} samples."
        )
