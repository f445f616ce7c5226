"""How far trainings spread that only the seed tells apart, pooled over networks.

data/spread/ holds it for the recorded results of each preset; `python -m lib spread` remakes it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import digamma, fdtrc, logit, polygamma

from lib import paths

FOLDER = paths.ROOT / "data/spread"
KNOWN = ["dataset", "metric", "ends"]  # what a spread is known for
TABLE = [*KNOWN, "variance", "df", "total"]
Known = tuple[float, float, float]
MADE = "made"  # stands for ends where a conversion changes the network
UNEVEN = 0.05  # p-value of an F test below which a network spreads more than the others
FLOOR = 0.01  # of the mean: three seeds that happen to agree say nothing of so little


@dataclass(frozen=True)
class Spread:
    """What is known of the variance between seeds: a network's own, moderated by all others'.

    table has the columns dataset, metric, ends, variance, df, total. ends is '0' or '+' for
    accuracies at lam = 0 and above it, whose variance is one of their logits; '0 +', '+ +' or '0 0'
    for the change of one network from a trade-off or width to another, in squared points, MADE for
    that from a network to what a conversion makes of it. df tells
    how alike networks are: so many degrees of freedom the variance counts beside a network's own
    (Smyth 2004, as for gene expression: few repeats of many things). total is what all networks
    were trained for together; as a network's own seeds are among them, nothing counts more. A
    network that spreads significantly more than the others is not moderated towards them.
    """

    table: pd.DataFrame

    def level(self, rows: pd.DataFrame) -> Known | None:
        """Return the variance in squared points of one training's accuracy, its df and total."""
        p = shrunk(rows["value"].mean(), rows["n"].min())
        found = self._moderated(rows, end(rows), _logits(rows))
        return found and (found[0] * (100 * p * (1 - p)) ** 2, *found[1:])

    def change(self, a: pd.DataFrame, b: pd.DataFrame) -> Known | None:
        """Return the variance in squared points of one network's change from a to b, and so on.

        Another way to read a network may use the other batch norms: it counts as the other end.
        """
        other = "method" in a and a["method"].iloc[0] != b["method"].iloc[0]
        ends = "0 +" if other else " ".join(sorted((end(a), end(b)), reverse=True))
        if "made" in a and set(a["made"]) != set(b["made"]):
            ends = MADE
        b = b.set_index("run").loc[a["run"]]
        return self._moderated(a, ends, a["value"].to_numpy() - b["value"].to_numpy())

    def _moderated(self, rows: pd.DataFrame, ends: str, values: Any) -> Known | None:
        if not {"dataset", "metric"} <= set(rows):
            return None
        prior = self._best.get((rows["dataset"].iloc[0], rows["metric"].iloc[0], ends))
        if prior is None:
            return None
        variance, df, total = prior
        own, more = (float(np.var(values, ddof=1)), len(values) - 1) if len(values) > 1 else (0, 0)
        moderated = (df * variance + more * own) / (df + more)
        uneven = bool(variance and more and fdtrc(more, df, own / variance) < UNEVEN)
        return own if uneven else moderated, min(df + more, total), total

    @cached_property
    def _best(self) -> dict[tuple[str, str, str], Known]:
        rows = self.table.sort_values("total")[TABLE]
        return {
            (dataset, metric, ends): (float(variance), float(df), float(total))
            for dataset, metric, ends, variance, df, total in rows.itertuples(index=False)
        }


def end(rows: pd.DataFrame) -> str:
    """Return at which end of the trade-off rows of one lam are: '0', or '+' above it."""
    return "+" if "lam" in rows and rows["lam"].iloc[0] > 0 else "0"


def shrunk(percent: Any, n: Any) -> Any:
    """Return a proportion, half an image away from 0 and 1."""
    return (percent / 100 * n + 0.5) / (n + 1)


def _logits(rows: pd.DataFrame) -> Any:
    return logit(shrunk(rows["value"], rows["n"]).to_numpy(dtype=float))


