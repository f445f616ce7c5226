"""What the SMART paper claims, artifact by artifact, judged from the rows of metrics.csv. No torch.

Verdicts of accuracies come from the intervals of what was measured; see `lib.claims`. Published
values, and the claims on counts with their tolerances, are read from data/reference.
"""

from __future__ import annotations

from itertools import pairwise

import pandas as pd

from lib import claims, published
from lib.claims import Claim, greater, no_worse, share
from lib.intervals import difference
from lib.papers.scores import MARGIN, SCORES, scores, value


def fig4_lambda_sweep(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Figure 4: one SMART network does what PGD-AT does with one network per lam."""
    found = []
    for name, rows in metrics.groupby("dataset", sort=False):
        found += _alike(f"fig4-{name}", rows, "PGD-AT", judge)
        found += _switchable(f"fig4-{name}", rows, judge)
    return claims.table(found)


def fig5_fgsm(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Figure 5: under FGSM SMART does as well as OAT."""
    return claims.table(_alike("fig5", metrics, "OAT", judge))


def _alike(id: str, metrics: pd.DataFrame, other: str, judge: bool) -> list[Claim]:
    """Judge at every lam that SMART is no worse than another method in both accuracies."""
    found = []
    for lam in sorted(metrics["lam"].dropna().unique()):
        for metric, short in SCORES.items():
            found.append(
                no_worse(
                    f"{id}-{short}-{lam:g}",
                    f"SMART is as good as {other}: {short} accuracy at lam = {lam:g}",
                    scores(metrics, "SMART", metric, lam),
                    scores(metrics, other, metric, lam),
                    MARGIN,
                    judge=judge,
                )
            )
    return found


def _switchable(id: str, metrics: pd.DataFrame, judge: bool) -> list[Claim]:
    """Judge that lam moves one SMART network along the trade-off, step by step."""
    table = published.read("smart/table2_comparison")
    lams = sorted(metrics["lam"].dropna().unique())
    found = []
    for metric, high, low in (("clean_acc", 0.0, 1.0), ("robust_acc", 1.0, 0.0)):
        above, below = (scores(metrics, "SMART", metric, lam) for lam in (high, low))
        size = value(table, "SMART", metric, high) - value(table, "SMART", metric, low)
        short = SCORES[metric]
        claim = f"One SMART network trades {short} accuracy: lam = {high:g} above lam = {low:g}"
        found.append(greater(f"{id}-trades-{short}", claim, above, below, size, judge=judge))
    steps = list(pairwise(lams))
    moved = sum(any(_differ(metrics, metric, *step) for metric in SCORES) for step in steps)
    claim = "Every step of lam moves SMART beyond the noise of either accuracy"
    return [*found, share(f"{id}-steps", claim, moved, len(steps), judge=judge)]


def _differ(metrics: pd.DataFrame, metric: str, one: float, other: float) -> bool:
    found = difference(*(scores(metrics, "SMART", metric, lam) for lam in (one, other)))
    return found.low > 0 or found.high < 0
