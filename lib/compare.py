"""What the sentence of a claim compares: its cases, and how well each of them is supported."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import pandas as pd

from lib import datasets
from lib.claims import NOT_JUDGED, pairs
from lib.errors import UserError, choose
from lib.intervals import TAIL, Estimate, accuracy, difference, select
from lib.readings import Reading
from lib.spread import Spread

Row = Mapping[str, Any]
RANGES = ("dataset", "lam", "rise", "fall", "case")  # what a sentence can be about several of
SCORES = ("clean_acc", "robust_acc")
WRONG = TAIL  # of a verdict on one claim alone, either way
PARTLY = "partly"


@dataclass(frozen=True)
class Found:
    """What a claim, or a case of it, came to.

    p_for is the p-value of the hypothesis that the claim is wrong, p_against of the one that it is
    right. fixed is the verdict on what has nothing to do with chance. room is how far the estimate
    is from where the claim would turn, in its own unit, of a ratio in its logarithm's; seeds and
    images are what it rests on, of the most images that there are (0: not known).
    """

    ours: str
    difference: str = ""
    tolerance: str = ""
    case: str = ""
    fixed: str = ""
    p_for: float = 1.0
    p_against: float = 1.0
    weak: bool = False  # right, but less so than the paper says
    estimate: Estimate | None = None
    room: float = 0.0
    seeds: int = 1
    images: int = 0
    most: int = 0
    chances: int = 1  # of a wrong verdict, where one of several cases would do

    @property
    def rank(self) -> tuple[float, ...]:
        """Return what is larger the less supported this is; where chance tells no more, by room."""
        signed = math.copysign(self.room, self.p_against - self.p_for)
        return self.p_for, -self.p_against, -signed


@dataclass(frozen=True)
class Side:
    """One of the two accuracies that a case compares, in rows of one data set and network."""

    rows: pd.DataFrame
    method: str
    lam: float

    def __str__(self) -> str:
        return f"{self.method} at λ = {self.lam:g}"

    def scores(self, metric: str) -> pd.DataFrame:
        return select(self.rows, method=self.method, metric=metric, lam=self.lam)


def compared(claim: Row, metrics: pd.DataFrame, spread: Spread) -> Found:
    """Return what a comparison of accuracies came to: its worst case, or its best of 'some'.

    A claim about each of several cases holds if the worst of them does, and fails if one of them
    does, of which there are so many chances; with 'some' it is the other way round. Attacks that
    the claim does not name do not count, unless it names none, and of several the first that both
    sides met; data sets but the first only where it ranges over them, and likewise backbones where
    a label stands for several. Cases with a network that the preset leaves out do not count.
    """
    rows = metrics[metrics["metric"].isin(SCORES)]
    if claim["attack"]:
        rows = rows[rows["attack"].isin([*claim["attack"].split(), "none"])]
    ranges = [*claim["each"].split(), *claim["some"].split()]
    for name in ranges:
        choose("range of a claim", name, RANGES)
    networks = rows.groupby(["dataset", "method"])["backbone"].nunique()
    apart = ["dataset", "backbone"] if networks.max() > 1 else ["dataset"]
    panels = list(rows.groupby(apart, sort=False))
    found = []
    for names, panel in panels if "dataset" in ranges else panels[:1]:
        for a, b in sides(claim, panel, ranges):
            for metrics_ in claim["metric"].split():
                either = [_case(claim, a, b, metric, spread) for metric in metrics_.split("|")]
                best = _best(either)
                found.append(replace(best, case=", ".join([*names, best.case])))
    return _beside(found[0], claim) if len(found) == 1 else together(claim, found)


def together(claim: Row, found: list[Found]) -> Found:
    """Return what several cases come to: the worst of them, or the best of 'some', named."""
    if not found:
        return Found("this preset trains no such networks", fixed=NOT_JUDGED)
    if len(found) == 1:
        return replace(found[0], ours=f"{found[0].ours} ({found[0].case})".removesuffix(" ()"))
    which, out = ("best", _best(found)) if claim["some"] else ("worst", _worst(found))
    return replace(out, ours=f"{out.ours} ({which} of {len(found)}: {out.case})")


def _beside(found: Found, claim: Row) -> Found:
    """Return what was found, with whether its interval holds the difference that the paper prints.

    That is said of single comparisons: a paper prints the smallest of several, maybe another.
    """
    one, value = found.estimate, claim["value"]
    if one is None or math.isnan(value) or claim["test"] == "close":
        return found
    held = "holds" if one.low <= value <= one.high else "does not hold"
    return replace(found, tolerance=f"{found.tolerance}; {held} the paper's")


def _worst(found: list[Found]) -> Found:
    """Return the least supported of cases that must all hold, of supported ones a weak one."""
    worst = max(found, key=lambda case: (case.p_for > WRONG, case.weak, case.rank))
    p_for, against = max(case.p_for for case in found), min(case.p_against for case in found)
    chances = worst.chances * (1 if p_for < against else len(found))
    return replace(worst, p_for=p_for, p_against=min(1.0, len(found) * against), chances=chances)


def _best(found: list[Found]) -> Found:
    """Return the best supported of cases of which one must hold, first of those that reach."""
    n = len(found)
    best = min(found, key=lambda case: (case.weak or n * case.p_for > WRONG, case.rank))
    against = max(case.p_against for case in found)
    chances = best.chances * (n if best.p_for < against else 1)
    return replace(best, p_for=min(1.0, n * best.p_for), p_against=against, chances=chances)


def sides(claim: Row, rows: pd.DataFrame, ranges: list[str]) -> Iterator[tuple[Side, Side]]:
    """Yield what a claim compares: a against b, trade-off by trade-off or step by step.

    Without methods every two of them are compared, without trade-offs every one that both have.
    """
    methods = dict.fromkeys(rows["method"])
    for a, b in pairs(claim) if claim["a"] else permutations(methods, 2):
        if not {a, b} <= methods.keys():
            continue
        shared = (set(rows.loc[rows["method"] == m, "lam"]) for m in (a, b))
        here = [float(lam) for lam in claim["lam_a"].split()] or sorted(set.intersection(*shared))
        there = [float(lam) for lam in claim["lam_b"].split()] or here
        if "rise" in ranges or "fall" in ranges:  # from a trade-off to the next larger one
            there, here = here[:-1], here[1:]
            if "fall" in ranges:
                here, there = there, here
        for lam_a, lam_b in zip(here, there, strict=True):
            yield Side(rows, a, lam_a), Side(rows, b, lam_b)


def _case(claim: Row, a: Side, b: Side, metric: str, spread: Spread) -> Found:
    name, rows, other = "CA" if metric == "clean_acc" else "RA", a.scores(metric), b.scores(metric)
    attacks = set(other["attack"])
    shared = next((x for x in rows["attack"] if x in attacks), None)  # the first, else of each
    rows, other = (r[r["attack"] == (shared or r["attack"].iloc[0])] for r in (rows, other))
    mean, dataset = rows["value"].mean(), rows["dataset"].iloc[0]
    most = datasets.spec(dataset).images[2] if dataset in datasets.names() else 0
    seeds, images = len(rows), int(rows["n"].min())
    if claim["test"] == "close":
        found = gap(claim, accuracy(rows, spread).minus(claim["value"]))
        shown, where = f"{mean:.1f}", f"{name}, {a}"
    else:
        found = gap(claim, difference(rows, other, spread))
        shown = f"{mean:.1f} vs {other['value'].mean():.1f}"
        where = f"{name}, {a}" + (f" and {b}" if str(b) != str(a) else "")
    return replace(found, ours=shown, case=where, seeds=seeds, images=images, most=most)


COMPARISONS = ("above", "size", "no worse", "same", "close", "moves")
RATIOS = ("ratio", "at most")


def bounds(claim: Row) -> tuple[float, float, str]:
    """Return between which limits a claim says that a difference lies, and how that is said."""
    limit, size = claim["limit"], claim["limit"] * claim["value"]
    inside = (-limit, limit, f"interval inside ±{limit:g}")
    found = {
        "above": (0.0, math.inf, "interval above 0"),
        "size": (size, math.inf, f"interval above {size:.1f}"),
        "no worse": (-limit, math.inf, f"interval above -{limit:g}"),
        "moves": (-limit, limit, f"interval without 0; not if inside ±{limit:g}"),
    }
    return found.get(claim["test"], inside)


def gap(claim: Row, found: Estimate) -> Found:
    """Return how well a difference of accuracies, in points, supports a claim."""
    low, high, tolerance = bounds(claim)
    if claim["test"] == "moves":  # not 0, against within the limits
        p_for = min(found.p_above(0), found.p_below(0))
        p_against = max(found.p_above(low), found.p_below(high))
        room = max(abs(found.value), high - abs(found.value))
    else:
        p_for = max(found.p_above(low), found.p_below(high))
        p_against = min(found.p_below(low), found.p_above(high))
        room = min(abs(found.value - low), abs(found.value - high))
    if not found.known:
        p_for = p_against = 1.0
    shown = (found.signed, found.signed, tolerance)
    return Found(*shown, p_for=p_for, p_against=p_against, estimate=found, room=room)


def count(claim: Row, cases: pd.Series[bool]) -> Found:
    """Return the verdict on something that holds in cases: in all, or in the share of the limit.

    Partly reproduced is what holds in at least half as many.
    """
    need = 1.0 if math.isnan(claim["limit"]) else claim["limit"]
    hits, total = int(cases.sum()), len(cases)
    if not total:
        raise UserError(f"Claim {claim['id']} needs at least one case.")
    half = PARTLY if hits >= need * total / 2 else "not reproduced"
    verdict = "reproduced" if hits >= need * total - 1e-9 else half
    off = f"{hits - need * total:+.3g}"
    return Found(f"{hits} of {total}", off, f"at least {need * total:.3g}", fixed=verdict)


def ratio(claim: Row, ours: Estimate) -> Found:
    """Return how well a ratio supports that it is above the limit, or below that of 'at most'.

    Where the paper prints how much, a ratio whose whole interval is smaller is 'partly'.
    """
    most, limit = claim["test"] == "at most", claim["limit"]
    value, low, high = (math.log(x) for x in (ours.value, ours.low, ours.high))
    log = Estimate(value, low, high, images=0.0, seeds=1.0, df=ours.df)
    above, below = log.p_above(math.log(limit)), log.p_below(math.log(limit))
    tolerance = f"interval {'below' if most else 'above'} {limit:g}"
    weak = not math.isnan(claim["value"]) and ours.high < claim["value"]
    if not math.isnan(claim["value"]):
        limit = claim["value"]
        tolerance += f", reaching {limit:g}"
    low, value, high = (x - limit for x in (ours.low, ours.value, ours.high))
    return Found(
        f"{ours.value:.2f}x [{ours.low:.2f}, {ours.high:.2f}]",
        f"{value:+.2f} [{low:+.2f}, {high:+.2f}]",
        tolerance,
        p_for=below if most else above,
        p_against=above if most else below,
        weak=weak,
        room=abs(log.value - math.log(claim["limit"])),
    )


def reading(claim: Row, found: Reading) -> Found:
    """Return the verdict on a number that follows from a formula: within the limit, or not.

    'Partly' is what holds only under a reading that needs a caveat, which is named.
    """
    if found.value is None:
        return Found(found.name, fixed="not judged")
    unit = claim["unit"] if claim["unit"] in ("x", "") else f" {claim['unit']}"
    paper, limit = claim["value"], claim["limit"]
    slack = limit * (1 + 1e-9) + 1e-12
    verdict, shown, note = "not reproduced", found.value, ""
    if abs(found.value - paper) <= slack:
        verdict = "reproduced"
    elif found.caveats:
        name, value = min(found.caveats.items(), key=lambda item: abs(item[1] - paper))
        if abs(value - paper) <= slack:
            note = f" ({name}; else {_number(found.value)}{unit})"
            verdict, shown = PARTLY, value
    off = round(shown - paper, 9)
    ours = f"{_number(shown)}{unit}{note}"
    return Found(ours, f"{off:+.3g}" if off else "0", f"{limit:.3g}", fixed=verdict)


def _number(value: float) -> str:
    """Return four significant digits, never in powers of ten: 21.28, 0.5358, 33355."""
    digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{digits}f}" if abs(value) < 1e4 else f"{value:.0f}"


TESTS: dict[str, Callable[[Row, Any], Found]] = dict.fromkeys(COMPARISONS, gap)
TESTS |= dict.fromkeys(RATIOS, ratio) | {"count": count, "reading": reading}
