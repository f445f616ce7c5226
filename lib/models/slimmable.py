"""Slimmable layers: one set of weights read at several widths (FLOAT slim and OAT slim).

A slim factor s keeps the leading share s of the channels. Convolutions, classifier and FiLM of a
narrow sub-network are slices of the full weights; only batch norms are its own.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.errors import UserError
from lib.models.conditional_layers import BatchNorm2d, Condition, Conv2d, FiLM, Linear, Noisy


def channels_at(channels: int, slim: float) -> int:
    """Number of channels at a slim factor; refuses one that is not whole or zero."""
    kept = round(channels * slim)
    if kept < 1 or abs(channels * slim - kept) > 1e-6:
        raise UserError(
            f"slim {slim:g} leaves {channels * slim:g} of {channels} channels, which is no whole "
            "number; choose another width or other slims."
        )
    return kept


def leading(weight: Tensor, outputs: int, inputs: int) -> Tensor:
    """The slice weight[:outputs, :inputs], dense in the memory format of the weight.

    Dense, so that a sub-network computes bit for bit what a narrow network of its own would.
    """
    part = weight[:outputs, :inputs]
    if weight.is_contiguous():
        return part.contiguous()
    return part.contiguous(memory_format=torch.channels_last)


class Slimmable(Noisy):
    """A layer that uses the leading inputs and outputs of its effective weight.

    Noise, its standard deviation and all masks are of the full weight and sliced with it, and
    alpha is shared by all widths. `whole` names the end that is the same at every width: the
    inputs of the stem, the outputs of the classifier.
    """

    def __init__(
        self, inputs: int, outputs: int, *shape: int, slims: Sequence[float], whole: str, **own: Any
    ) -> None:
        if own.get("groups", 1) != 1:
            raise UserError("Convolutions in groups have one width; choose a method without slims.")
        super().__init__(inputs, outputs, *shape, **own)
        self.shapes = {
            slim: (
                outputs if whole == "outputs" else channels_at(outputs, slim),
                inputs if whole == "inputs" else channels_at(inputs, slim),
            )
            for slim in slims
        }

    def effective_weight(self) -> Tensor:
        weight = super().effective_weight()
        slim = self.condition.slim
        return weight if slim == 1 else leading(weight, *self.shapes[slim])


class SlimmableConv2d(Slimmable, Conv2d):
    """A convolution of several widths."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.effective_weight()
        bias = None if self.bias is None else self.bias[: len(weight)]
        return self._conv_forward(x, weight, bias)


class SlimmableLinear(Slimmable, Linear):
    """The classifier on the leading features; it keeps its classes and its bias."""


class SlimmableFiLM(FiLM):
    """FiLM for the leading channels: a slice of the hidden units, of the scales, of the shifts.

    The second linear layer's rows are all scales, then all shifts. Each of the two groups is
    sliced by itself, so that a channel has the same row for its scale, and the same one for its
    shift, at every width (in the released code a narrow width takes its shifts from rows that are
    scales at the full one). The code of lambda keeps its dimension D.
    """

    def __init__(self, code_dim: int, channels: int, *, condition: Condition) -> None:
        super().__init__(code_dim, channels)
        self.channels, self.condition = channels, condition

    def affine(self, code: Tensor) -> tuple[Tensor, Tensor]:
        if self.condition.slim == 1:
            return super().affine(code)
        kept = channels_at(self.channels, self.condition.slim)
        first, second = self.linear1, self.linear2
        hidden = F.linear(code, first.weight[: 2 * kept], first.bias[: 2 * kept])
        hidden = F.leaky_relu(hidden, 0.01)
        rows = second.weight.unflatten(0, (2, self.channels))[:, :kept, : 2 * kept]
        bias = second.bias.unflatten(0, (2, self.channels))[:, :kept]
        out = F.linear(hidden, rows.flatten(0, 1), bias.flatten())
        scale, shift = F.leaky_relu(out, 0.01).chunk(2, dim=1)
        return scale, shift


class SlimmableBatchNorm2d(BatchNorm2d):
    """Switchable batch norm: for each slim factor one of its own, dual where asked for.

    Factor 1 is the layer itself, so that its keys are those of other networks (`bn1.weight`,
    `bn1.adv.weight`); factor 0.5 is its child `slims.0_5` (`bn1.slims.0_5.adv.weight`).
    """

    def __init__(
        self,
        channels: int,
        *,
        condition: Condition,
        slims: Sequence[float],
        dual: bool = False,
        code_dim: int = 0,
        **options: Any,
    ) -> None:
        own = {"condition": condition, "dual": dual, **options}
        super().__init__(channels, **own)
        self.film = SlimmableFiLM(code_dim, channels, condition=condition) if code_dim else None
        narrow = {slim: channels_at(channels, slim) for slim in slims if slim != 1}
        self.slims = nn.ModuleDict({key(slim): BatchNorm2d(n, **own) for slim, n in narrow.items()})

    def narrow(self) -> BatchNorm2d | None:
        """The batch norm of this call's width, None if that is the full one."""
        slim = self.condition.slim
        return None if slim == 1 else self.slims[key(slim)]  # type: ignore[return-value]

    def normalise(self, x: Tensor) -> Tensor:
        narrow = self.narrow()
        return super().normalise(x) if narrow is None else narrow.normalise(x)

    def active(self) -> nn.BatchNorm2d:
        narrow = self.narrow()
        return super().active() if narrow is None else narrow.active()


def key(slim: float) -> str:
    """The name of a slim factor in a state dict, which has no place for a dot: "0_5"."""
    return str(float(slim)).replace(".", "_")
