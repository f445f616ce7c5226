"""95 % intervals of accuracies and of their differences, from rows of metrics.csv.

Rows hold percent in `value` and images in `n`, one row for each seed, and in memory also `run`, the
network that was trained, `made`, what a conversion made of it, and `bits`, which images were right.
Two intervals add up in squares. Images: which of them happened to be in the test set; accuracies on
the same images are compared image by image. Seeds: how far trainings differ that only the seed
tells apart, pooled over the networks of a data set, of so few degrees of freedom that only this
part is Student's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit

from lib.errors import UserError, check_range, choose
from lib.spread import Spread, shrunk

Z95 = 1.96
TAIL = 0.025  # outside of each end of an interval
LEAST = 1e-12  # p-value that is told apart
EXACT = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, low <= value <= high.

    images and seeds are the two parts of its squared standard error; seeds has df degrees of
    freedom, of which there are total where they come from a spread that several networks share.
    Where the spread of seeds is not known, the interval is one of images alone.
    """

    value: float
    low: float
    high: float
    images: float = 1.0
    seeds: float = 0.0
    df: float = math.inf
    total: float = math.inf
    known: bool = True

    @property
    def signed(self) -> str:
        """Return it as a difference, '+41.2 [38.0, 44.1]'."""
        return f"{self.value:+.1f} [{self.low:.1f}, {self.high:.1f}]"

    @property
    def error(self) -> float:
        return math.sqrt(self.images + self.seeds)

    def reach(self, tail: float = TAIL) -> float:
        """Return how far an interval reaches to either side, with so much outside of each end."""
        parts = ((math.inf, self.images), (self.df, self.seeds))
        return math.hypot(*(quantile(df, tail) * math.sqrt(part) for df, part in parts))

    def __sub__(self, other: Estimate) -> Estimate:
        """Return how far it is above an independent one."""
        seeds = _together(Seeds(one.seeds, one.df, one.total, one.known) for one in (self, other))
        return _estimate(self.value - other.value, self.images + other.images, seeds)

    def minus(self, constant: float) -> Estimate:
        """Return how far it is above a constant."""
        value, low, high = (end - constant for end in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high)

    def p_above(self, limit: float) -> float:
        """Return the p-value of the hypothesis that the truth is not above a limit.

        It is 0.025 for a limit at an end of the interval, which may reach further to one side.
        """
        if math.isinf(limit):
            return float(limit > 0)
        half = self.value - self.low if limit < self.value else self.high - self.value
        halves = abs(self.value - limit) / max(half, EXACT)
        p = LEAST
        if self.reach(LEAST) > halves * self.reach():
            ends = math.log(LEAST), math.log(0.5)
            log = brentq(lambda log: self.reach(math.exp(log)) - halves * self.reach(), *ends)
            p = math.exp(log)
        return p if limit < self.value else 1 - p

    def p_below(self, limit: float) -> float:
        """Return the p-value of the hypothesis that the truth is not below a limit."""
        return 1 - self.p_above(limit)


def quantile(df: float, tail: float = TAIL) -> float:
    """Return how many standard errors an interval reaches to either side."""
    return -float(stdtrit(df, tail) if math.isfinite(df) else ndtri(tail))


class Seeds(NamedTuple):
    """The variance that seeds give an accuracy or a difference, as an Estimate has it."""

    variance: float
    df: float
    total: float = math.inf
    known: bool = True


def _estimate(value: float, images: float, seeds: Seeds) -> Estimate:
    half = Estimate(value, value, value, images, *seeds).reach()
    low, high = max(-100.0, value - half), min(100.0, value + half)
    return Estimate(value, low, high, images, *seeds)


def _together(parts: Iterable[Seeds]) -> Seeds:
    """Return the sum of variances, with the df of Welch and Satterthwaite.

    Those that share a spread have no more than its total.
    """
    parts = list(parts)
    counted = [one for one in parts if one.variance > 0]
    variance = sum(one.variance for one in counted)
    weight = sum(one.variance**2 / one.df for one in counted)
    total = max((one.total for one in counted), default=math.inf)
    df = min(variance**2 / weight, total) if weight else math.inf
    return Seeds(variance, df, total, all(one.known for one in parts))


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


