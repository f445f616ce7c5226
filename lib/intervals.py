"""95 % intervals of accuracies and of their differences, from rows of metrics.csv.

Rows hold percent in `value` and images in `n`, one row for each seed. Intervals cover the
sampling of images and the spread between trainings, measured over seeds or allowed for where there
is one; both are independent parts whose half-widths add in quadrature (MOVER, Zou and Donner 2008).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral

import pandas as pd
from scipy.special import stdtrit

from lib.errors import UserError, check_range, choose

Z95 = 1.96
MANY = 10**9  # degrees of freedom of a spread that is given, not estimated

# Points by which trainings differ that only the seed tells apart, allowed for where there is a
# single seed: the standard deviation over three seeds, pooled over all networks, trade-offs and
# attacks of results/quick/smart. For other data it stands in for a spread that nobody has measured.
SEED_SD = {"clean_acc": 1.1, "robust_acc": 7.4}


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, low <= value <= high."""

    value: float
    low: float
    high: float

    @property
    def signed(self) -> str:
        """Return it as a difference, '+41.2 [38.0, 44.1]'."""
        return f"{self.value:+.1f} [{self.low:.1f}, {self.high:.1f}]"

    def __sub__(self, other: Estimate) -> Estimate:
        """Return how far it is above an independent one, as the half-widths say together."""
        value = self.value - other.value
        below = math.hypot(self.value - self.low, other.high - other.value)
        above = math.hypot(self.high - self.value, other.value - other.low)
        return Estimate(value, value - below, value + above)


def wilson(successes: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion, in percent.

    successes is a count if it is an integer and a fraction of n in [0, 1] if it is a float.
    """
    if not n >= 1 or n != int(n):
        raise UserError(f"An interval needs at least one image, but n is {n}.")
    if isinstance(successes, Integral):
        p = check_range("The number of successes", int(successes), 0, int(n)) / n
    else:
        p = check_range("A fraction of successes", float(successes), 0, 1)
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if p == 0 else max(0.0, middle - half)
    high = 1.0 if p == 1 else min(1.0, middle + half)
    return 100 * low, 100 * high


def select(metrics: pd.DataFrame, **columns: object) -> pd.DataFrame:
    """Return the rows whose columns have the given values (a list: any of them); never none."""
    rows = metrics
    for name, wanted in columns.items():
        choose("column of the metrics", name, map(str, metrics.columns))
        options = list(wanted) if isinstance(wanted, list | tuple | set) else [wanted]
        kept = rows[rows[name].isin(options)]
        if kept.empty:
            found = ", ".join(sorted(map(str, rows[name].dropna().unique()))[:8]) or "nothing"
            asked = ", ".join(map(str, options))
            raise UserError(f"No measurement has {name} = {asked}; there is {found}.")
        rows = kept
    if rows.empty:
        raise UserError("There are no measurements to select from.")
    return rows


def scores(metrics: pd.DataFrame, method: str, metric: str, lam: float) -> pd.DataFrame:
    """Return the accuracies of a method at one lam, one row for each seed.

    Of several attacks the first counts, which is the paper's.
    """
    rows = select(metrics, method=method, metric=metric, lam=lam)
    return rows[rows["attack"] == rows["attack"].iloc[0]]


def _by_seed(rows: pd.DataFrame) -> tuple[list[float], int]:
    """Return one accuracy in percent per seed and the (smallest) number of images."""
    if rows.empty:
        raise UserError("A claim needs at least one measured row, but none was given.")
    if len(rows) > 1 and ("seed" not in rows or rows["seed"].duplicated().any()):
        raise UserError("A claim needs one row for each seed; select one lam, attack and metric.")
    values = [float(v) for v in rows["value"]]
    for value in values:
        check_range("An accuracy in percent", value, 0, 100)
    n = rows["n"].min()
    if not n >= 1:
        raise UserError(f"An accuracy needs the number of images it was measured on, not n = {n}.")
    return values, int(n)


def _seed_error(values: list[float], rows: pd.DataFrame) -> tuple[float, int]:
    """Return s^2 / S of S seeds and its degrees of freedom; for one seed what is allowed for it."""
    if len(values) < 2:
        metric = rows["metric"].iloc[0] if "metric" in rows else "robust_acc"
        return SEED_SD[metric] ** 2, MANY
    return float(pd.Series(values).var()) / len(values), len(values) - 1


def _paired_error(a: pd.DataFrame, b: pd.DataFrame) -> tuple[float, int]:
    """Return s^2 / S of the differences by seed and its degrees of freedom; 0 for one seed."""
    if set(a["seed"]) != set(b["seed"]):
        raise UserError("Accuracies of the same networks need the same seeds; measure both.")
    gaps = a.set_index("seed")["value"] - b.set_index("seed")["value"]
    return (float(gaps.var()) / len(gaps), len(gaps) - 1) if len(gaps) > 1 else (0.0, MANY)


def _seed_half(parts: Iterable[tuple[float, int]]) -> float:
    """Return the half-width that seeds add: t of Welch-Satterthwaite times the standard error."""
    parts = [(error, df) for error, df in parts if error > 0]
    if not parts:
        return 0.0
    total = sum(error for error, _ in parts)
    df = total**2 / sum(error**2 / df for error, df in parts)
    return float(stdtrit(df, 0.975)) * math.sqrt(total)


def accuracy(rows: pd.DataFrame) -> Estimate:
    """Return the mean accuracy over seeds in percent with its interval."""
    values, n = _by_seed(rows)
    mean = sum(values) / len(values)
    low, high = wilson(min(mean / 100, 1.0), n)
    seeds = _seed_half([_seed_error(values, rows)])
    return Estimate(
        mean,
        max(0.0, mean - math.hypot(mean - low, seeds)),
        min(100.0, mean + math.hypot(high - mean, seeds)),
    )


def difference(a: pd.DataFrame, b: pd.DataFrame, same_networks: bool = False) -> Estimate:
    """Return accuracy a minus accuracy b in points with its interval.

    Images: Newcombe's hybrid score interval (1998, method 10) for independent proportions. Both
    accuracies are usually of the same images, which makes it wider than needed. Where they are of
    the same_networks, the spread between trainings counts only as far as it is one of differences
    between seeds, which a single seed does not show.
    """
    (values_a, n_a), (values_b, n_b) = _by_seed(a), _by_seed(b)
    mean_a, mean_b = sum(values_a) / len(values_a), sum(values_b) / len(values_b)
    low_a, high_a = wilson(min(mean_a / 100, 1.0), n_a)
    low_b, high_b = wilson(min(mean_b / 100, 1.0), n_b)
    if same_networks:
        seeds = _seed_half([_paired_error(a, b)])
    else:
        seeds = _seed_half([_seed_error(values_a, a), _seed_error(values_b, b)])
    below = math.hypot(mean_a - low_a, high_b - mean_b)
    above = math.hypot(high_a - mean_a, mean_b - low_b)
    gap = mean_a - mean_b
    return Estimate(
        gap,
        max(-100.0, gap - math.hypot(below, seeds)),
        min(100.0, gap + math.hypot(above, seeds)),
    )
