"""What papers claim, as data/reference/<paper>/claims.csv has it, and the claims.csv of results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lib import paths, published
from lib.errors import UserError
from lib.intervals import select

REPRODUCED = "reproduced"
PARTLY = "partly"
NOT_REPRODUCED = "not reproduced"
NOT_JUDGED = "not judged"
VERDICTS = (REPRODUCED, PARTLY, NOT_REPRODUCED, NOT_JUDGED)
FIRM = ["id", "claim", "kind", "paper_value", "our_value", "difference", "tolerance", "verdict"]
COLUMNS = [*FIRM, "why", "least", "needs"]
TEXT = (  # columns of data/reference/<paper>/claims.csv; limit is a number
    *("id", "artifact", "claim", "kind", "where", "words", "test", "metric", "a", "lam_a"),
    *("b", "lam_b", "attack", "each", "some", "value", "unit", "why_not"),
)


def stated(artifact: str = "") -> pd.DataFrame:
    """Return what the papers claim, of one artifact or of all, as data/reference has it.

    value, what the paper prints, is a number there, or where it stands: 'float/text:bytes_mb', or
    a table, as 'PAPER/TABLE': for printed a minus printed b, the smallest gap of several, or for
    printed a, where the test is about one number; of the first data set and network, or of the
    worst or the best where the claim ranges over them, under the first attack that it names.
    """
    files = sorted(paths.REFERENCE.glob("*/claims.csv"))
    kinds: dict[str, type] = dict.fromkeys(TEXT, str) | {"limit": float}
    rows = pd.concat([pd.read_csv(file, dtype=kinds) for file in files], ignore_index=True)
    rows = rows.fillna(dict.fromkeys(TEXT, ""))
    if artifact:
        rows = rows[rows["artifact"] == artifact].reset_index(drop=True)
    return rows.assign(value=[_printed(row) for _, row in rows.iterrows()])


def _printed(claim: pd.Series[Any]) -> float:
    table, _, key = claim["value"].partition(":")
    if "/" not in table:
        return float(table or "nan")
    if key:
        return published.text(table.split("/")[0])[key]
    rows = published.read(table)
    attacks = [*claim["attack"].split(), "none"] if claim["attack"] else rows["attack"].unique()
    rows = rows[rows["attack"].isin(attacks)]
    panels = [panel for _, panel in rows.groupby(["dataset", "backbone"], sort=False)]
    ranges = claim["each"].split() + claim["some"].split()
    found = [_gap(claim, panel) for panel in (panels if "dataset" in ranges else panels[:1])]
    return round(max(found) if "dataset" in claim["some"].split() else min(found), 9)


def _gap(claim: pd.Series[Any], rows: pd.DataFrame) -> float:
    """Return what a table prints for a claim, of one data set and network."""

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
    return min(gaps)


def pairs(claim: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the methods that a claim compares: pairwise, or one with several; a with itself."""
    firsts = claim["a"].split("; ")
    seconds = claim["b"].split("; ") if claim["b"] else firsts
    most = max(len(firsts), len(seconds))
    firsts, seconds = (side * (most // len(side)) for side in (firsts, seconds))
    return list(zip(firsts, seconds, strict=True))


def table(rows: Iterable[Mapping[str, str]]) -> pd.DataFrame:
    """Return rows of claims.csv, blank where nothing is given; an id may occur once."""
    frame = pd.DataFrame([{**dict.fromkeys(COLUMNS, ""), **row} for row in rows], columns=COLUMNS)
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
    if list(frame.columns)[: len(FIRM)] != FIRM or not set(frame["verdict"]) <= set(VERDICTS):
        raise UserError(f"{path} does not hold claims as this version writes them; remake it.")
    return frame
