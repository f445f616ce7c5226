"""The loss of one mini-batch for each method: PGD-AT, DNR, TRADES, MSD, PNI, OAT, FLOAT, slim.

An objective takes a method, a network in training mode, images x (B, C, H, W) in [0, 1], labels
y (B,) and a Context, and returns the scalar loss. Adversarial images come from the context, which
attacks the network in evaluation mode and leaves it in training mode; the attack climbs the
cross-entropy, or the loss (logits, labels) -> (B,) it is given.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lib import parallel
from lib.attacks.trades import log_softmax
from lib.errors import choose
from lib.method import Method
from lib.methods import Float, Hybrid, Msd, Oat, PgdAt, Plain, Pni, Trades

Network = Callable[..., Tensor]  # a call takes images and lam, split, slim


@dataclass(frozen=True)
class Context:
    """What an objective may use: the attack, a generator (on the CPU), the epoch from 0."""

    attack: Callable[..., Tensor]  # of a classifier, images, labels and maybe `loss`
    generator: torch.Generator
    epoch: int = 0


Objective = Callable[[Network, Tensor, Tensor, Context], Tensor]


def cross_entropy(logits: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    """Return the cross-entropy in float32, whatever precision the network computes in."""
    return F.cross_entropy(logits.float(), y, reduction=reduction)


def plain(method: Plain, model: Network, x: Tensor, y: Tensor, context: Context) -> Tensor:
    """Return the cross-entropy on clean images."""
    return cross_entropy(model(x), y)


def pgd_at(method: PgdAt, model: Network, x: Tensor, y: Tensor, context: Context) -> Tensor:
    """Return (1 - lam) clean + lam adversarial cross-entropy (SMART Eq. 2)."""
    lam = method.lam
    loss = x.new_zeros(())
    if lam > 0:
        loss = loss + lam * cross_entropy(model(context.attack(model, x, y)), y)
    if lam < 1 or method.loop == "released":
        loss = loss + (1 - lam) * cross_entropy(model(x), y)
    return loss


def hybrid(method: Hybrid, model: Network, x: Tensor, y: Tensor, context: Context) -> Tensor:
    """Return beta clean + (1 - beta) adversarial cross-entropy (DNR Eq. 6), at first clean alone.

    The pruner adds the regulariser.
    """
    if context.epoch < method.clean_epochs:
        return cross_entropy(model(x), y)
    return pgd_at(method, model, x, y, context)


def trades(method: Trades, model: Network, x: Tensor, y: Tensor, context: Context) -> Tensor:
    """Return clean cross-entropy + beta KL(clean || attacked outputs) (TRADES Eq. 5).

    The released code passes the clean images twice, which only their batch norms can tell.
    """
    adversarial = context.attack(model, x, y)
    logits = model(x)
    clean, attacked = log_softmax(logits), log_softmax(model(adversarial))
    apart = F.kl_div(attacked, clean, reduction="batchmean", log_target=True)
    return cross_entropy(logits, y) + method.beta * apart


def msd(method: Msd, model: Network, x: Tensor, y: Tensor, context: Context) -> Tensor:
    """Return the cross-entropy on attacked images alone."""
    return cross_entropy(model(context.attack(model, x, y)), y)


def pni(method: Pni, model: Network, x: Tensor, y: Tensor, context: Context) -> Tensor:
    """Return half clean and half adversarial cross-entropy, both through noisy weights.

    The first epochs are clean alone; later ones attack what the clean pass takes the images for.
    """
    noisy = partial(model, lam=1.0)
    logits = noisy(x)
    clean = cross_entropy(logits, y)
    if context.epoch < method.clean_epochs:
        return clean
    adversarial = context.attack(noisy, x, logits.argmax(1))
    return 0.5 * clean + 0.5 * cross_entropy(noisy(adversarial), y)


def sample_lambdas(lambdas: tuple[float, ...], batch: int, generator: torch.Generator) -> Tensor:
    """Return (B,) trade-offs: the first ceil(B / |S|) are 0, the others uniform in S without 0."""
    zeros = math.ceil(batch / len(lambdas))
    positive = torch.tensor([lam for lam in lambdas if lam > 0])
    if not len(positive):
        return torch.zeros(batch)
    drawn = positive[torch.randint(len(positive), (batch - zeros,), generator=generator)]
    return torch.cat([torch.zeros(zeros), drawn])


def oat(method: Oat, model: Network, x: Tensor, y: Tensor, context: Context) -> Tensor:
    """Return the mean over images of (1 - lam_i) clean + lam_i adversarial cross-entropy.

    All images pass clean, those of lam = 0 through the clean batch norm and the others through the
    adversarial one; only images of lam > 0 are attacked, each under its own lam.
    """
    batch = len(x) * parallel.size()
    lams = parallel.share(sample_lambdas(method.lambdas, batch, context.generator))
    zeros = int((lams == 0).sum())
    weights = lams.to(x.device, non_blocking=True)
    conditioned = partial(model, lam=lams[zeros:])
    clean = cross_entropy(model(x, lam=lams), y, "none")
    loss = ((1 - weights) * clean).sum()
    if zeros < len(x):
        adversarial = context.attack(conditioned, x[zeros:], y[zeros:])
        robust = cross_entropy(conditioned(adversarial), y[zeros:], "none")
        loss = loss + (weights[zeros:] * robust).sum()
    return loss / len(x)


def two_paths(method: Float, model: Network, x: Tensor, y: Tensor, context: Context) -> Tensor:
    """Return half clean and half adversarial cross-entropy of FLOAT and SMART (Algorithm 1).

    'alg1': the first half of the batch is clean, the second adversarial. 'released': every image
    passes clean through the clean weights, the second half by the adversarial batch norm, and the
    adversarial half counts half as much.
    """
    half = len(x) // 2
    noisy = partial(model, lam=1.0)
    if method.loop == "alg1":
        clean, weight = cross_entropy(model(x[:half], lam=0.0), y[:half]), 0.5
    else:
        clean = cross_entropy(model(x, lam=0.0, split=half), y)
        weight = 0.5 * (len(x) - half) / len(x)
    adversarial = context.attack(noisy, x[half:], y[half:])
    return 0.5 * clean + weight * cross_entropy(noisy(adversarial), y[half:])


# By kind of method; SMART is FLOAT with path masks
OBJECTIVES: dict[str, Callable[..., Tensor]] = {
    "plain": plain,
    "pgd_at": pgd_at,
    "hybrid": hybrid,
    "trades": trades,
    "msd": msd,
    "pni": pni,
    "oat": oat,
    "oat_slim": oat,
    "float": two_paths,
    "float_slim": two_paths,
    "smart": two_paths,
}


def objective(method: Method) -> Objective:
    """Return the objective of a method: the sum over its widths, from the full one down.

    Each width is attacked by itself: the gradients of its attack are of that sub-network.
    """
    loss = partial(OBJECTIVES[choose("objective", method.kind, OBJECTIVES)], method)
    return partial(every_width, loss, method.widths) if len(method.widths) > 1 else loss


def every_width(loss: Objective, widths: tuple[float, ...], model: Network, *batch: Any) -> Tensor:
    """Return the sum, not the mean, of an objective over widths."""
    networks = [partial(model, slim=width) for width in sorted(widths, reverse=True)]
    return torch.stack([loss(network, *batch) for network in networks]).sum()
