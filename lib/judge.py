"""Verdicts on the claims of data/reference/<paper>/claims.csv, from the rows of metrics.csv.

A claim names a test and what it compares. Where a sentence is about several trade-offs, data sets
or steps, its worst case decides. What follows from counts, or from times, is worked out where the
reader sees it, in the notebook, and handed over by the id of its claim.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import pandas as pd

from lib.claims import COLUMNS, NOT_JUDGED, NOT_REPRODUCED, PARTLY, REPRODUCED, pairs, stated
from lib.errors import UserError, choose
from lib.intervals import Estimate, accuracy, difference, scores
from lib.readings import Reading
from lib.study import Study

Row = Mapping[str, Any]
RANK = (NOT_REPRODUCED, NOT_JUDGED, PARTLY, REPRODUCED)  # from the worst to the best
RANGES = ("dataset", "lam", "rise", "fall")  # what a sentence can be about several of
SCORES = ("clean_acc", "robust_acc")


@dataclass(frozen=True)
class Found:
    """What a claim, or a case of it, came to."""

    verdict: str
    ours: str
    difference: str = ""
    tolerance: str = ""
    why: str = ""
    case: str = ""


def judge(
    study: Study, metrics: pd.DataFrame, worked_out: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Return the rows of claims.csv for every claim on a study's artifact.

    worked_out maps the ids of claims that no comparison of accuracies decides to what they rest on:
    booleans, one for each case ('count'), the Estimate of a ratio ('ratio', 'at most') or of a
    difference (any comparison), a Reading ('reading').
    """
    given = dict(worked_out or {})
    claims = [
        {str(k): v for k, v in row.items()} for row in stated(study.artifact).to_dict("records")
    ]
    for id in given:
        choose("claim", id, [claim["id"] for claim in claims])
    rows = [_row(study, claim, metrics, given.get(claim["id"])) for claim in claims]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(study: Study, claim: Row, metrics: pd.DataFrame, given: Any) -> dict[str, Any]:
    test = claim["test"]
    if claim["why_not"]:
        found = Found(NOT_JUDGED, "", why=claim["why_not"])
    elif test in COMPARISONS:
        found = compared(study, claim, metrics) if given is None else gap(claim, given, "")
    elif given is not None:
        found = OTHERS[test](claim, given)
    else:
        raise UserError(f"Claim {claim['id']} needs what it rests on; hand it to the judge.")
    if claim["kind"] == "measured" and not claim["why_not"] and not study.judged:
        found = replace(found, verdict=NOT_JUDGED, why=study.why_not)
    return {
        "id": claim["id"],
        "claim": claim["claim"],
        "kind": claim["kind"],
        "paper_value": paper_value(claim),
        "our_value": found.ours,
        "difference": found.difference,
        "tolerance": found.tolerance,
        "verdict": found.verdict,
        "why": found.why,
    }


def paper_value(claim: Row) -> str:
    """Return what the paper prints, or the relation that it claims."""
    test, value, limit = claim["test"], claim["value"], claim["limit"]
    if math.isnan(value):
        plain = {"above": "> 0", "no worse": "not below 0", "same": "about 0", "moves": "not 0"}
        share = "all" if math.isnan(limit) else f"{limit:.0%}"
        return plain.get(test) or {"ratio": "> 1x", "at most": f"< {limit:g}x"}.get(test, share)
    if test in ("ratio", "at most"):
        return f"up to {value:g}x"
    if test in COMPARISONS and test != "close":
        return f"{value:+.2f}"
    return f"{value:.10g}{_unit(claim)}"


def _unit(claim: Row) -> str:
    return claim["unit"] if claim["unit"] in ("x", "") else f" {claim['unit']}"


@dataclass(frozen=True)
class Side:
    """One of the two accuracies that a case compares, in rows of one data set and network."""

    rows: pd.DataFrame
    method: str
    lam: float

    def __str__(self) -> str:
        return f"{self.method} at λ = {self.lam:g}"

    def scores(self, metric: str) -> pd.DataFrame:
        """Return the rows of one metric, one for each seed."""
        return scores(self.rows, self.method, metric, self.lam)

    def networks(self, study: Study) -> set[str]:
        """Return the keys of the networks that were measured."""
        return {
            job.recipe.key
            for job in study.jobs
            if job.label == self.method and self.lam in map(job.lam, job.protocols)
        }


