"""What a paper says, what we got, and the verdict: claims and claims.csv.

A claim about accuracies is judged by the interval of what we measured: 'reproduced' if all of it
lies where the claim says, 'not reproduced' if none of it does, else 'not judged'.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from lib import paths, published
from lib.errors import UserError, check_range, choose
from lib.intervals import Estimate, accuracy, difference, select, wilson

__all__ = [
    "Claim",
    "Estimate",
    "accuracy",
    "analytic",
    "close_to",
    "counts",
    "difference",
    "greater",
    "larger",
    "no_worse",
    "ratio",
    "read",
    "select",
    "share",
    "similar",
    "table",
    "to_markdown",
    "wilson",
]

REPRODUCED = "reproduced"
PARTLY = "partly"
NOT_REPRODUCED = "not reproduced"
NOT_JUDGED = "not judged"
VERDICTS = (REPRODUCED, PARTLY, NOT_REPRODUCED, NOT_JUDGED)
KINDS = ("analytic", "measured")


@dataclass(frozen=True)
class Claim:
    """One row of claims.csv; every field is text as it is to be read."""

    id: str
    claim: str
    kind: str
    paper_value: str
    our_value: str
    difference: str
    tolerance: str
    verdict: str

    def __post_init__(self) -> None:
        choose("kind of claim", self.kind, KINDS)
        choose("verdict", self.verdict, VERDICTS)


COLUMNS = [*(f.name for f in fields(Claim)), "why", "least", "needs"]
TEXT = (  # columns of data/reference/<paper>/claims.csv; limit is a number
    *("id", "artifact", "claim", "kind", "where", "words", "test", "metric", "a", "lam_a"),
    *("b", "lam_b", "attack", "each", "some", "value", "unit", "why_not"),
)


def stated(artifact: str = "") -> pd.DataFrame:
    """Return what the papers claim, of one artifact or of all, as data/reference has it.

    value, what the paper prints, is a number there, or where it stands: 'float/text:bytes_mb', or
    a table, as 'smart/table2_comparison': for printed a minus printed b, the smallest gap of
    several, or for printed a, where the test is about one number.
    """
    files = sorted(paths.REFERENCE.glob("*/claims.csv"))
    kinds: dict[str, type] = dict.fromkeys(TEXT, str) | {"limit": float}
    rows = pd.concat([pd.read_csv(file, dtype=kinds) for file in files], ignore_index=True)
    rows = rows.fillna(dict.fromkeys(TEXT, ""))
    if artifact:
        rows = rows[rows["artifact"] == artifact].reset_index(drop=True)
    return rows.assign(value=[_printed(row) for _, row in rows.iterrows()])


def _printed(claim: pd.Series[Any]) -> float:
    """Return the number that the paper prints, NaN without."""
    table, _, key = claim["value"].partition(":")
    if "/" not in table:
        return float(table or "nan")
    if key:
        return published.text(table.split("/")[0])[key]
    rows = published.read(table)

    def look(method: str, metric: str, lam: str) -> float:
        """Return a number of the table, of 'SMART' where it has no 'SMART, released loop'."""
        if method not in set(rows["method"]):
            method = method.partition(", ")[0]
        where: dict[str, Any] = {"lam": float(lam)} if lam else {}
        return float(select(rows, method=method, metric=metric, **where)["value"].iloc[0])

    lam_b = claim["lam_b"] or claim["lam_a"]
    if claim["test"] in ("close", "reading"):
        return look(claim["a"], claim["metric"], claim["lam_a"])
    gaps = [
        look(a, metric, claim["lam_a"]) - look(b, metric, lam_b)
        for a, b in pairs(claim)
        for metric in claim["metric"].split()
    ]
    return round(min(gaps), 9)


def pairs(claim: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the methods that a claim compares: pairwise, or one with several; a with itself."""
    firsts = claim["a"].split("; ")
    seconds = claim["b"].split("; ") if claim["b"] else firsts
    most = max(len(firsts), len(seconds))
    firsts, seconds = (side * (most // len(side)) for side in (firsts, seconds))
    return list(zip(firsts, seconds, strict=True))


def analytic(
    id: str,
    claim: str,
    paper: float,
    ours: float,
    tolerance: float,
    partly: Mapping[str, float] | None = None,
    unit: str = "",
) -> Claim:
    """Judge a number that follows from a formula: within tolerance of the paper's or not.

    partly maps conventions that need a caveat to what they give; where only one of them is within
    tolerance, the verdict is 'partly' and that value is shown with its convention.
    """
    check_range("A tolerance", tolerance, 0)
    slack = tolerance * (1 + 1e-9) + 1e-12
    verdict, shown, note = NOT_REPRODUCED, ours, ""
    if abs(ours - paper) <= slack:
        verdict = REPRODUCED
    elif partly:
        name, value = min(partly.items(), key=lambda item: abs(item[1] - paper))
        if abs(value - paper) <= slack:
            verdict, shown, note = PARTLY, value, f" ({name}; else {_number(ours)}{unit})"
    gap = round(shown - paper, 9)
    return Claim(
        id,
        claim,
        "analytic",
        f"{paper:.10g}{unit}",
        f"{_number(shown)}{unit}{note}",
        f"{gap:+.3g}" if gap else "0",
        f"{tolerance:.3g}",
        verdict,
    )


def greater(
    id: str,
    claim: str,
    a: pd.DataFrame,
    b: pd.DataFrame,
    paper_gap: float | None = None,
    size: float = 0.0,
    judge: bool = True,
    same_networks: bool = False,
) -> Claim:
    """Judge that accuracy a lies above accuracy b, by the interval of the difference.

    With size > 0 the claim is about how far as well: a gap in the right direction that is smaller
    than this share of the paper's is 'partly'. same_networks says that both accuracies are of the
    same networks, used in two ways.
    """
    if size and not (paper_gap or 0) > 0:
        raise UserError(f"Claim {id} is about the size of a gap; give a paper_gap above 0.")
    gap = difference(a, b, same_networks)
    verdict, tolerance = _inside(gap, above=0.0), "interval above 0"
    if size:
        least = size * (paper_gap or 0)
        tolerance += f", gap at least {least:.1f}"
        if verdict == REPRODUCED and gap.value < least:
            verdict = PARTLY
    return _compared(id, claim, paper_gap or "> 0", a, b, gap, tolerance, verdict, judge)


def similar(
    id: str,
    claim: str,
    a: pd.DataFrame,
    b: pd.DataFrame,
    margin: float,
    paper_gap: float | None = None,
    judge: bool = True,
) -> Claim:
    """Judge that two accuracies are within margin points of each other (equivalence)."""
    check_range("A margin", margin, 0)
    gap = difference(a, b)
    verdict, tolerance = _inside(gap, -margin, margin), f"interval inside ±{margin:g}"
    paper = "about 0" if paper_gap is None else paper_gap
    return _compared(id, claim, paper, a, b, gap, tolerance, verdict, judge)


def no_worse(
    id: str,
    claim: str,
    a: pd.DataFrame,
    b: pd.DataFrame,
    margin: float,
    paper_gap: float | None = None,
    judge: bool = True,
) -> Claim:
    """Judge that accuracy a is at most margin points below accuracy b (one-sided)."""
    check_range("A margin", margin, 0)
    gap = difference(a, b)
    verdict, tolerance = _inside(gap, above=-margin), f"interval above {0 - margin:g}"
    paper = "not below 0" if paper_gap is None else paper_gap
    return _compared(id, claim, paper, a, b, gap, tolerance, verdict, judge)


def larger(
    id: str, claim: str, gap: Estimate, other: Estimate, judge: bool = True, paper: str = "> 0"
) -> Claim:
    """Judge that one difference is larger than another, between networks trained independently.

    paper is what the paper says of it, or whose question it is where the paper says nothing.
    """
    more = gap - other
    return Claim(
        id,
        claim,
        "measured",
        paper,
        f"{gap.value:+.1f} vs {other.value:+.1f}",
        more.signed,
        "interval above 0",
        _inside(more, above=0.0) if judge else NOT_JUDGED,
    )


def close_to(
    id: str,
    claim: str,
    rows: pd.DataFrame,
    paper: float,
    tolerance: float,
    judge: bool = True,
) -> Claim:
    """Judge that an accuracy is within tolerance points of the paper's value."""
    check_range("A tolerance", tolerance, 0)
    ours = accuracy(rows)
    gap = Estimate(ours.value - paper, ours.low - paper, ours.high - paper)
    verdict = _inside(gap, -tolerance, tolerance)
    return Claim(
        id,
        claim,
        "measured",
        f"{paper:g}",
        f"{ours.value:.1f}",
        gap.signed,
        f"interval inside ±{tolerance:g}",
        verdict if judge else NOT_JUDGED,
    )


def share(
    id: str,
    claim: str,
    hits: int,
    total: int,
    need: float = 1.0,
    paper: str = "",
    judge: bool = True,
) -> Claim:
    """Judge that something holds in a share of cases: layers, trade-offs, pairs of networks.

    Reproduced where at least the needed share holds, partly where at least half of that does.
    """
    check_range("The number of cases", total, 1)
    check_range("The number of cases that hold", hits, 0, total)
    check_range("The needed share", need, 0, 1)
    verdict = NOT_REPRODUCED
    if hits >= need * total - 1e-9:
        verdict = REPRODUCED
    elif hits >= need * total / 2:
        verdict = PARTLY
    return Claim(
        id,
        claim,
        "measured",
        paper or ("all" if need == 1 else f"{need:.0%}"),
        f"{hits} of {total}",
        f"{hits - need * total:+.3g}",
        f"at least {need * total:.3g}",
        verdict if judge else NOT_JUDGED,
    )


def ratio(
    id: str,
    claim: str,
    ours: Estimate,
    paper: float | None = None,
    above: float = 1.0,
    below: float = math.inf,
    judge: bool = True,
) -> Claim:
    """Judge that a ratio lies between above and below, by its interval.

    With a paper value the claim is one of 'up to' so much as well: a ratio on the right side that
    is smaller than the paper's is 'partly'.
    """
    verdict, limit = _inside(ours, above, below), above if below == math.inf else below
    tolerance = f"interval {'above' if below == math.inf else 'below'} {limit:g}"
    if paper is not None:
        tolerance += f", at least {paper:g}"
        if verdict == REPRODUCED and ours.value < paper:
            verdict = PARTLY
    shown = f"{'>' if below == math.inf else '<'} {limit:g}x"
    if paper is not None:
        shown, limit = f"up to {paper:g}x", paper
    low, value, high = (x - limit for x in (ours.low, ours.value, ours.high))
    return Claim(
        id,
        claim,
        "measured",
        shown,
        f"{ours.value:.2f}x [{ours.low:.2f}, {ours.high:.2f}]",
        f"{value:+.2f} [{low:+.2f}, {high:+.2f}]",
        tolerance,
        verdict if judge else NOT_JUDGED,
    )


def _inside(gap: Estimate, above: float = -math.inf, below: float = math.inf) -> str:
    """Return the verdict on 'above < gap < below': all of the interval, none of it, or neither."""
    if above < gap.low and gap.high < below:
        return REPRODUCED
    return NOT_REPRODUCED if gap.high <= above or gap.low >= below else NOT_JUDGED


def _compared(
    id: str,
    claim: str,
    paper: float | str,
    a: pd.DataFrame,
    b: pd.DataFrame,
    gap: Estimate,
    tolerance: str,
    verdict: str,
    judge: bool,
) -> Claim:
    paper_value = paper if isinstance(paper, str) else f"{paper:+.2f}"
    ours = f"{accuracy(a).value:.1f} vs {accuracy(b).value:.1f}"
    verdict = verdict if judge else NOT_JUDGED
    return Claim(id, claim, "measured", paper_value, ours, gap.signed, tolerance, verdict)


def _number(value: float) -> str:
    """Return four significant digits, never in powers of ten: 21.28, 0.5358, 33355."""
    digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{digits}f}" if abs(value) < 1e4 else f"{value:.0f}"


def table(claims: Iterable[Claim]) -> pd.DataFrame:
    """Return claims as the rows of claims.csv; an id may occur once."""
    frame = pd.DataFrame([asdict(c) for c in claims], columns=COLUMNS).astype(str)
    frame[["why", "least", "needs"]] = ""
    twice = frame["id"][frame["id"].duplicated()]
    if len(twice):
        raise UserError(f"The claim '{twice.iloc[0]}' occurs twice; give each its own id.")
    return frame


def counts(claims: pd.DataFrame) -> dict[str, int]:
    """Return how many claims got each verdict, in the order of VERDICTS."""
    return {verdict: int((claims["verdict"] == verdict).sum()) for verdict in VERDICTS}


def read(path: Path) -> pd.DataFrame:
    """Return the claims of a claims.csv, all columns as text."""
    if not path.is_file():
        raise UserError(f"There are no claims at {path}; run the notebook that makes them first.")
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a table; remake it ({error}).") from error
    if list(frame.columns)[:8] != COLUMNS[:8] or not set(frame["verdict"]) <= set(VERDICTS):
        raise UserError(f"{path} does not hold claims as this version writes them; remake it.")
    return frame


def to_markdown(claims: pd.DataFrame, columns: Iterable[str] = COLUMNS) -> str:
    """Return the claims as a Markdown table."""
    columns = [choose("column of the claims", c, COLUMNS) for c in columns]
    lines = [
        "| " + " | ".join(c.replace("_", " ") for c in columns) + " |",
        "|---" * len(columns) + "|",
    ]
    for row in claims[columns].astype(str).itertuples(index=False):
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return "\n".join(lines) + "\n"
