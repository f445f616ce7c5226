"""Figures of GDWS that follow from its own tables, or from counting the networks it converts."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from lib import published
from lib.readings.ledger import Count, count
from lib.readings.pruned import wide
from lib.readings.reading import Numbers

MIB = 2**18  # parameters of 32 bits; the paper's MB
NATURAL, ROBUST, UNION = "clean_acc", "pgd100", "union"


def tables(*numbers: int) -> list[pd.DataFrame]:
    """Return the tables with these numbers, a row for each network and method."""
    names = {int(name[len("gdws/table")]): name for name in published.names() if "gdws/tab" in name}
    return [wide(names[n]).droplevel("dataset") for n in numbers]


def kept() -> dict[str, Numbers]:
    """Return what conversion and pruning cost in accuracy."""
    one, three, four, union = tables(1, 3, 4, 6)
    both = [NATURAL, ROBUST]
    dense, gdws = (one.xs(name, level="method") for name in ("dense", "GDWS"))
    moved = (gdws - dense)[both].abs()
    resnet, attacked = (table.loc["preact_resnet18"] for table in (three, union))
    whole, converted, admm = (resnet.loc[m] for m in ("dense", "GDWS", "ADMM p75"))
    lost, relative = whole - admm, 100 * (1 - admm / whole)
    msd, strong, mild = (attacked.loc[m] for m in ("dense", "GDWS strong", "GDWS mild"))
    images, share = published.text("gdws")["union_images"], msd[UNION] / 100
    hydra = four.loc[("wrn28_4", "dense")] - four.loc[("wrn28_4", "HYDRA p99")]
    worst = moved.max(axis=1).idxmax()
    return {
        "gdws-within": [("plain", f"largest of eight in Table 1, {worst}", moved.to_numpy().max())],
        "gdws-within-admm": [
            ("plain", "natural accuracy in Table 3", (whole - converted)[NATURAL]),
            ("context", "robust accuracy", (whole - converted)[ROBUST]),
        ],
        "gdws-within-union": [
            ("plain", "union in Table 6", (msd - strong)[UNION]),
            ("context", "natural accuracy", (msd - strong)[NATURAL]),
            ("context", "gain of the mildest conversion, union", (mild - msd)[UNION]),
            ("context", "standard error", 100 * math.sqrt(share * (1 - share) / images)),
        ],
        "gdws-drop-admm-clean": [
            ("plain", "Table 3", lost[NATURAL]),
            ("caveat", "percent of the baseline", relative[NATURAL]),
        ],
        "gdws-drop-admm-robust": [
            ("plain", "Table 3", lost[ROBUST]),
            ("context", "percent of the baseline", relative[ROBUST]),
        ],
        "gdws-drop-hydra": [
            ("plain", "smaller of two in Table 4", hydra[both].min()),
            ("context", "larger of them", hydra[both].max()),
        ],
    }


def ahead() -> dict[str, Numbers]:
    """Return whom converted networks leave behind, and RobNet its rivals."""
    one, light, three, four, imagenet = tables(1, 2, 3, 4, 5)
    dense = one.xs("dense", level="method")
    scores = light[[NATURAL, ROBUST]].droplevel("backbone")
    resnet, vgg = (scores.loc[f"{name} + GDWS"] for name in ("ResNet-18", "VGG-16"))
    rivals = scores.drop([f"{name} + GDWS" for name in ("ResNet-18", "VGG-16")])
    pruned = pd.concat([three, four, imagenet.rename(columns={"pgd50": ROBUST})])[[ROBUST, "fps"]]
    converted = pruned.xs("GDWS", level="method")
    methods = pruned.index.get_level_values("method")
    pruned = pruned[methods.str.contains(r"p\d+$")]
    behind = pruned.lt(converted, level="backbone")
    fastest = pruned[~behind["fps"]].index
    others = dense[ROBUST].lt(one.loc[("robnet_free", "RobNet"), ROBUST])
    return {
        "gdws-light-all": [
            ("plain", "accuracies of Table 2 in which it is ahead", _many(rivals < resnet)),
            ("context", "those in which VGG-16 with GDWS is", _many(rivals < vgg)),
        ],
        "gdws-pruned-all": [
            ("plain", "networks that are slower and less robust", _many(behind.all(axis=1))),
            *(("context", f"FPS of {name} {m}", pruned["fps"][name, m]) for name, m in fastest),
        ],
        "gdws-robnet-all": [
            ("plain", "dense networks that are less robust", _many(others)),
            ("context", f"robust accuracy of {dense[ROBUST].idxmax()}", dense[ROBUST].max()),
        ],
    }


def sizes() -> dict[str, Numbers]:
    """Return how many sizes are those of networks counted, and how far networks are compressed."""
    found = pd.concat(tables(1, 2, 3, 4, 5))["size_mib"]
    found = found[~found.index.duplicated()]
    methods = found.index.get_level_values("method")
    whole = found[~methods.str.contains("GDWS|ADMM|HYDRA")].droplevel("method")
    counted = {name: count(f"plain {name}").stored / MIB for name in whole.index}
    hydra = {}
    for name, m in found[methods.str.fullmatch(r"HYDRA p\d+")].index:
        weights = sum(row.weights for row in count(f"plain {name}").layers)
        hydra[name, m] = counted[name] - (1 - _kept(m)) * weights / MIB
    resnet = count("plain preact_resnet18")
    blocks = [row.weights for row in resnet.layers if row.kind == "conv" and row.kernel == 3][1:]
    rest = resnet.stored - sum(blocks)
    admm = {}
    for m in ("ADMM p25", "ADMM p50", "ADMM p75"):
        admm["vgg16_bn", m] = counted["vgg16_bn"] * _kept(m) ** 2
        admm["preact_resnet18", m] = (rest + _kept(m) * sum(blocks)) / MIB
    four = tables(4)[0]["size_mib"]
    vgg, wrn = four["vgg16_hydra"], four["wrn28_4"]
    most, least = wrn["dense"] + 0.05, wrn["HYDRA p99 + GDWS"] - 0.05
    thin = {name: value for (name, m), value in hydra.items() if m == "HYDRA p99"}
    return {
        "gdws-sizes": [
            ("plain", "in MiB of 32-bit parameters", _alike(whole, counted)),
            ("context", "MiB of ResNet-20, widths 40, 80, 160", counted["resnet20_40"]),
            ("context", "MiB of widths 16, 32, 64", count("plain resnet20").stored / MIB),
        ],
        "gdws-sizes-hydra": [
            ("plain", "norms and biases whole, no indices", _alike(found, hydra)),
            ("context", "MiB of wrn28_4 HYDRA p99", thin["wrn28_4"]),
        ],
        "gdws-sizes-admm": [
            ("plain", "VGG-16 on both sides, ResNet-18 inside of blocks", _alike(found, admm))
        ],
        "gdws-ratio-hydra": [
            ("plain", "quotient in Table 4", vgg["dense"] / vgg["HYDRA p99"]),
            ("context", "norms and biases whole", counted["vgg16_hydra"] / thin["vgg16_hydra"]),
        ],
        "gdws-ratio-wrn": [
            ("plain", "quotient in Table 4", wrn["dense"] / wrn["HYDRA p99"]),
            ("caveat", "weights alone, 1 / (1 - p)", 1 / _kept("HYDRA p99")),
            ("context", "norms and biases whole", counted["wrn28_4"] / thin["wrn28_4"]),
        ],
        "gdws-ratio-both": [
            ("plain", "quotient in Table 4", wrn["dense"] / wrn["HYDRA p99 + GDWS"]),
            ("caveat", "largest that rounds to what Table 4 prints", most / least),
        ],
    }


def frames() -> dict[str, Numbers]:
    """Return how much faster networks become, and which gains multiply-accumulates allow."""
    one, three, union = (table["fps"] for table in tables(1, 3, 6))
    resnet, msd = three["preact_resnet18"], union["preact_resnet18"]
    robnet = one["robnet_free", "RobNet"]
    gains, bounds = {}, {}
    for number, table in zip((1, 3, 4), tables(1, 3, 4), strict=True):
        for name, row in table.xs("GDWS", level="method").iterrows():
            label = f"{name} in Table {number}"
            gains[label] = row["fps"] / table.loc[(name, "dense"), "fps"]
            bounds[label] = most_saved(count(f"plain {name}"), row["size_mib"] * MIB)
    within = pd.Series(gains).le(pd.Series(bounds))
    most = [
        ("context", f"{label}, faster {gains[label]:.2f}x, fewer at most", bounds[label])
        for label in gains
        if gains[label] > bounds[label]
    ]
    return {
        "gdws-fps-resnet18": [
            ("plain", "Table 1", one["preact_resnet18", "GDWS"] / one["preact_resnet18", "dense"])
        ],
        "gdws-fps-robnet": [
            ("plain", "Table 1", one["wrn28_4", "GDWS"] / robnet),
            ("context", "WRN-28-4 without GDWS", one["wrn28_4", "dense"] / robnet),
        ],
        "gdws-fps-admm": [("plain", "Table 3", resnet["ADMM p75"] / resnet["dense"])],
        "gdws-fps-gdws": [("plain", "Table 3", resnet["GDWS"] / resnet["dense"])],
        "gdws-fps-union": [("plain", "Table 6", msd["GDWS strong"] / msd["dense"])],
        "gdws-fps-macs": [("plain", "gains below the bound", _many(within)), *most],
    }


def most_saved(network: Count, parameters: float) -> float:
    """Return how many times fewer multiply-accumulates GDWS takes at best with so many parameters.

    A kernel of a channel costs K² + M parameters, and multiply-accumulates as many times the
    positions of its layer. So most is saved where layers lose kernels in the order of their
    positions, all others keeping K² for each channel. The first layer and 1x1 stay as they are.
    """
    layers = [row for row in network.layers if row.kind == "conv" and row.kernel > 1][1:]
    full = {row.name: row.weights * (1 + row.kernel**2 / row.out_channels) for row in layers}
    macs = network.total["macs"] + sum((full[r.name] - r.weights) * r.positions for r in layers)
    surplus = network.stored + sum(full[r.name] - r.weights for r in layers) - parameters
    for row in sorted(layers, key=lambda row: -row.positions):
        gone = min(surplus, full[row.name])
        surplus, macs = surplus - gone, macs - gone * row.positions
    return network.total["macs"] / macs


def _many(cases: "pd.DataFrame | pd.Series[bool]") -> float:
    return float(cases.to_numpy().sum())


def _kept(method: str) -> float:
    """Return the share of weights that a method named like 'HYDRA p90' keeps."""
    return 1 - int(method.rpartition("p")[2]) / 100


def _alike(printed: "pd.Series[float]", counted: Mapping[Any, float]) -> float:
    """Return how many sizes are, to the digit that is printed, those that were counted."""
    return float(sum(round(value, 1) == printed[key] for key, value in counted.items()))