def compared(study: Study, claim: Row, metrics: pd.DataFrame) -> Found:
    """Return what a comparison of accuracies came to: the worst of its cases, or the best of some.

    Attacks that the claim does not name do not count, unless it names none; data sets but the first
    only where it ranges over them.
    """
    rows = metrics[metrics["metric"].isin(SCORES)]
    if claim["attack"]:
        rows = rows[rows["attack"].isin([*claim["attack"].split(), "none"])]
    ranges = [*claim["each"].split(), *claim["some"].split()]
    for name in ranges:
        choose("range of a claim", name, RANGES)
    panels = list(rows.groupby(["dataset", "backbone"], sort=False))
    found = []
    for (dataset, _), panel in panels if "dataset" in ranges else panels[:1]:
        for a, b in sides(claim, panel, ranges):
            same = a.networks(study) == b.networks(study) != set()
            for metrics_ in claim["metric"].split():
                either = [_case(claim, a, b, metric, same) for metric in metrics_.split("|")]
                best = max(either, key=_rank)
                found.append(replace(best, case=f"{dataset}, {best.case}"))
    worst = (max if claim["some"] else min)(found, key=_rank)
    if len(found) == 1:
        return worst
    which = "best" if claim["some"] else "worst"
    return replace(worst, ours=f"{worst.ours} ({which} of {len(found)}: {worst.case})")


def _rank(found: Found) -> int:
    return RANK.index(found.verdict)


def sides(claim: Row, rows: pd.DataFrame, ranges: list[str]) -> Iterator[tuple[Side, Side]]:
    """Yield what a claim compares: a against b, trade-off by trade-off or step by step.

    Without methods every two of them are compared, without trade-offs every one that both have.
    """
    every = list(permutations(dict.fromkeys(rows["method"]), 2))
    for a, b in pairs(claim) if claim["a"] else every:
        shared = (set(rows.loc[rows["method"] == m, "lam"]) for m in (a, b))
        here = [float(lam) for lam in claim["lam_a"].split()] or sorted(set.intersection(*shared))
        there = [float(lam) for lam in claim["lam_b"].split()] or here
        if "rise" in ranges or "fall" in ranges:  # from a trade-off to the next larger one
            there, here = here[:-1], here[1:]
            if "fall" in ranges:
                here, there = there, here
        for lam_a, lam_b in zip(here, there, strict=True):
            yield Side(rows, a, lam_a), Side(rows, b, lam_b)


def _case(claim: Row, a: Side, b: Side, metric: str, same: bool) -> Found:
    """Return what one comparison came to."""
    name = "CA" if metric == "clean_acc" else "RA"
    rows = a.scores(metric)
    if claim["test"] == "close":
        ours = accuracy(rows)
        value = claim["value"]
        off = Estimate(ours.value - value, ours.low - value, ours.high - value)
        return gap(claim, off, f"{ours.value:.1f}", f"{name}, {a}")
    other = b.scores(metric)
    shown = f"{accuracy(rows).value:.1f} vs {accuracy(other).value:.1f}"
    where = f"{name}, {a}" + (f" and {b}" if str(b) != str(a) else "")
    return gap(claim, difference(rows, other, same), shown, where)


def gap(claim: Row, found: Estimate, ours: str, case: str = "") -> Found:
    """Return the verdict on a difference of accuracies, in points."""
    low, high, tolerance = COMPARISONS[claim["test"]](claim)
    if claim["test"] == "moves":
        verdict = REPRODUCED if found.low > 0 or found.high < 0 else NOT_JUDGED
        if -high < found.low and found.high < high:
            verdict = NOT_REPRODUCED
    else:
        verdict = inside(found, low, high)
    return Found(verdict, ours or found.signed, found.signed, tolerance, case=case)


def inside(found: Estimate, low: float = -math.inf, high: float = math.inf) -> str:
    """Return the verdict on 'low < found < high': all of the interval, none of it, or neither."""
    if low < found.low and found.high < high:
        return REPRODUCED
    return NOT_REPRODUCED if found.high <= low or found.low >= high else NOT_JUDGED


