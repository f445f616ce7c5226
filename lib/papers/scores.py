"""Accuracies picked from metrics.csv and from the papers' tables, to be judged. No torch."""

from __future__ import annotations

import pandas as pd

from lib import claims
from lib.claims import Claim
from lib.intervals import scores
from lib.judge import paper_value, reading
from lib.readings import Reading

__all__ = ["MARGIN", "SCORES", "SIZE", "gap", "judged", "scores", "value"]

MARGIN = 2.0  # points within which two accuracies count as similar, if the interval fits too
SIZE = 0.25  # share of the paper's gap that a large gap must reach here
SCORES = {"clean_acc": "clean", "robust_acc": "robust"}


def value(table: pd.DataFrame, method: str, metric: str, lam: float) -> float:
    """Return a published accuracy."""
    return float(scores(table.assign(seed=0), method, metric, lam)["value"].iloc[0])


def gap(table: pd.DataFrame, a: str, b: str, metric: str, lam: float) -> float:
    """Return by how many points method a is published to be above method b."""
    return value(table, a, metric, lam) - value(table, b, metric, lam)


def judged(found: dict[str, Reading]) -> list[Claim]:
    """Judge recomputed figures by id: the plain reading decides, a caveat earns 'partly'."""
    rows = claims.stated("audit/published_numbers").set_index("id", drop=False)
    out = []
    for id, one in found.items():
        row = rows.loc[id]
        came = reading(row, one)
        said = (id, f"{row['claim']} ({row['where']})", "analytic", paper_value(row))
        out.append(Claim(*said, came.ours, came.difference, came.tolerance, came.verdict))
    return out
