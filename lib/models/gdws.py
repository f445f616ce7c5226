"""GDWS: any trained convolution as depthwise kernels and a 1x1 convolution (Dbouk, Shanbhag 2021).

W_c, (M, kh kw), are the weights that read input channel c. Its singular value decomposition sorts
them into kernels, the most important first; how many are kept of each channel is what MEGO
(Algorithm 1) and LEGO (Algorithm 2) choose, both exactly. All of it in float64 on the CPU, the same
everywhere: values below ZERO of a channel's largest count as zero, which is what float32 leaves of
a lower rank, and among equals the kernels of the first channels are kept.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lib.errors import UserError, check_range
from lib.models.compaction import GatheredConv2d
from lib.models.conditional import Conditional
from lib.models.conditional_layers import BatchNorm2d, Noisy
from lib.models.depthwise import GeneralizedDepthwise, replaced
from lib.models.gains import error_weights as error_weights
from lib.progress import Report

ZERO = 1e-6
ROUNDING = 1e-12  # in singular vectors, of length 1

Factors = tuple[Tensor, Tensor, list[int]]  # pointwise (M, G), depthwise (G, kh, kw), g


class Price(NamedTuple):
    """What a layer costs, in any unit: dense, or fixed + kernel * G with G kernels."""

    dense: float
    fixed: float
    kernel: float


class Spectrum(NamedTuple):
    """All kernels of a convolution: W_c = sum of pointwise[c, i] x depthwise[c, i], i < rank."""

    pointwise: Tensor  # (C, R, M), of length singular value
    depthwise: Tensor  # (C, R, kh, kw), of length 1
    values: Tensor  # (C, R), alpha times the squared singular value, falling in each channel


def spectrum(weight: Tensor, alpha: Tensor | None = None) -> Spectrum:
    """Return the kernels of a weight (M, C, kh, kw), their errors weighted by alpha (C,)."""
    inputs, size = weight.shape[1], weight.shape[2:]
    alpha = torch.ones(inputs) if alpha is None else alpha
    alpha = alpha.detach().to("cpu", torch.float64)
    if alpha.shape != (inputs,) or not (alpha.isfinite() & (alpha >= 0)).all():
        raise UserError(f"alpha must be {inputs} finite numbers of at least 0, one a channel.")
    if not all(end.isfinite() for end in weight.detach().aminmax()):
        raise UserError("The weights of this convolution are not finite; train it again.")
    matrices = weight.detach().cpu().transpose(0, 1).contiguous().double().flatten(2)  # (C, M, K)
    left, sigma, right = torch.linalg.svd(matrices, full_matrices=False)
    sigma = sigma.where(sigma >= ZERO * sigma[:, :1], 0)
    left, right = (nn.functional.hardshrink(v, ROUNDING) for v in (left, right))  # sparse weights
    return Spectrum(
        left.transpose(1, 2) * sigma[:, :, None],
        right.unflatten(2, size),
        alpha[:, None] * sigma**2,
    )


def lego(
    weight: Tensor, alpha: Tensor | None, beta: float, *, squared: bool = True, least: int = 0
) -> Factors:
    """GDWS Algorithm 2: fewest depthwise kernels whose weighted squared error is at most beta.

    weight is (M, C, kh, kw), alpha (C,) or None for ones. Returns the pointwise weight (M, G), the
    depthwise kernels (G, kh, kw) and how many of them each input channel gets, summing to G. The
    released code bounds the squared error, e^2 <= beta, and so do the published values of beta;
    squared=False is Theorem 2, e <= beta. least=1 leaves every channel that has weights a kernel or
    more; with 0, a channel whose alpha is 0 keeps none.
    """
    found = spectrum(weight, alpha)
    bound = check_range("beta", beta, 0) ** (1 if squared else 2)
    return _factors(found, _fewest(found.values, bound, least), weight)


def mego(weight: Tensor, alpha: Tensor | None, budget: int, *, least: int = 0) -> Factors:
    """GDWS Algorithm 1: the least weighted error that budget depthwise kernels can have.

    As `lego`; G is below the budget where the kernels that are left would change nothing.
    """
    found = spectrum(weight, alpha)
    return _factors(found, _first({"": found.values}, budget, least)[""], weight)


def _fewest(values: Tensor, bound: float, least: int = 0) -> list[int]:
    """Return how many kernels each channel keeps if what goes sums to bound at most."""
    going = values.clone()
    going[:, :least] = math.inf
    gone = int((going.flatten().sort().values.cumsum(0) <= bound).sum())
    return _first({"": values}, values.numel() - gone, least)[""]


def _first(values: Mapping[str, Tensor], budget: int, least: int = 0) -> dict[str, list[int]]:
    """Return how many kernels each channel (C,) keeps of budget ones in all layers together.

    They are those of the largest values (C, R), which fall in each channel, and none of value zero;
    where every channel is to keep one at least, its first stands before all others.
    """
    check_range("least", least, 0, 1)
    check_range("budget", budget, least * sum(map(len, values.values())))
    ranked = {name: found.clone() for name, found in values.items()}
    for found in ranked.values():
        found[:, :least] = math.inf
    flat = torch.cat([torch.zeros(0), *(found.flatten() for found in ranked.values())])
    kept = flat > 0
    kept[flat.argsort(descending=True, stable=True)[budget:]] = False
    parts = kept.split([found.numel() for found in ranked.values()])
    names = zip(ranked.items(), parts, strict=True)
    return {name: part.view_as(found).sum(1).tolist() for (name, found), part in names}


def _factors(found: Spectrum, g: list[int], like: Tensor) -> Factors:
    g = (torch.tensor(g) * found.pointwise[:, 0].any(1)).tolist()  # none without weights
    kept = torch.arange(found.values.shape[1]) < torch.tensor(g)[:, None]
    pointwise, depthwise = found.pointwise[kept].to(like), found.depthwise[kept].to(like)
    return pointwise.T.contiguous(), depthwise, g


def allocate(
    values: Mapping[str, Tensor], prices: Mapping[str, Price], bound: float
) -> dict[str, int]:
    """Spend a squared error over all layers where it saves most: LEGO with a price.

    values are the weighted squared errors of each layer's kernels, in any order. Returns how many
    kernels each layer that is converted keeps; those not named stay dense, without an error. All
    layers spend at one rate, what an error of 1 must save at least, the smallest that the bound
    allows (Lagrange). What is left goes layer by layer to the largest saving that still fits.
    """
    curves = {}  # what is lost and what is saved with so many kernels, from none to all
    for name, (dense, fixed, kernel) in prices.items():
        ranked = values[name].flatten().double().sort().values
        errors = torch.cat([ranked.new_zeros(1), ranked.cumsum(0)]).flip(0)
        curves[name] = errors, dense - fixed - kernel * torch.arange(len(errors)).double()

    def spent(rate: float) -> tuple[float, dict[str, int]]:
        """Return the error of all layers at a rate, and their kernels."""
        gains = {name: saved - rate * errors for name, (errors, saved) in curves.items()}
        plan = {name: int(gain.argmax()) for name, gain in gains.items() if gain.max() > 0}
        return sum(float(curves[name][0][g]) for name, g in plan.items()), plan

    low, high = -200.0, 200.0  # powers of ten
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if spent(10**middle)[0] <= bound else (middle, high)
    error, plan = spent(10**high)
    for name, (errors, saved) in curves.items():
        own = float(errors[plan[name]]) if name in plan else 0.0
        fits = torch.where(errors <= bound - error + own, saved, -math.inf)
        best = int(fits.argmax())
        if fits[best] > (saved[plan[name]] if name in plan else 0):
            error, plan[name] = error - own + float(errors[best]), best
    return plan


def convertible(model: nn.Module, skip_first: bool = True) -> dict[str, nn.Conv2d]:
    """Return the convolutions that a conversion takes: all but the first, 1x1 and grouped ones.

    Nor is one of a class of its own, which may compute something else with its weights.
    """
    if any(isinstance(layer, Conditional | Noisy | BatchNorm2d) for layer in model.modules()):
        raise UserError("GDWS takes a plain network; give it what freeze(model, lam) returns.")
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    taken = {
        name: layer
        for name, layer in found[1 if skip_first else 0 :]
        if type(layer) in (nn.Conv2d, GatheredConv2d)
        and layer.groups == 1
        and math.prod(layer.kernel_size) > 1
    }
    for name, layer in taken.items():
        anew = "weight" not in layer._parameters or layer.weight.is_complex()
        if anew or layer._forward_hooks or layer._forward_pre_hooks:
            raise UserError(
                f"The convolution '{name}' has hooks, complex weights or ones made anew in each "
                "pass, as by weight_norm or prune; make them plain, as prune.remove does."
            )
    return taken


def convert(
    model: nn.Module,
    beta: float | None = None,
    budget: int | None = None,
    alphas: Mapping[str, Tensor] | None = None,
    *,
    prices: Mapping[str, Price] | None = None,
    least: int = 0,
    skip_first: bool = True,
    report: Report = lambda done: None,
) -> nn.Module:
    """Return a copy of a trained network with GDWS layers for its convolutions (Algorithm 3).

    beta bounds the weighted squared error of every layer, as `lego` does; with prices it bounds
    their sum, which `allocate` spends, and layers stay dense where that pays more, or without a
    price. budget is the number of kernels in all layers together, the first in importance. alphas
    are `error_weights`, ones if None. Convolutions that `convertible` leaves out stay as they are.
    """
    if (beta is None) == (budget is None) or (prices is not None and (beta is None or least)):
        raise UserError(
            "Give convert beta or budget, one of them; prices go with beta alone, without least."
        )
    layers, bound = convertible(model, skip_first), check_range("beta", beta or 0, 0)
    spectra = {}
    for i, (name, layer) in enumerate(layers.items()):
        if alphas is not None and name not in alphas:
            raise UserError(f"alphas has nothing for the convolution '{name}'; take error_weights.")
        spectra[name] = spectrum(layer.weight, alphas[name] if alphas is not None else None)
        report((i + 1) / len(layers))
    values = {name: found.values for name, found in spectra.items()}
    kept: dict[str, list[int]]
    if budget is not None:
        kept = _first(values, budget, least)
    elif prices is not None:
        known = {name: prices[name] for name in values if name in prices}
        plan = allocate(values, known, bound)
        kept = {name: _first({name: values[name]}, g)[name] for name, g in plan.items()}
    else:
        kept = {name: _fewest(found, bound, least) for name, found in values.items()}
    factors = {n: _factors(spectra[n], g, layers[n].weight) for n, g in kept.items()}
    return replaced(model, {n: GeneralizedDepthwise(layers[n], *f) for n, f in factors.items()})