def known(preset: str, metrics: pd.DataFrame) -> Spread:
    """Return what is known for a preset: from its recorded results, or from these rows.

    Of the two, `Spread` takes what more trainings tell.
    """
    file = FOLDER / f"{preset}.csv"
    recorded = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=TABLE)
    parts = [part for part in (recorded, pooled(metrics)) if len(part)]
    return Spread(pd.concat(parts) if parts else recorded)


def pooled(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the table of a Spread, from all rows of networks that were trained with several seeds.

    Trainings, told apart by their first seed's, count once for each pair of ends, under whatever
    labels. Another attack changes less than another trade-off and is left out of the changes.
    """
    rows = metrics[metrics["metric"].isin(("clean_acc", "robust_acc"))]
    rows = rows.sort_values("seed", kind="stable")
    found: list[dict[str, Any]] = []
    for (dataset, backbone, method, metric), group in rows.groupby(
        ["dataset", "backbone", "method", "metric"], sort=False
    ):
        wide = {
            where: part.drop_duplicates("seed").sort_values("seed").reset_index()
            for where, part in group.groupby(["lam", "attack"], sort=False)
        }
        name = group.get("run", group["method"]).fillna(method).iloc[0]
        network = {"dataset": dataset, "metric": metric, "network": f"{backbone} {name}"}
        for part in wide.values():
            found.append(network | {"ends": end(part)} | _variance(_logits(part)))
        for (one, a), (other, b) in combinations(wide.items(), 2):
            same = "run" in a and a["run"].notna().all() and a["run"].equals(b["run"])
            if same and one[1] == other[1]:
                ends = " ".join(sorted((end(a), end(b)), reverse=True))
                gaps = (a["value"] - b["value"]).to_numpy(dtype=float)
                found.append(network | {"ends": ends} | _variance(gaps))
    found += _conversions(rows) if "made" in rows else []
    table = pd.DataFrame(found, columns=[*KNOWN, "network", "variance", "df"])
    each = table[table["df"] > 0].groupby([*KNOWN, "network"], sort=False).mean().reset_index()
    priors = [
        (
            *what,
            *prior(group["variance"].to_numpy(float), group["df"].to_numpy(float)),
            group["df"].sum(),
        )
        for what, group in each.groupby(KNOWN, sort=False)
    ]
    return pd.DataFrame(priors, columns=TABLE).astype(dict.fromkeys(TABLE[3:], float))


def _conversions(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield how far the changes spread that a conversion makes to networks of several seeds."""
    same = ["dataset", "backbone", "metric", "lam", "attack", "run"]
    trained = rows["made"] == rows["run"]
    both = rows[~trained].merge(rows[trained].drop_duplicates(same), on=same, suffixes=("", "_of"))
    by = [*same[:-1], "method", "method_of"]
    for (dataset, backbone, metric, *_), part in both.groupby(by, sort=False):
        found = _variance((part["value"] - part["value_of"]).to_numpy(dtype=float))
        name = f"{backbone} {part['made'].iloc[0]}"
        yield {"dataset": dataset, "metric": metric, "network": name, "ends": MADE} | found


def _variance(values: Any) -> dict[str, float]:
    df = len(values) - 1
    return {"variance": float(np.var(values, ddof=1)) if df else 0.0, "df": df}


def prior(variances: Any, dfs: Any) -> tuple[float, float]:
    """Return the variance that networks have in common, and the df that it is worth for one more.

    Their variances are taken to be scaled inverse chi-squared; its moments are those of the logs
    (Smyth 2004, section 6.2). What networks of equal spread tell together bounds the df.
    """
    mean, total = float(np.average(variances, weights=dfs)), float(dfs.sum())
    if len(variances) < 3 or mean == 0:
        return mean, total
    logs = np.log(np.maximum(variances, FLOOR * mean)) - digamma(dfs / 2) + np.log(dfs / 2)
    excess = float(logs.var(ddof=1) - polygamma(1, dfs / 2).mean())
    if excess <= polygamma(1, total / 2):
        return mean, total
    df = float(brentq(lambda x: polygamma(1, x / 2) - excess, 1e-2, total))
    return float(np.exp(logs.mean() + digamma(df / 2) - np.log(df / 2))), df
