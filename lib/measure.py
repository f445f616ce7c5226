"""The rows of metrics.csv: everything a study measures, trained and evaluated where missing."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch

from lib import evaluate, flags, progress, runs
from lib.errors import UserError
from lib.intervals import wilson
from lib.protocol import Protocol
from lib.rows import frame, row
from lib.study import Job, Study


def fit(study: Study) -> dict[str, runs.Run]:
    """Return the finished run of every network of a study by key; train what is missing."""
    done: dict[str, runs.Run] = {}
    for job in study.jobs:
        if job.recipe.key not in done:
            with progress.task(f"{job.label}, seed {job.recipe.seed}") as report:
                done[job.recipe.key] = runs.fit(job.recipe, report)
    return done


def accuracy_row(
    study: Study, job: Job, protocol: Protocol, record: dict[str, Any]
) -> dict[str, Any]:
    """Return the row of one evaluation: percent with its 95 % Wilson interval."""
    right = record["correct"] / (record["n"] * len(record["bits"].split()))
    low, high = wilson(right, record["n"])
    return row(
        study,
        job.recipe,
        method=job.label,
        lam=job.lam(protocol),
        attack=protocol.name,
        detail=job.detail(protocol),
        metric="clean_acc" if protocol.attack == "none" else "robust_acc",
        value=100 * right,
        ci_low=low,
        ci_high=high,
        n=record["n"],
        run=job.recipe.trained.key,
        made=job.recipe.key,
        bits=record["bits"],
    )


def union_rows(
    study: Study, job: Job, records: Mapping[Protocol, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return a row for each trade-off of a job that asks for it: images that withstand everything.

    An image counts if it is right under every attack, and not if one breaks it; with weight noise,
    in each draw. All attacks must be on the same images.
    """
    rows = []
    attacked = [p for p in records if job.union and p.attack != "none"]
    for lam in dict.fromkeys(p.lam for p in attacked):
        same = [p for p in attacked if p.lam == lam]
        bits = [evaluate.unpack(records[p]["bits"], records[p]["n"]) for p in same]
        if len({(p.images, p.split, hits.shape) for p, hits in zip(same, bits, strict=True)}) > 1:
            raise UserError(
                f"The attacks on '{job.label}' are on different images or draws of noise; for a "
                "union of them set evaluation.images."
            )
        hits = torch.stack(bits).all(0)
        found = {"n": hits.shape[1], "correct": int(hits.sum()), "bits": evaluate.pack(hits)}
        row = accuracy_row(study, job, same[0], found)
        rows.append(row | {"attack": "union", "detail": None})
    return rows


def _accuracies(
    study: Study, job: Job, records: Mapping[Protocol, dict[str, Any]]
) -> list[dict[str, Any]]:
    rows = [accuracy_row(study, job, p, record) for p, record in records.items()]
    whole = len(records) == len(job.protocols)
    return rows + (union_rows(study, job, records) if whole else [])


def measure(study: Study, fitted: Mapping[str, runs.Run] | None = None) -> pd.DataFrame:
    """Return every accuracy of a study as rows of metrics.csv.

    fitted is what `fit` returned, if it was called: checking every file of weights takes a while.
    """
    fitted = fit(study) if fitted is None else fitted
    rows = []
    for job in study.jobs:
        run, records = fitted[job.recipe.key], {}
        for protocol in job.protocols:
            with progress.task(f"{job.label}, {protocol.name}, lam {protocol.lam:g}") as report:
                records[protocol] = evaluate.evaluate(run, protocol, report)
        rows += _accuracies(study, job, records)
    metrics = frame(rows)
    return metrics.assign(flags=flags.of(study, metrics))


def recorded(study: Study) -> pd.DataFrame:
    """Return the rows of those accuracies of a study that are recorded, by whatever code."""
    rows = []
    for job in study.jobs:
        if run := runs.find(job.recipe, records=True):
            found = ((p, evaluate.find(run, p, any_code=True)) for p in job.protocols)
            rows += _accuracies(study, job, {p: record for p, record in found if record})
    return frame(rows)
