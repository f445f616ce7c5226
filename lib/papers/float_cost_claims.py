"""What section 4.3 and Figure 8 of FLOAT claim about costs, judged from rows of metrics.csv.

Needs no torch. Times are judged by the interval of their ratio, counts and delays as in the audit.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from lib import claims, published
from lib.claims import Claim, Estimate, ratio, share
from lib.intervals import select
from lib.papers.float_costs import BACKBONES, BASE, MACHINE, PLAIN, SCALAR, machines
from lib.papers.scores import judged
from lib.readings import Reading

LATENCY = 1.1  # times the latency of a plain network that are no "significant increase"
OTHER = (8, 128)  # a machine as likely as MACHINE, for the plain reading of the delay


def estimate(metrics: pd.DataFrame, method: str, metric: str) -> Estimate:
    """Return a measured ratio with its interval."""
    (found,) = select(metrics, method=method, metric=metric).itertuples()
    return Estimate(found.value, found.ci_low, found.ci_high)


def fig8_cost(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Figure 8: FLOAT trains faster, stores less and answers faster than OAT."""
    return claims.table([*times(metrics, judge), *counts(metrics)])


def times(metrics: pd.DataFrame, judge: bool = True) -> list[Claim]:
    """Judge what was measured in seconds: training per epoch and latency of one image."""
    text = published.text("float")
    up_to = {"OAT": text["train_time_vs_float_oat"], PLAIN: text["train_time_vs_float_pgd_at"]}
    found = []
    for method, paper in up_to.items():
        ours = estimate(metrics, method, f"train_ratio:{BASE}")
        what = f"An epoch of {method} takes longer than one of FLOAT"
        found.append(ratio(f"fig8-time-{method.lower()}", what, ours, paper, judge=judge))
    limits: tuple[tuple[str, str, str, str, dict[str, float]], ...] = (
        (
            "time-order",
            "An epoch of OAT takes longer than one of PGD-AT for one λ",
            "OAT",
            f"train_ratio:{PLAIN}",
            {},
        ),
        (
            "latency-oat",
            "OAT takes longer to classify an image than FLOAT at λ = 1",
            "OAT",
            f"latency_ratio:{BASE}:B1",
            {},
        ),
        (
            "latency-float",
            "FLOAT at λ = 1 takes no significantly longer than a plain network, 10 % at most",
            BASE,
            f"latency_ratio:{PLAIN}:B1",
            {"above": 0.0, "below": LATENCY},
        ),
    )
    for name, what, method, metric, bounds in limits:
        ours = estimate(metrics, method, metric)
        found.append(ratio(f"fig8-{name}", what, ours, judge=judge, **bounds))
    return found


def counts(metrics: pd.DataFrame) -> list[Claim]:
    """Judge storage, additions and delays, which follow from the architecture."""
    rows = select(metrics, dataset="cifar10", backbone="resnet34")
    n = rows.drop_duplicates(["method", "metric"]).set_index(["method", "metric"])["value"]
    stored = n.xs("bytes_8bit", level="metric")
    grid = machines(metrics)
    (here, other) = (grid.loc[machine] for machine in (MACHINE, OTHER))
    readings = {
        "float-params": Reading("one batch norm", stored[BASE] / 1e6),
        "float-oat-storage": Reading(
            "128-dimensional code", stored["OAT"] / 1e6, {"scalar code": stored[SCALAR] / 1e6}
        ),
        "float-oat-ratio": Reading(
            "128-dimensional code",
            stored["OAT"] / stored[BASE],
            {"scalar code": stored[SCALAR] / stored[BASE]},
        ),
        "float-add-share": Reading(
            "noised weights per multiply-accumulate",
            100 * n[BASE, "noise_adds"] / n[PLAIN, "macs"],
        ),
        "float-delay": Reading(
            "{} weights a read and {} multipliers".format(*OTHER),
            other,
            {"{} weights a read and {} multipliers, not printed".format(*MACHINE): here},
        ),
    }
    return [*judged(readings), *orders(metrics)]


def orders(metrics: pd.DataFrame) -> list[Claim]:
    """Judge that FLOAT beats OAT in storage for every network and in delay on every machine."""
    grid = machines(metrics, "network_ratio")
    size = select(metrics, metric="bytes_8bit").pivot_table(
        "value", index="backbone", columns="method"
    )
    smaller = int((size[BASE] < size["OAT"]).sum())
    storage = share(
        "fig8-storage-order",
        "FLOAT stores less than OAT: ResNet-34, WRN-16-8, WRN-40-2",
        smaller,
        len(BACKBONES),
    )
    faster = share(
        "fig8-delay-order",
        "All convolutions of ResNet-34 take less time with FLOAT than with OAT, on any machine",
        int((grid > 1).to_numpy().sum()),
        grid.size,
    )
    return [replace(claim, kind="analytic") for claim in (storage, faster)]
