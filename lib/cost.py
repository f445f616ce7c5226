"""What a network costs: parameters, operations, additions for noise, storage, energy and delay.

One path of a conditional network computes at a time, but all of its weights must be stored. So
there are three counts of parameters: everything the built module holds (`params`), what a device
must hold (`params_union`) and what one path reads (`params_per_path`). The last two follow the
papers' convention: zeros by mask, the second batch norm and the noise scales alpha are left out.
"""

import copy
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lib.errors import UserError, check_range
from lib.models import Conditional, create
from lib.models.gdws import Price, convertible

# Energy of one operation in pJ at 45 nm, 0.9 V (Horowitz, ISSCC 2014)
ENERGY_PJ = {
    ("add", "int8"): 0.03,
    ("add", "int32"): 0.1,
    ("add", "float32"): 0.9,
    ("multiply", "int8"): 0.2,
    ("multiply", "int32"): 3.1,
    ("multiply", "float32"): 3.7,
}

# Delay at 65 nm in ns (FLOAT, section 4.3): one read of the memory, one multiplication
READ_NS = 9.0
MULTIPLY_NS = 4.0


@dataclass(frozen=True)
class LayerCost:
    """One convolution or linear layer, for one image.

    positions is how often each weight is used: output pixels of a convolution, rows of a linear
    layer. adv and union count the weights that the adversarial path and any path leave standing.
    """

    name: str
    kind: str  # conv or linear
    film: bool  # part of OAT's modulation
    kernel: int
    out_channels: int
    positions: int
    weights: int
    adv: int
    union: int
    bias: int
    noisy: bool
    mask_bits: float  # entropy of the masks

    @property
    def macs(self) -> int:
        """Multiply-accumulates with every weight."""
        return self.weights * self.positions

    @property
    def macs_per_path(self) -> int:
        """Multiply-accumulates with the weights of the adversarial path."""
        return self.adv * self.positions

    @property
    def noise_adds(self) -> int:
        """Additions of noise to the weights of the adversarial path, once for a batch."""
        return self.adv if self.noisy else 0


def layer_costs(model: nn.Module, in_channels: int = 3, size: int = 32) -> list[LayerCost]:
    """Return a row for every convolution and linear layer, in the order of the modules."""
    positions = _positions(model, in_channels, size)
    rows = []
    for name, layer in _layers(model):
        conv = isinstance(layer, nn.Conv2d)
        adv, union, bits = _active(layer)
        rows.append(
            LayerCost(
                name=name,
                kind="conv" if conv else "linear",
                film="film" in name.split("."),
                kernel=layer.kernel_size[0] if conv else 1,
                out_channels=layer.weight.shape[0],
                positions=positions[name],
                weights=layer.weight.numel(),
                adv=adv,
                union=union,
                bias=0 if layer.bias is None else layer.bias.numel(),
                noisy=getattr(layer, "alpha", None) is not None,
                mask_bits=bits,
            )
        )
    return rows


def cost(model: nn.Module, in_channels: int = 3, size: int = 32) -> dict[str, int]:
    """Return the counts of a network for one image of size x size.

    macs are those of convolutions and linear layers with every weight, macs_per_path with those
    of the adversarial path; bytes_8bit is one byte for each parameter of params_union, and
    bytes_masks what the masks take beside it if stored at their entropy.
    """
    return totals(model, layer_costs(model, in_channels, size))


def totals(model: nn.Module, rows: Iterable[LayerCost]) -> dict[str, int]:
    """Return the sums that `cost` describes over layers already counted."""
    rows = list(rows)
    shared = sum(row.bias for row in rows) + _batch_norm_params(model)
    union = sum(row.union for row in rows) + shared
    return {
        "params": sum(p.numel() for p in model.parameters()),
        "params_union": union,
        "params_per_path": sum(row.adv for row in rows) + shared,
        "macs": sum(row.macs for row in rows),
        "macs_per_path": sum(row.macs_per_path for row in rows),
        "noise_adds": sum(row.noise_adds for row in rows),
        "bytes_8bit": union,
        "bytes_masks": math.ceil(sum(row.mask_bits for row in rows) / 8),
    }


def mac_prices(model: nn.Module, in_channels: int = 3, size: int = 32) -> dict[str, Price]:
    """Return multiply-accumulates of each convolution for an image, as `convert` takes prices."""
    rows = {row.name: row for row in layer_costs(model, in_channels, size)}
    return {
        name: Price(
            dense=rows[name].macs,
            fixed=0,
            kernel=rows[name].positions * (conv.weight[0, 0].numel() + conv.out_channels),
        )
        for name, conv in convertible(model).items()
    }


