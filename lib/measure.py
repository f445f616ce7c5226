"""The rows of metrics.csv: everything a study measures, trained and evaluated where missing."""

from collections.abc import Mapping

import pandas as pd
import torch

from lib import evaluate, flags, progress, runs
from lib.errors import UserError
from lib.intervals import wilson
from lib.protocol import Protocol
from lib.rows import Row, frame, row
from lib.study import Job, Study


def fit(study: Study) -> dict[str, runs.Run]:
    """Return the finished run of every network of a study by key; train what is missing."""
    done: dict[str, runs.Run] = {}
    for job in study.jobs:
        if job.recipe.key not in done:
            with progress.task(f"{job.label}, seed {job.recipe.seed}") as report:
                done[job.recipe.key] = runs.fit(job.recipe, report)
    return done


def accuracy_row(study: Study, job: Job, protocol: Protocol, record: evaluate.Record) -> Row:
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


def accuracies(study: Study, job: Job, records: Mapping[Protocol, evaluate.Record]) -> list[Row]:
    """Return the rows of what is recorded of a job, with flags, and of its union if all is."""
    rows = {p: accuracy_row(study, job, p, record) for p, record in records.items()}
    marks = flags.of_job(job, len(study.seeds), rows)
    for p, own in rows.items():
        own["flags"] = marks[p]
    whole = len(records) == len(job.protocols)
    return [*rows.values(), *(union_rows(study, job, rows) if whole else [])]


def union_rows(study: Study, job: Job, rows: Mapping[Protocol, Row]) -> list[Row]:
    """Return a row for each trade-off of a job that asks for it: images that withstand everything.

    An image counts if it is right under every attack, and not if one breaks it; with weight noise,
    in each draw. All attacks must be on the same images. Flags are those that all of them share.
    """
    found = []
    attacked = [p for p in rows if job.union and p.attack != "none"]
    for lam in dict.fromkeys(p.lam for p in attacked):
        same = {p: rows[p] for p in attacked if p.lam == lam}
        bits = [evaluate.unpack(one["bits"], one["n"]) for one in same.values()]
        if len({(p.images, p.split, hits.shape) for p, hits in zip(same, bits, strict=True)}) > 1:
            raise UserError(
                f"The attacks on '{job.label}' are on different images or draws of noise; for a "
                "union of them set evaluation.images."
            )
        hits, marks = torch.stack(bits).all(0), [one["flags"] for one in same.values()]
        record = {"n": hits.shape[1], "correct": int(hits.sum()), "bits": evaluate.pack(hits)}
        shared = "".join(mark for mark in marks[0] if all(mark in its for its in marks))
        row = accuracy_row(study, job, next(iter(same)), record)
        found.append(row | {"attack": "union", "detail": None, "flags": shared})
    return found


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
        rows += accuracies(study, job, records)
    return frame(rows)