def _seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of one accuracy, one for each seed, by seed; refuse any others."""
    if rows.empty:
        raise UserError("A claim needs at least one measured row, but none was given.")
    if len(rows) > 1 and ("seed" not in rows or rows["seed"].duplicated().any()):
        raise UserError("A claim needs one row for each seed; select one lam, attack and metric.")
    for value in rows["value"]:
        check_range("An accuracy in percent", float(value), 0, 100)
    if not rows["n"].min() >= 1:
        n = rows["n"].min()
        raise UserError(f"An accuracy needs the number of images it was measured on, not n = {n}.")
    return rows.set_index("seed") if "seed" in rows else rows


def accuracy(rows: pd.DataFrame, spread: Spread | None = None) -> Estimate:
    """Return the mean accuracy over seeds in percent with its interval.

    For one seed whose spread is not known it is Wilson's, of the images alone.
    """
    by_seed = _seeds(rows)
    mean, n = float(by_seed["value"].mean()), int(by_seed["n"].min())
    low, high = wilson(min(mean / 100, 1.0), n)
    p = shrunk(mean, n)
    images, seeds = 1e4 * p * (1 - p) / n, _level(rows, spread)
    half = quantile(seeds.df) * math.sqrt(seeds.variance)
    return Estimate(
        mean,
        max(0.0, mean - math.hypot(mean - low, half)),
        min(100.0, mean + math.hypot(high - mean, half)),
        images,
        *seeds,
    )


def difference(a: pd.DataFrame, b: pd.DataFrame, spread: Spread | None = None) -> Estimate:
    """Return accuracy a minus accuracy b in points with its interval.

    Images are compared one by one where both accuracies are of the same ones. Where both are of the
    same networks, only the spread of their change counts; where that is not known, the spreads of
    both accuracies, which is wider. Without a spread that of the rows themselves is taken, for
    which they must be of several seeds.
    """
    one, other = _seeds(a), _seeds(b)
    gap = float(one["value"].mean() - other["value"].mean())
    same = "run" in a and a["run"].notna().all() and set(a["run"]) == set(b["run"])
    seeds = (same and _change(a, b, spread)) or _together(_level(r, spread) for r in (a, b))
    return _estimate(gap, _image_variance(a, b), seeds)


def _level(rows: pd.DataFrame, spread: Spread | None) -> Seeds:
    """Return the variance that seeds give a mean accuracy."""
    if found := spread and spread.level(rows):
        return Seeds(found[0] / len(rows), *found[1:])
    if len(rows) > 1:
        return Seeds(float(rows["value"].var()) / len(rows), len(rows) - 1)
    return Seeds(0.0, math.inf, known=False)


def _change(a: pd.DataFrame, b: pd.DataFrame, spread: Spread | None) -> Seeds | None:
    """Return the variance of the change of the same networks, None if it is not known."""
    if found := spread and spread.change(a, b):
        return Seeds(found[0] / len(a), *found[1:])
    if len(a) > 1:
        gaps = _seeds(a)["value"] - _seeds(b)["value"]
        return Seeds(float(gaps.var()) / len(gaps), len(gaps) - 1)
    return None


def _image_variance(a: pd.DataFrame, b: pd.DataFrame) -> float:
    """Return the variance, in squared points, that the choice of test images gives a difference.

    Two images that differ, one each way, are added, so that no difference is certain (Bonett and
    Price 2012). Where images cannot be paired, both accuracies are taken to be independent.
    """
    hits = [_hits(rows) for rows in (a, b)]
    if all(one is not None for one in hits) and len(hits[0]) == len(hits[1]):
        gaps = hits[0] - hits[1]
        return float(1e4 * (((gaps - gaps.mean()) ** 2).sum() + 2) / (len(gaps) + 2) ** 2)
    total = 0.0
    for rows in (a, b):
        n = float(rows["n"].min())
        p = shrunk(rows["value"].mean(), n)
        total += float(1e4 * p * (1 - p) / n)
    return total


def _hits(rows: pd.DataFrame) -> Any:
    """Return for each image in how many seeds and draws it was right, a share; None if unknown."""
    if "bits" not in rows or rows["bits"].isna().any() or rows["n"].min() < rows["n"].max():
        return None
    n = int(rows["n"].iloc[0])
    draws = [draw for bits in rows["bits"] for draw in bits.split()]
    digits = [f"{int(draw, 16):0{n}b}".encode() for draw in draws]
    return np.mean([np.frombuffer(text, np.uint8) == ord("1") for text in digits], axis=0)