def report(
    method: str,
    backbone: str,
    width: int | None = None,
    num_classes: int = 10,
    size: int = 32,
    options: Mapping[str, Any] | None = None,
    in_channels: int = 3,
) -> dict[str, int]:
    """Return the cost of a freshly built network, as `python -m lib cost --json` prints it."""
    check_range("size", size, 8, 4096)
    model = create(method, backbone, num_classes, in_channels, width, **dict(options or {}))
    return cost(model, in_channels, size)


def _batch_norm_params(model: nn.Module) -> int:
    """Return scales and shifts of one batch norm at every site, however many paths and widths."""
    if isinstance(model, nn.BatchNorm2d):  # below it are those of other paths and widths
        return sum(p.numel() for p in model.parameters(recurse=False))
    return sum(_batch_norm_params(layer) for layer in model.children())


def _layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    found = model.named_modules()
    return ((name, m) for name, m in found if isinstance(m, nn.Conv2d | nn.Linear))


def _active(layer: nn.Conv2d | nn.Linear) -> tuple[int, int, float]:
    """Return how many weights the adversarial and any path use; the masks' entropy in bits."""
    every = torch.ones_like(layer.weight, dtype=torch.bool)
    masks = (getattr(layer, name, None) for name in ("mask", "mask_clean", "mask_adv"))
    kept, clean, adv = (every if mask is None else mask.bool() for mask in masks)
    clean, adv = kept & clean, kept & adv
    in_clean, in_adv, in_both = (int(m.sum()) for m in (clean, adv, clean & adv))
    union, total = in_clean + in_adv - in_both, every.numel()
    states = (in_both, in_clean - in_both, in_adv - in_both, total - union)
    bits = sum(n * math.log2(total / n) for n in states if n)
    return in_adv, union, bits


def _positions(model: nn.Module, in_channels: int, size: int) -> dict[str, int]:
    """Return how often each layer's weights are used for one image: a copy is shown a black one."""
    counts: Counter[str] = Counter()

    def count(name: str, layer: Any, inputs: Any, output: Tensor) -> None:
        counts[name] += output.numel() // layer.weight.shape[0]

    model = copy.deepcopy(model).eval()
    for name, layer in _layers(model):
        layer.register_forward_hook(partial(count, name))
    weight = next(model.parameters())
    try:
        with torch.no_grad():
            model(weight.new_zeros(1, in_channels, size, size), **_clean(model))
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"The network does not take images of {in_channels}x{size}x{size}; "
            "use the channels and the size that it was built for."
        ) from error
    return counts


def _clean(model: nn.Module) -> dict[str, Any]:
    """Return the arguments of a call that draws no noise; every path has the same layers."""
    if not isinstance(model, Conditional):
        return {}
    encoder: Any = model.encoder  # OAT takes the lambdas of its training only
    return {"lam": 0.0 if encoder is None else encoder.lambdas[0]}


def mac_in_adds(number: str = "int8") -> float:
    """Return the energy of a multiply-accumulate in additions of the same number format."""
    add = ENERGY_PJ["add", number]
    return (ENERGY_PJ["multiply", number] + add) / add


def add_equivalents(macs: float, adds: float = 0, number: str = "int8") -> float:
    """Return operations in additions of equal energy, as SMART compares them."""
    return macs * mac_in_adds(number) + adds


@dataclass(frozen=True)
class Delay:
    """Delay of one convolution in ns: as it is, with FLOAT's noise, with OAT's FiLM."""

    plain: float
    noise: float
    film: float


def delay(
    weights: int, outputs: int, film_weights: int, reads: int = 8, multipliers: int = 175
) -> Delay:
    """Return the delay of a convolution without overlap of reading and computing (Eqs. 7-9).

    outputs is Ho * Wo; film_weights is 2 Co + 4 Co^2 in FLOAT's Eq. 9; reads is how many weights
    one access delivers, (B_IO / B_W) * N_bank, and multipliers is N_mult. The paper gives neither:
    the defaults are the ones that yield its 1.66.
    """
    for name, value in (("reads", reads), ("multipliers", multipliers), ("outputs", outputs)):
        check_range(name, value, 1)
    read = math.ceil(weights / reads) * READ_NS
    once = math.ceil(weights / multipliers) * MULTIPLY_NS
    film_read = math.ceil((weights + film_weights) / reads) * READ_NS
    film = math.ceil(film_weights / multipliers) * MULTIPLY_NS
    return Delay(
        plain=read + once * outputs,
        noise=read + once * (1 + outputs),
        film=film_read + once * outputs + film,
    )
