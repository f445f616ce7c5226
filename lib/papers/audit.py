"""The audit: what the analytic figures of the SMART and FLOAT papers come to when recomputed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from lib import claims, reference
from lib.errors import choose
from lib.papers.study import Builder, Study
from lib.published import Reading, readings
from lib.rows import frame, row

NAME = "audit/published_numbers"


def published_numbers(
    preset: str = "quick", seeds: Iterable[int] = (0,), overrides: Mapping[str, Any] | None = None
) -> Study:
    """Plan the recomputation of every analytic figure of SMART and FLOAT; it trains nothing."""
    return Builder(NAME, preset, seeds, overrides).study()


def recompute() -> dict[str, Reading]:
    """Return the readings of every figure by id, in the order of the published ones."""
    found = readings()
    return {id: found[id] for id in reference.read(NAME)["id"]}


def metrics(study: Study, found: Mapping[str, Reading]) -> pd.DataFrame:
    """Return the rows of metrics.csv; metric is 'id:role:name of the reading'.

    Roles: published; plain, the reading that is judged; caveat; context, which never is.
    """
    rows = []
    for figure in reference.read(NAME).itertuples():
        reading = found[figure.id]
        roles = [("published", figure.where, figure.value)]
        if reading.value is not None:
            roles.append(("plain", reading.name, reading.value))
        roles += [("caveat", name, value) for name, value in reading.caveats.items()]
        roles += [("context", name, value) for name, value in reading.context.items()]
        for role, name, value in roles:
            metric = f"{figure.id}:{role}:{name}"
            rows.append(row(study, method=_method(figure.id), metric=metric, value=value))
    return frame(rows)


def judged(found: Mapping[str, Reading]) -> list[claims.Claim]:
    """Judge recomputed figures by id: the plain reading decides, a caveat earns 'partly'."""
    figures = reference.read(NAME).fillna({"unit": ""}).set_index("id")
    out = []
    for id, reading in found.items():
        figure = figures.loc[choose("published figure", id, figures.index)]
        unit = _unit(figure["unit"])
        what = (id, f"{figure['claim']} ({figure['where']})")
        if reading.value is None:
            shown, verdict = f"{figure['value']:g}{unit}", claims.NOT_JUDGED
            out.append(claims.Claim(*what, "analytic", shown, reading.name, "", "", verdict))
            continue
        numbers = (figure["value"], reading.value, figure["tolerance"])
        out.append(claims.analytic(*what, *numbers, partly=reading.caveats, unit=unit))
    return out


def judge(found: Mapping[str, Reading]) -> pd.DataFrame:
    """Return the rows of claims.csv."""
    return claims.table(judged(found))


def lines(metrics: pd.DataFrame, *ids: str) -> pd.DataFrame:
    """Return what was published and recomputed of some figures, to be shown."""
    parts = (
        metrics["metric"].str.split(":", n=2, expand=True).set_axis(["id", "role", "as"], axis=1)
    )
    rows = parts.assign(value=metrics["value"])
    rows = rows[rows["id"].isin(ids)]
    claim = rows["id"].map(reference.read(NAME).set_index("id")["claim"])
    rows = rows.assign(figure=claim.mask(rows["id"].duplicated(), ""))
    return rows[["figure", "role", "as", "value"]].round(4).reset_index(drop=True)


def _method(id: str) -> str:
    """Return the paper that prints a figure."""
    return id.split("-")[0].upper()


def _unit(unit: str) -> str:
    return unit if unit in ("x", "") else f" {unit}"
