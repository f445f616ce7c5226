"""What the networks of the SMART paper cost, from counted rows of metrics.csv. No torch."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from lib import published
from lib.claims import Claim
from lib.intervals import select
from lib.readings import Reading
from lib.studies import audit


def counts(metrics: pd.DataFrame, ids: Iterable[str]) -> list[Claim]:
    """Judge numbers that follow from counting the published networks, as the audit does.

    A plain reading counts a method whole: both paths stored, OAT with the code of lambda that it is
    trained with. 'Partly' is what holds only with a caveat, which is named.
    """
    n = counted(metrics)
    stored, path, adds, macs = "params_union", "params_per_path", "noise_adds", "macs"
    scalar = "OAT [scalar code]"
    readings = {
        "smart-params": Reading(
            "both paths stored",
            n["SMART", stored] / n["plain", stored],
            {"one path": n["SMART", path] / n["plain", stored]},
        ),
        "float-oat-ratio": Reading(
            "128-dimensional code",
            n["OAT", stored] / n["plain", stored],
            {"scalar code": n[scalar, stored] / n["plain", stored]},
        ),
        "smart-oat-ratio": Reading(
            "both paths stored, 128-dimensional code",
            n["OAT", stored] / n["SMART", stored],
            {"quotient of the printed 1.47 and 0.54": _printed_ratio()},
        ),
        "smart-oat-macs": Reading(
            "128-dimensional code",
            (n["OAT", macs] - n["plain", macs]) / 1e6,
            {"scalar code": (n[scalar, macs] - n["plain", macs]) / 1e6},
        ),
        "smart-float-adds": Reading(
            "weights that get noise",
            n["FLOAT", adds] / 1e6,
            {"all parameters, noise or not": n["plain", stored] / 1e6},
        ),
        "smart-adds": Reading("weights of the path that get noise", n["SMART", adds] / 1e6),
        "smart-adds-ratio": Reading(
            "weights that get noise",
            n["FLOAT", adds] / n["SMART", adds],
            {"1 over the printed 0.54": 1 / published.text("smart")["params_norm"]},
        ),
    }
    return audit.judged({id: readings[id] for id in ids})


def _printed_ratio() -> float:
    return published.text("float")["params_vs_oat"] / published.text("smart")["params_norm"]


def counted(metrics: pd.DataFrame) -> pd.Series:
    """Return the counts of the published networks by method and metric."""
    rows = select(metrics, dataset="cifar10", backbone="resnet34")
    rows = rows[rows["lam"].isna() & rows["seed"].isna()]
    return rows.drop_duplicates(["method", "metric"], keep="last").set_index(["method", "metric"])[
        "value"
    ]


def overheads(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the costs of the published networks as Table 2 has them, one row for each number.

    params_stored and params_norm (one path) and operations (of energy, 8 bit) are multiples of the
    plain network, MACs and ADDs beyond it are in millions. PGD-AT is two plain networks.
    """
    n = counted(metrics)
    energy = select(metrics, dataset="cifar10", backbone="resnet34", metric="add_equivalents")
    energy = energy.drop_duplicates(["method", "lam"], keep="last").set_index(["method", "lam"])
    rows = []
    for method in ("PGD-AT", "OAT", "FLOAT", "SMART"):
        own, networks = (method, 1) if method in n.index.levels[0] else ("plain", 2)
        for lam in (0.0, 1.0):
            operations = energy["value"][own, lam] / energy["value"]["plain", lam]
            costs = {
                "params_stored": networks * n[own, "params_union"] / n["plain", "params_union"],
                "params_norm": networks * n[own, "params_per_path"] / n["plain", "params_union"],
                "mac_overhead_m": (n[own, "macs"] - n["plain", "macs"]) / 1e6,
                "add_overhead_m": lam * n[own, "noise_adds"] / 1e6,
                "operations": operations,
            }
            for metric, cost in costs.items():
                rows.append({"method": method, "lam": lam, "metric": metric, "value": cost})
    return pd.DataFrame(rows)
