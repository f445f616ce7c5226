"""Verdicts on the claims of data/reference/<paper>/claims.csv, from the rows of metrics.csv.

One rule for all. A claim says where a difference lies: above 0, above a share of the paper's, not
below a margin, within one. It is 'reproduced' if the 95 % interval lies there, 'not reproduced' if
all of the interval lies elsewhere, and else 'not judged', with the reason and what would settle it.
The claims of one artifact share the risk of a wrong verdict, 5 % in all (Holm 1979).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from lib import claims, compare, datasets
from lib.claims import NOT_JUDGED, NOT_REPRODUCED, PARTLY, REPRODUCED
from lib.compare import COMPARISONS, SCORES, TESTS, WRONG, Found
from lib.errors import UserError, choose
from lib.intervals import quantile
from lib.spread import Spread, known
from lib.study import Study

Row = Mapping[str, Any]
MOST_SEEDS = 20


def judge(
    study: Study, metrics: pd.DataFrame, worked_out: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Return the rows of claims.csv for every claim on a study's artifact.

    worked_out maps the ids of claims that no comparison of accuracies decides to what they rest on:
    booleans, one for each case ('count'), the Estimate of a ratio ('ratio', 'at most') or of a
    difference (any comparison), several of them by the names of their cases, which must all hold,
    or one with 'some', a Reading ('reading'), or a text: why this study cannot tell.
    """
    stated = claims.stated(study.artifact)
    rows = [{str(k): v for k, v in row.items()} for row in stated.to_dict("records")]
    given = dict(worked_out or {})
    for id in given:
        choose("claim", id, list(stated["id"]))
    spread = known(study.preset.name, metrics)
    found = [_found(row, metrics, spread, given.get(row["id"])) for row in rows]
    return claims.table(decided(rows, found, study.why_not))


def _found(claim: Row, metrics: pd.DataFrame, spread: Spread, given: Any) -> Found:
    if claim["why_not"]:
        return Found("", fixed=NOT_JUDGED)
    if isinstance(given, str):
        return Found(given, fixed=NOT_JUDGED)
    test = TESTS[choose("test of a claim", claim["test"], TESTS)]
    if given is None:
        if test is compare.gap:
            return compare.compared(claim, metrics, spread)
        raise UserError(f"Claim {claim['id']} needs what it rests on; hand it to the judge.")
    cases = given if isinstance(given, Mapping) else {"": given}
    found = [replace(test(claim, one), case=name) for name, one in cases.items()]
    rests = _measured(metrics) if test is compare.gap else {}
    return replace(compare.together(claim, found), **rests)


def _measured(metrics: pd.DataFrame) -> dict[str, Any]:
    """Return on how many seeds and images, of how many at most, accuracies rest."""
    rows = metrics[metrics["metric"].isin(SCORES)]
    if rows.empty:
        return {}
    names = [name for name in rows["dataset"].unique() if name in datasets.names()]
    most = max((datasets.spec(name).count("test") for name in names), default=0)
    images = int(rows["n"].min())  # of the slowest attack, which intervals are widest for
    return {"seeds": rows["seed"].nunique(), "images": images, "most": most}


def decided(rows: Sequence[Row], found: Sequence[Found], why_not: str = "") -> list[dict[str, Any]]:
    """Return the rows of claims.csv; why_not is why nothing measured is judged, '' if it is."""
    open_ = [one for one in found if not one.fixed and (not one.estimate or one.estimate.known)]
    open_.sort(key=lambda one: min(one.p_for, one.p_against), reverse=True)
    out = {}
    while open_ and min(open_[-1].p_for, open_[-1].p_against) <= WRONG / len(open_):  # Holm
        one = open_.pop()
        out[id(one)] = _verdict(one)
    return [
        _row(claim, one, one.fixed or out.get(id(one), NOT_JUDGED), why_not, max(1, len(open_)))
        for claim, one in zip(rows, found, strict=True)
    ]


def _verdict(found: Found) -> str:
    if found.p_for < found.p_against:
        return PARTLY if found.weak else REPRODUCED
    return NOT_REPRODUCED


def _row(claim: Row, found: Found, verdict: str, why_not: str, together: int) -> dict[str, Any]:
    """Return one row of claims.csv; so many claims that are still open share the risk."""
    why = claim["why_not"]
    if claim["kind"] == "measured" and not why and why_not:
        verdict, why = NOT_JUDGED, why_not
    elif verdict == NOT_JUDGED and not why:
        why = _why(found, together)
    least, needs = ("", "")
    if verdict == NOT_JUDGED and found.estimate and not claim["why_not"]:
        least = f"{found.estimate.reach(WRONG / found.chances / together):.1f}"
        needs = _needs(found, found.chances * together)
    return {
        "id": claim["id"],
        "claim": claim["claim"],
        "kind": claim["kind"],
        "paper_value": paper_value(claim),
        "our_value": found.ours,
        "difference": found.difference,
        "tolerance": found.tolerance,
        "verdict": verdict,
        "why": why,
        "least": least,
        "needs": needs,
    }


def paper_value(claim: Row) -> str:
    """Return what the paper prints, or the relation that it claims."""
    test, value, limit = claim["test"], claim["value"], claim["limit"]
    if math.isnan(value):
        plain = {"above": "> 0", "no worse": "not below 0", "same": "about 0", "moves": "not 0"}
        plain |= {"ratio": f"> {limit:g}x", "at most": f"< {limit:g}x"}
        return plain.get(test, "all" if math.isnan(limit) else f"{limit:.0%}")
    if test in ("ratio", "at most"):
        return f"{value:g}x"
    if test in COMPARISONS and test != "close":
        return f"{value:+.2f}"
    unit = claim["unit"] if claim["unit"] in ("x", "") else f" {claim['unit']}"
    return f"{value:.10g}{unit}"


def _why(found: Found, together: int) -> str:
    one = found.estimate
    if one is None and (found.fixed or min(found.p_for, found.p_against) > WRONG * found.chances):
        return found.ours if found.fixed else "the interval leaves it open"
    if one and not one.known:
        return "one seed: how far trainings differ is not known"
    if one is None or found.room >= one.reach():
        return f"too close for one of {found.chances * together} comparisons"
    if found.room < one.error:
        return "equal to the limit within noise"
    few = quantile(math.inf) * math.sqrt(one.images) >= found.room
    return "too few images" if few else "too few seeds"


def _needs(found: Found, chances: int) -> str:
    """Return what would settle an open claim if the difference stayed as it is.

    That is the fewest seeds with as many images as there are.
    """
    one = found.estimate
    if one is None or not one.known or not found.images:
        return "a second seed" if one and not one.known else ""
    most = max(found.images, found.most)
    for seeds in range(found.seeds, MOST_SEEDS + 1):
        errors = quantile(one.df + seeds - found.seeds, WRONG / chances)
        left = found.room**2 - errors**2 * one.seeds * found.seeds / seeds
        wanted = quantile(math.inf, WRONG / chances) ** 2 * one.images * found.images
        if left > 0 and left * most >= wanted:
            images = min(most, 100 * math.ceil(wanted / left / 100))
            more = [f"{seeds} seeds"] * (seeds > found.seeds)
            more += [f"{images:,} images"] * (images > found.images)
            return ", ".join(more)
    return "more than anyone trains"