Bounds = tuple[float, float, str]
COMPARISONS: dict[str, Callable[[Row], Bounds]] = {
    "above": lambda claim: (0.0, math.inf, "interval above 0"),
    "size": lambda claim: (
        claim["limit"] * claim["value"],
        math.inf,
        f"interval above {claim['limit'] * claim['value']:.1f}",
    ),
    "no worse": lambda claim: (-claim["limit"], math.inf, f"interval above -{claim['limit']:g}"),
    "same": lambda claim: (-claim["limit"], claim["limit"], f"interval inside ±{claim['limit']:g}"),
    "close": lambda claim: (
        -claim["limit"],
        claim["limit"],
        f"interval inside ±{claim['limit']:g}",
    ),
    "moves": lambda claim: (0.0, claim["limit"], "interval without 0"),
}


def count(claim: Row, cases: pd.Series[bool]) -> Found:
    """Return the verdict on something that holds in cases: in all, or in the share of the limit.

    Partly reproduced is what holds in at least half as many.
    """
    need = 1.0 if math.isnan(claim["limit"]) else claim["limit"]
    hits, total = int(cases.sum()), len(cases)
    if not total:
        raise UserError(f"Claim {claim['id']} needs at least one case.")
    verdict = NOT_REPRODUCED
    if hits >= need * total - 1e-9:
        verdict = REPRODUCED
    elif hits >= need * total / 2:
        verdict = PARTLY
    off = f"{hits - need * total:+.3g}"
    return Found(verdict, f"{hits} of {total}", off, f"at least {need * total:.3g}")


def ratio(claim: Row, ours: Estimate) -> Found:
    """Return the verdict on a ratio above 1, or below the limit of 'at most'.

    Where the paper says up to how much, a ratio whose whole interval is smaller is 'partly'.
    """
    most = claim["test"] == "at most"
    limit = claim["limit"] if most else 1.0
    verdict = inside(ours, high=limit) if most else inside(ours, low=limit)
    tolerance = f"interval {'below' if most else 'above'} {limit:g}"
    if not math.isnan(claim["value"]):
        limit = claim["value"]
        tolerance += f", reaching {limit:g}"
        if verdict == REPRODUCED and ours.high < limit:
            verdict = PARTLY
    low, value, high = (x - limit for x in (ours.low, ours.value, ours.high))
    shown = f"{ours.value:.2f}x [{ours.low:.2f}, {ours.high:.2f}]"
    return Found(verdict, shown, f"{value:+.2f} [{low:+.2f}, {high:+.2f}]", tolerance)


def reading(claim: Row, found: Reading) -> Found:
    """Return the verdict on a number that follows from a formula: within the limit, or not.

    'Partly' is what holds only under a reading that needs a caveat, which is named.
    """
    if found.value is None:
        return Found(NOT_JUDGED, found.name, why="the paper does not print what it depends on")
    paper, limit = claim["value"], claim["limit"]
    slack = limit * (1 + 1e-9) + 1e-12
    verdict, shown, note = NOT_REPRODUCED, found.value, ""
    if abs(found.value - paper) <= slack:
        verdict = REPRODUCED
    elif found.caveats:
        name, value = min(found.caveats.items(), key=lambda item: abs(item[1] - paper))
        if abs(value - paper) <= slack:
            note = f" ({name}; else {_number(found.value)}{_unit(claim)})"
            verdict, shown = PARTLY, value
    off = round(shown - paper, 9)
    ours = f"{_number(shown)}{_unit(claim)}{note}"
    return Found(verdict, ours, f"{off:+.3g}" if off else "0", f"{limit:.3g}")


def _number(value: float) -> str:
    """Return four significant digits, never in powers of ten: 21.28, 0.5358, 33355."""
    digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{digits}f}" if abs(value) < 1e4 else f"{value:.0f}"


OTHERS: dict[str, Callable[[Row, Any], Found]] = {
    "count": count,
    "ratio": ratio,
    "at most": ratio,
    "reading": reading,
}
TESTS = (*COMPARISONS, *OTHERS)
