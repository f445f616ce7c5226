"""The rows of metrics.csv: everything a study measures, trained and evaluated where missing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from lib import evaluate, progress, runs
from lib.claims import wilson
from lib.papers import Job, Study
from lib.protocol import Protocol
from lib.recipe import PgdAt, Recipe

COLUMNS = [
    *("paper", "artifact", "dataset", "backbone", "method", "seed", "lam", "attack"),
    *("metric", "value", "ci_low", "ci_high", "n"),
]


def fit(study: Study) -> dict[str, runs.Run]:
    """Return the finished run of every network of a study by key; train what is missing."""
    done: dict[str, runs.Run] = {}
    for job in study.jobs:
        if job.recipe.key not in done:
            with progress.task(f"{job.label}, seed {job.recipe.seed}") as report:
                done[job.recipe.key] = runs.fit(job.recipe, report)
    return done


def row(study: Study, recipe: Recipe | None = None, **values: Any) -> dict[str, Any]:
    """Return one row with the columns that the study and a recipe decide filled in."""
    out: dict[str, Any] = dict.fromkeys(COLUMNS)
    out |= {"paper": study.paper, "artifact": study.name}
    if recipe:
        width = f"-{recipe.model.width}" if recipe.model.width else ""
        out |= {"dataset": recipe.data.dataset, "backbone": recipe.model.backbone + width}
        out |= {"seed": recipe.seed}
    return out | values


def frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a tidy frame in the order of COLUMNS."""
    return pd.DataFrame(list(rows), columns=COLUMNS)


def accuracy_row(
    study: Study, job: Job, protocol: Protocol, record: dict[str, Any]
) -> dict[str, Any]:
    """Return the row of one evaluation: percent with its 95 % Wilson interval."""
    method = job.recipe.method
    low, high = wilson(record["correct"] / record["n"], record["n"])
    return row(
        study,
        job.recipe,
        method=job.label,
        lam=method.lam if isinstance(method, PgdAt) else protocol.lam,
        attack=protocol.name,
        metric="clean_acc" if protocol.attack == "none" else "robust_acc",
        value=100 * record["correct"] / record["n"],
        ci_low=low,
        ci_high=high,
        n=record["n"],
    )


def measure(study: Study) -> pd.DataFrame:
    """Return every accuracy of a study as rows of metrics.csv."""
    fitted = fit(study)
    rows = []
    for job in study.jobs:
        run = fitted[job.recipe.key]
        for protocol in job.protocols:
            with progress.task(f"{job.label}, {protocol.name}, lam {protocol.lam:g}") as report:
                record = evaluate.evaluate(run, protocol, report)
            rows.append(accuracy_row(study, job, protocol, record))
    return frame(rows)
