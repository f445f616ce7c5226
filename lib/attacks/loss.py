"""The loss that attacks raise, and its gradient with respect to the images alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.errors import UserError

Classifier = Callable[[Tensor], Tensor]


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy of each image (N,), in float32 or better also under autocast."""
    if logits.ndim != 2 or len(logits) != len(y):
        shape = tuple(logits.shape)
        raise UserError(
            f"The classifier returned logits of shape {shape} for {len(y)} images; "
            "it must return one row of class scores per image."
        )
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(wide, y, reduction="none")


def input_gradient(f: Classifier, x: Tensor, y: Tensor, eot: int = 1) -> Tensor:
    """Return the gradient of the summed loss with respect to x, averaged over eot passes of f.

    The sum over images keeps each image's gradient independent of the batch. For a network with
    noise in its weights eot > 1 estimates the gradient of the expected loss (EOT). Only the images
    are differentiated, so no parameter of f receives a gradient.
    """
    total = torch.zeros((), device=x.device, dtype=x.dtype)
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        for _ in range(eot):
            loss = cross_entropy(f(x), y).sum()
            if not loss.requires_grad:
                raise UserError(
                    "The classifier passes no gradient to its images; "
                    "give the attack a classifier without torch.no_grad or detach inside."
                )
            (grad,) = torch.autograd.grad(loss, x)
            total = total + grad if eot > 1 else grad
    return total / eot if eot > 1 else total


@torch.no_grad()
def hardness(f: Classifier, x: Tensor, y: Tensor, eot: int = 1) -> tuple[Tensor, Tensor]:
    """Return for each image how often f errs (a fraction) and its mean loss, over eot passes."""
    errors, losses = [], []
    for _ in range(eot):
        logits = f(x)
        errors.append((logits.argmax(1) != y).float())
        losses.append(cross_entropy(logits, y))
    return torch.stack(errors).mean(0), torch.stack(losses).mean(0)
