"""How far trainings spread that only the seed tells apart, pooled over networks.

data/spread.csv holds it for the recorded results of each preset; `python -m lib spread` remakes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import pandas as pd
from scipy.special import logit

from lib import paths

FILE = paths.ROOT / "data/spread.csv"
KNOWN = ["dataset", "metric", "ends"]  # what a spread is known for


@dataclass(frozen=True)
class Spread:
    """How far trainings spread that only the seed tells apart, pooled over networks.

    table has the columns dataset, metric, ends, variance, df. ends is '0' or '+' for accuracies at
    lam = 0 and above it, whose variance is one of their logits; and '0 +', '+ +' or '0 0' for the
    change of one network from a trade-off, width or attack to another, in squared points.
    """

    table: pd.DataFrame

    def level(self, rows: pd.DataFrame) -> tuple[float, float] | None:
        """Return the variance in squared points of one training's accuracy, and its df."""
        found = self._find(rows, end(rows))
        p = shrunk(rows["value"].mean(), rows["n"].min())
        return found and (found[0] * (100 * p * (1 - p)) ** 2, found[1])

    def change(self, a: pd.DataFrame, b: pd.DataFrame) -> tuple[float, float] | None:
        """Return the variance in squared points of one network's change from a to b, and its df."""
        return self._find(a, " ".join(sorted((end(a), end(b)), reverse=True)))

    def _find(self, rows: pd.DataFrame, ends: str) -> tuple[float, float] | None:
        if not {"dataset", "metric"} <= set(rows):
            return None
        wanted = (rows["dataset"].iloc[0], rows["metric"].iloc[0], ends)
        return self._best.get(wanted)

    @cached_property
    def _best(self) -> dict[tuple[str, str, str], tuple[float, float]]:
        """Return variance and df by what they are known for, of the most df."""
        rows = self.table.sort_values("df")[[*KNOWN, "variance", "df"]].itertuples(index=False)
        return {(data, metric, ends): (float(v), float(df)) for data, metric, ends, v, df in rows}


def end(rows: pd.DataFrame) -> str:
    """Return at which end of the trade-off rows of one lam are: '0', or '+' above it."""
    return "+" if "lam" in rows and rows["lam"].iloc[0] > 0 else "0"


def shrunk(percent: Any, n: Any) -> Any:
    """Return a proportion, half an image away from 0 and 1."""
    return (percent / 100 * n + 0.5) / (n + 1)


def known(preset: str, metrics: pd.DataFrame) -> Spread:
    """Return what is known for a preset: from its recorded results, or from these rows.

    Of the two, `Spread` takes what more networks and seeds tell.
    """
    recorded = pd.read_csv(FILE) if FILE.is_file() else pd.DataFrame(columns=["preset", *KNOWN])
    recorded = recorded[recorded["preset"] == preset].drop(columns="preset")
    return Spread(
        pd.concat([part for part in (recorded, pooled(metrics)) if len(part)] or [recorded])
    )


def pooled(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the table of a Spread, from all rows of networks that were trained with several seeds.

    A network counts once for each pair of ends, however often it was measured there.
    """
    rows = metrics[metrics["metric"].isin(("clean_acc", "robust_acc"))]
    found = []
    for (dataset, backbone, method, metric), group in rows.groupby(
        ["dataset", "backbone", "method", "metric"], sort=False
    ):
        wide = {
            where: part.drop_duplicates("seed").set_index("seed")
            for where, part in group.groupby(["lam", "attack"], sort=False)
        }
        place = {"dataset": dataset, "metric": metric, "network": f"{backbone} {method}"}
        for part in wide.values():
            logits = logit(shrunk(part["value"], part["n"]))
            found.append(place | {"ends": end(part)} | _variance(logits))
        for a, b in combinations(wide.values(), 2):
            if "run" in rows and a["run"].notna().all() and a["run"].equals(b["run"]):
                ends = " ".join(sorted((end(a), end(b)), reverse=True))
                found.append(place | {"ends": ends} | _variance(a["value"] - b["value"]))
    table = pd.DataFrame(found, columns=[*KNOWN, "network", "variance", "df"])
    each = table[table["df"] > 0].groupby([*KNOWN, "network"], sort=False).mean().reset_index()
    each["variance"] *= each["df"]
    total = each.groupby(KNOWN, sort=False)[["variance", "df"]].sum().reset_index()
    return total.assign(variance=total["variance"] / total["df"])


def _variance(values: pd.Series[float]) -> Mapping[str, float]:
    return {"variance": float(values.var()), "df": len(values) - 1}
