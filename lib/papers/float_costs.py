"""What FLOAT and its rivals cost: storage, delays by Eqs. 7-9, passes and measured times.

Everything becomes rows of metrics.csv. Only counting a network needs torch, so that plans and
verdicts stay light.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from lib.readings.ledger import count, delay_table, layer_delays
from lib.rows import row
from lib.study import Study

Columns = dict[str, Any]
Rows = list[Columns]

BASE = "FLOAT"  # what Figure 8 divides times by
PLAIN = "PGD-AT"  # a network without any condition, for one lambda
EACH = f"{PLAIN} x 4"  # one such network for each of the paper's four lambdas
SCALAR = "OAT [scalar code]"
COUNTED = {PLAIN: "plain", "OAT": "oat", SCALAR: "oat scalar", BASE: "float", "SMART": "smart"}
BACKBONES = {"resnet34": "cifar10", "wrn16_8": "svhn", "wrn40_2": "stl10"}
# what is trained to the data set and backbone that it stands for

MACHINE = (8, 175)  # weights a read and multipliers that print 1.66; the paper gives neither
READS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MULTIPLIERS = (32, 64, 96, 128, 175, 256, 350, 512, 1024)


def storage(study: Study) -> Rows:
    """Return bytes at 8 bit for each method on the paper's networks, and operations of ResNet-34.

    bytes_8bit has one batch norm for everybody and no noise scales, as the paper counts; 'as
    built' has all parameters. SMART stores what either of its paths uses, masks not counted.
    """
    rows = []
    for backbone, dataset in BACKBONES.items():
        where: Columns = {"dataset": dataset, "backbone": backbone}
        for label, name in COUNTED.items():
            found = _counted(name, backbone)
            sizes = {"bytes_8bit": found.stored, "bytes_8bit:as built": found.total["params"]}
            operations = {metric: found.total[metric] for metric in ("macs", "noise_adds")}
            values = sizes | (operations if backbone == "resnet34" else {})
            rows += [
                row(study, method=label, metric=m, value=v, **where) for m, v in values.items()
            ]
            if label == PLAIN:
                rows += [
                    row(study, method=EACH, metric=m, value=4 * v, **where)
                    for m, v in sizes.items()
                ]
    return rows


def _counted(name: str, backbone: str) -> Any:
    return count(name if backbone == "resnet34" else f"{name} {backbone}")


def delays(study: Study) -> Rows:
    """Return delays of ResNet-34's 33 convolutions with FiLM, by Eqs. 7-9 with a scalar code.

    delay:* are multiples of the plain convolution on MACHINE. OAT over FLOAT are delay_ratio:*,
    its maximum there with the layer's name, and delay_ratio:R*:N* (largest of a layer) and
    network_ratio:R*:N* (sum over layers) on every machine of READS x MULTIPLIERS.
    """
    where: Columns = {"dataset": "cifar10", "backbone": "resnet34"}
    (here,) = delay_table([MACHINE]).to_dict("records")
    rows = [
        row(study, method=method, metric=f"delay:{name}", value=here[f"{method} {name}"], **where)
        for method in (BASE, "OAT")
        for name in ("min", "mean", "max")
    ]
    gains = {
        f"delay_ratio:max:{here['layer']}": here["largest gain"],
        "delay_ratio:mean": here["mean gain"],
        "delay_ratio:network": here["whole network"],
    }
    for reads in READS:
        for multipliers in MULTIPLIERS:
            layers = layer_delays(reads, multipliers)
            machine = f"R{reads}:N{multipliers}"
            gains[f"delay_ratio:{machine}"] = layers["gain"].max()
            gains[f"network_ratio:{machine}"] = layers["OAT"].sum() / layers[BASE].sum()
    return rows + [row(study, method="OAT", metric=m, value=v, **where) for m, v in gains.items()]


def machines(metrics: pd.DataFrame, name: str = "delay_ratio") -> pd.DataFrame:
    """Return OAT over FLOAT by reads (index) and multipliers (columns), as `delays` wrote them."""
    parts = metrics["metric"].str.extract(rf"^{name}:R(\d+):N(\d+)$").astype(float)
    rows = metrics.assign(reads=parts[0], multipliers=parts[1]).dropna(subset=["reads"])
    return rows.pivot_table("value", index="reads", columns="multipliers").rename(
        index=int, columns=int
    )


def passes(study: Study) -> Rows:
    """Return the attacked share of a batch, and passes of a training step as multiples of FLOAT's.

    Passes are counted by `lib.methods.Method.passes`.
    """
    cost = {label: r.method.passes(r.attack.steps) for label, r in study.timed.items()}
    rows = []
    for label, recipe in study.timed.items():
        values = {
            "attacked_share": recipe.method.shares[1],
            f"pass_ratio:{BASE}": cost[label] / cost[BASE],
        }
        rows += [row(study, recipe, method=label, metric=m, value=v) for m, v in values.items()]
    return rows


def measured(study: Study, seconds: pd.DataFrame, metric: str, base: str) -> Rows:
    """Return ratios of times of `lib.timing` to those of base, with intervals, one row a label."""
    from lib.timing import ratios

    return [
        row(
            study,
            study.timed[label.split(", ")[0]],
            method=label,
            metric=metric,
            value=value,
            ci_low=low,
            ci_high=high,
            n=n,
        )
        for label, value, low, high, n in ratios(seconds, base).itertuples(index=False)
    ]


def times(study: Study, training: pd.DataFrame, inference: Iterable[pd.DataFrame]) -> Rows:
    """Return measured ratios to FLOAT and to PGD-AT, of training and of passes by column batch.

    train_ratio:BASE is per epoch, latency_ratio:BASE:B* for each batch size. PGD-AT for four
    lambdas counts four times the one at lambda = 1, as in the paper.
    """
    rows: Rows = []
    for base in (BASE, PLAIN):
        own = measured(study, training, f"train_ratio:{base}", base)
        plain = next(line for line in own if line["method"] == PLAIN)
        four = {name: 4 * plain[name] for name in ("value", "ci_low", "ci_high")}
        rows += [*own, plain | four | {"method": EACH}]
        for seconds in inference:
            (batch,) = seconds["batch"].unique()
            rows += measured(study, seconds, f"latency_ratio:{base}:B{batch}", base)
    return rows
