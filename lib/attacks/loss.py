"""The loss that attacks raise, its gradient with respect to the images alone, the worst of several.

Also what every attack refuses about images, labels and logits.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.attacks.norms import NORMS
from lib.errors import UserError, check_radius, check_range, choose

Classifier = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]  # of logits (N, K) and labels (N,), for each image (N,)
GRADIENT = 2  # cost of a pass with the gradient of its images, in passes


def check_attack(
    x: Tensor, y: Tensor, eps: float, norm: str, trusted: bool = False, **counts: tuple[float, int]
) -> None:
    """Refuse a ball without meaning, counts (value, least) that are too small or no whole numbers,
    images that are no floats in [0, 1], and labels that are not theirs. The values of trusted
    images are not looked at, which a GPU would have to be waited for.
    """
    choose("norm", norm, NORMS)
    check_radius("eps", eps, norm, x.shape[1:].numel())
    for name, (count, least) in counts.items():
        if check_range(name, count, least) != int(count):
            raise UserError(f"{name} is {count} but must be a whole number.")
    if not x.is_floating_point():
        raise UserError(f"Images are {x.dtype} but attacks need floats in [0, 1]; divide by 255.")
    if y.shape != x.shape[:1]:
        raise UserError(
            f"Labels have shape {tuple(y.shape)} but {len(x)} images need shape ({len(x)},)."
        )
    if trusted or x.numel() == 0:
        return
    low, high = torch.stack(x.detach().aminmax()).tolist()
    if not (low >= 0 and high <= 1):
        raise UserError(
            f"Images span {low:g} to {high:g} but attacks need them in [0, 1]; "
            "put normalisation inside the classifier."
        )


def check_logits(logits: Tensor, y: Tensor) -> None:
    """Refuse anything but one row of class scores per image."""
    if logits.ndim != 2 or len(logits) != len(y):
        shape = tuple(logits.shape)
        raise UserError(
            f"The classifier returned logits of shape {shape} for {len(y)} images; "
            "it must return one row of class scores per image."
        )


def check_gradient(values: Tensor) -> None:
    """Refuse logits or losses through which no gradient reaches the images."""
    if not values.requires_grad:
        raise UserError(
            "The classifier passes no gradient to its images; "
            "give the attack a classifier without torch.no_grad or detach inside."
        )


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy of each image (N,), in float32 or better also under autocast."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(wide, y, reduction="none")


def each(loss: Loss, logits: Tensor, y: Tensor) -> Tensor:
    """Return the loss of each image (N,); refuse logits and losses of another shape."""
    check_logits(logits, y)
    values = loss(logits, y)
    if values.shape != y.shape:
        raise UserError(
            f"The loss has shape {tuple(values.shape)} but {len(y)} images need ({len(y)},); "
            "leave out its mean."
        )
    return values


def input_gradient(
    f: Classifier, x: Tensor, y: Tensor, eot: int = 1, loss: Loss = cross_entropy
) -> Tensor:
    """Return the gradient of the summed loss with respect to x, averaged over eot passes of f.

    The sum over images keeps each image's gradient independent of the batch. For a network with
    noise in its weights eot > 1 estimates the gradient of the expected loss (EOT). Only the images
    are differentiated, so no parameter of f receives a gradient.
    """
    total = torch.zeros((), device=x.device, dtype=x.dtype)
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        for _ in range(eot):
            value = each(loss, f(x), y).sum()
            check_gradient(value)
            (grad,) = torch.autograd.grad(value, x)
            total = total + grad if eot > 1 else grad
    return total / eot if eot > 1 else total


class Worst:
    """The worst version of each image (N, C, H, W) so far: most often wrong, then of highest loss.

    For a function that draws noise, how often and which loss are of eot passes of it.
    """

    def __init__(
        self, f: Classifier, x: Tensor, y: Tensor, eot: int = 1, loss: Loss = cross_entropy
    ) -> None:
        self.f, self.y, self.eot, self.loss = f, y, eot, loss
        self.images = x.clone()
        self.errors, self.losses = self.judge(x, y)

    @torch.no_grad()
    def judge(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return for each image how often f errs (a fraction) and its mean loss."""
        errors, losses = [], []
        for _ in range(self.eot):
            logits = self.f(x)
            errors.append((logits.argmax(1) != y).float())
            losses.append(each(self.loss, logits, y))
        return torch.stack(errors).mean(0), torch.stack(losses).mean(0)

    def standing(self) -> Tensor:
        """Return the rows of the images that f does not get wrong in every pass."""
        return (self.errors < 1).nonzero().flatten()

    def offer(self, adv: Tensor, rows: Tensor) -> None:
        """Keep those of adv, versions of the images in rows, that are worse than what there is."""
        errors, losses = self.judge(adv, self.y[rows])
        tied = (errors == self.errors[rows]) & (losses > self.losses[rows])
        worse = (errors > self.errors[rows]) | tied
        keep = worse.view(-1, *[1] * (adv.ndim - 1))
        self.images[rows] = torch.where(keep, adv, self.images[rows])
        self.errors[rows] = torch.where(worse, errors, self.errors[rows])
        self.losses[rows] = torch.where(worse, losses, self.losses[rows])
