"""The networks of the papers, built and counted: the ground of the audit.

Only counting needs torch, so that plans that lead here stay light.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from lib.cost import LayerCost

SCALAR = {"encoding": "none"}  # lambda itself is the code of OAT's FiLM layers, D = 1
EXACT = {"exact": True, "mask_seed": 0}  # masks whose counts do not depend on the draw

NETWORKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "plain": ("plain", "resnet34", {}),
    "plain half": ("plain", "resnet34", {"width": 32}),
    "float": ("float", "resnet34", {}),
    "oat": ("oat", "resnet34", {}),
    "oat scalar": ("oat", "resnet34", SCALAR),
    "smart": ("smart", "resnet34", EXACT),
    "smart shortcuts": ("smart", "resnet34", EXACT | {"mask_shortcuts": True}),
    "smart everywhere": ("smart", "resnet34", EXACT | {"mask_shortcuts": True, "pattern": "SSSS"}),
    "smart disjoint": ("smart", "resnet34", EXACT | {"overlap": 0.0}),
    "smart one mask": ("smart", "resnet34", EXACT | {"overlap": 0.5}),
    "smart wrn16_8": ("smart", "wrn16_8", EXACT | {"pattern": "DSS"}),
    "smart wrn40_2": ("smart", "wrn40_2", EXACT | {"pattern": "DSS"}),
    "smart wrn40_2 last": ("smart", "wrn40_2", EXACT | {"pattern": "DDS"}),
    "plain resnet18 released": ("plain", "resnet18", {"num_classes": 100}),  # DNR's, on CIFAR-10
    "plain resnet50_imagenet": ("plain", "resnet50_imagenet", {"num_classes": 1000}),
}
NETWORKS |= {
    f"plain {name}": ("plain", name, {})
    for name in (
        *("wrn16_8", "wrn40_2", "vgg16", "resnet18"),
        *("preact_resnet18", "preact_resnet50", "wrn28_4", "vgg16_bn", "vgg16_hydra"),
        *("mobilenet_v1", "mobilenet_v2", "resnet18_dws", "resnet20", "resnet20_40"),
        "robnet_free",
    )
}
for wide in ("wrn16_8", "wrn40_2"):
    NETWORKS |= {f"{name} {wide}": (name, wide, {}) for name in ("float", "oat")}
    NETWORKS[f"oat scalar {wide}"] = ("oat", wide, SCALAR)
METHODS = {  # labels of metrics.csv to networks; the papers count OAT with a scalar code
    "plain": "plain",
    "PGD-AT": "plain",
    "OAT": "oat",
    "OAT [scalar code]": "oat scalar",
    "FLOAT": "float",
    "SMART": "smart",
}
# Weights that one read of the memory delivers, and multipliers (Eqs. 7-9)
MACHINES = ((8, 175), (4, 175), (16, 175), (8, 128), (8, 256))


@dataclass(frozen=True)
class Count:
    """The cost of a network, in all and by layer."""

    total: dict[str, int]
    layers: tuple[LayerCost, ...]

    @property
    def stored(self) -> int:
        """Parameters that a device must hold, one batch norm counted."""
        return self.total["params_union"]

    @property
    def per_path(self) -> int:
        """Parameters that the adversarial path reads."""
        return self.total["params_per_path"]

    @property
    def film_macs(self) -> int:
        """Multiply-accumulates of OAT's FiLM layers."""
        return sum(row.macs for row in self.layers if row.film)


@cache
def count(name: str) -> Count:
    """Return the counts of one of NETWORKS for a CIFAR-10 image; they depend on no weight."""
    from lib.cost import layer_costs, totals
    from lib.models import create

    method, backbone, options = NETWORKS[name]
    model = create(method, backbone, **options)
    layers = layer_costs(model)
    return Count(totals(model, layers), tuple(layers))


def published(label: str, backbone: str = "resnet34") -> Count:
    """Return the counts of the network that stands behind a label of metrics.csv."""
    name = METHODS[label]
    return count(name if backbone == "resnet34" else f"{name} {backbone}")


def layer_delays(
    reads: int, multipliers: int, code: int = 1, kernels: Iterable[int] = (3,)
) -> pd.DataFrame:
    """Return the delay of ResNet-34's convolutions in ns: plain, with FLOAT, with OAT (Eqs. 7-9).

    OAT has FiLM after the 3x3 convolutions only; code is the size of its code of lambda.
    """
    from lib.cost import delay

    rows = []
    for row in count("plain").layers:
        if row.kind == "conv" and row.kernel in kernels:
            film = 2 * row.out_channels * code + 4 * row.out_channels**2
            found = delay(row.weights, row.positions, film, reads, multipliers)
            rows.append((row.name, found.plain, found.noise, found.film))
    frame = pd.DataFrame(rows, columns=["layer", "plain", "FLOAT", "OAT"])
    return frame.assign(gain=frame["OAT"] / frame["FLOAT"])


def delay_table(machines: Iterable[tuple[int, int]] = MACHINES) -> pd.DataFrame:
    """Return the delays of each machine over layers, normalised to the plain convolution.

    Gains are OAT's delay over FLOAT's.
    """
    rows = []
    for reads, multipliers in machines:
        layers = layer_delays(reads, multipliers)
        row: dict[str, Any] = {"reads": reads, "multipliers": multipliers}
        for method in ("FLOAT", "OAT"):
            relative = (layers[method] / layers["plain"]).agg(["min", "max", "mean"])
            row |= relative.add_prefix(f"{method} ").to_dict()
        slowest = layers.loc[layers["gain"].idxmax()]
        row |= {"largest gain": slowest["gain"], "layer": slowest["layer"]}
        whole = layers["OAT"].sum() / layers["FLOAT"].sum()
        rows.append(row | {"mean gain": layers["gain"].mean(), "whole network": whole})
    return pd.DataFrame(rows)


def machines_that_print(gain: float) -> tuple[list[tuple[int, int]], int]:
    """Return the machines of a grid whose largest gain has these two decimals, and its size."""
    multipliers = (16, 32, 64, 100, 128, 150, 175, 200, 256, 300, 350, 512, 1024)
    grid = delay_table(product([2**k for k in range(9)], multipliers))
    found = grid[grid["largest gain"].round(2) == gain]
    return list(zip(found["reads"], found["multipliers"], strict=True)), len(grid)
