"""The audit: published counts recomputed, and SMART's observations under two training loops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from lib import claims, published
from lib.errors import UserError, choose
from lib.intervals import difference
from lib.papers import smart_claims
from lib.papers.scores import SCORES, scores
from lib.readings import Reading, readings
from lib.rows import frame, row
from lib.studies import smart
from lib.study import Builder, Study, plan

NAME = "audit/published_numbers"
LOOPS = {"Algorithm 1": "alg1", "released loop": "released"}  # of training, by what labels say
COMPARED = ("method.pattern", "method.overlap", "method.loop")


@plan("audit/published_numbers")
def published_numbers(b: Builder) -> None:
    """Plan the recomputation of every analytic figure of SMART and FLOAT; it trains nothing."""


@plan("audit/observations")
def observations(b: Builder) -> None:
    """Plan SMART's Table 1 under the paper's Algorithm 1 and under the released training loop."""
    for name in COMPARED:
        if name in b.overrides:
            raise UserError(f"'{name}' is what audit/observations compares and cannot be set.")
    for setting, seed in b.settings():
        for loop, code in LOOPS.items():
            for label, method in smart.MASKS.items():
                recipe = b.recipe(setting, seed, replace(method, loop=code))
                b.add(f"{label}, {loop}", recipe, (0.0, 1.0), [smart.PGD7])


def of_loop(metrics: pd.DataFrame, loop: str) -> pd.DataFrame:
    """Return the rows of networks that one loop trained, under the labels of Table 1."""
    rows = metrics[metrics["method"].str.endswith(f", {loop}")]
    return rows.assign(method=rows["method"].str.removesuffix(f", {loop}"))


def judge_observations(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Table 1 under each loop, then whether masks everywhere cost more under the released.

    That last question is ours. It is about two differences at once, and one seed says too little
    about how trainings spread to answer it.
    """
    parts, sparse, dense = [], *smart_claims.TABLE1[:2]
    for loop, code in LOOPS.items():
        part = smart_claims.table1_mask_density(of_loop(metrics, loop), judge)
        ids = part["id"].str.replace("table1", f"observations-{code}")
        parts.append(part.assign(id=ids, claim=part["claim"] + f" ({loop})"))
    judge = judge and len(set(metrics["seed"])) > 1
    for metric, short in SCORES.items():
        alg1, released = (
            difference(*(scores(of_loop(metrics, loop), a, metric, 1.0) for a in (dense, sparse)))
            for loop in LOOPS
        )
        claim = f"Masks everywhere cost more {short} accuracy at lam = 1 under the released loop"
        id = f"observations-loops-{short}"
        one = claims.larger(id, claim, released, alg1, judge, paper="ours")
        parts.append(claims.table([one]))
    return pd.concat(parts, ignore_index=True)


def recompute() -> dict[str, Reading]:
    """Return the readings of every figure by id, in the order of the published ones."""
    found = readings()
    return {id: found[id] for id in published.read(NAME)["id"]}


def metrics(study: Study, found: Mapping[str, Reading]) -> pd.DataFrame:
    """Return the rows of metrics.csv; metric is 'id:role:name of the reading'.

    Roles: published; plain, the reading that is judged; caveat; context, which never is.
    """
    rows = []
    for figure in published.read(NAME).itertuples():
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
    figures = published.read(NAME).fillna({"unit": ""}).set_index("id")
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
    claim = rows["id"].map(published.read(NAME).set_index("id")["claim"])
    rows = rows.assign(figure=claim.mask(rows["id"].duplicated(), ""))
    return rows[["figure", "role", "as", "value"]].round(4).reset_index(drop=True)


def _method(id: str) -> str:
    """Return the paper that prints a figure."""
    return id.split("-")[0].upper()


def _unit(unit: str) -> str:
    return unit if unit in ("x", "") else f" {unit}"
