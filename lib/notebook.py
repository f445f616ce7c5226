"""What every notebook shows alike: source, the claims before and after, checks that must hold."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from lib import artifacts, claims, compare, flags, judge, paths, tables
from lib.compare import SCORES
from lib.readings import readings
from lib.study import Study

JUDGED_BY = {
    "above": "the whole interval of the difference is above 0",
    "size": "the whole interval is above {limit:.0%} of the paper's gap",
    "no worse": "the whole interval is above -{limit:g} points",
    "same": "the whole interval is within {limit:g} points",
    "close": "the whole interval is within {limit:g} points of the paper's value",
    "moves": "the whole interval is on one side of 0",
    "count": "it holds in all cases",
    "ratio": "the whole interval of the ratio is above {limit:g}",
    "at most": "the whole interval of the ratio is below {limit:g}",
    "reading": "within {limit:g} of the printed number",
}


def source(*objects: Any) -> Markdown:
    """Return the code of functions, methods or classes of lib, each under a link to its lines."""
    shown = []
    for thing in map(inspect.unwrap, objects):  # as it is written, under its decorators
        lines, first = inspect.getsourcelines(thing)
        path = Path(inspect.getsourcefile(thing) or "").relative_to(paths.ROOT).as_posix()
        code = inspect.cleandoc("\n" + "".join(lines)) if lines[0][0].isspace() else "".join(lines)
        shown.append(f"[`{path}`](../../{path}#L{first})\n\n```python\n{code.rstrip()}\n```")
    return Markdown("\n\n".join(shown))


def stated(study: Study) -> Markdown:
    """Return what the paper claims of a study's artifact, and how each sentence is judged."""
    lines = ["| claim | the paper's words | how it is judged |", "|---|---|---|"]
    for row in claims.stated(study.artifact).to_dict("records"):
        test = JUDGED_BY[row["test"]].format(**row)
        if row["test"] == "count" and row["limit"] < 1:
            test = f"it holds in {row['limit']:.0%} of the cases"
        ranges = [f"for {of} {name}" for of in ("each", "some") for name in row[of].split()]
        judged = f"not judged: {row['why_not']}" if row["why_not"] else ", ".join([test, *ranges])
        words = f"“{row['words']}” ({row['where']})" if row["words"] else row["where"]
        lines.append(f"| {row['claim']} | {words} | {judged} |".replace("\n", " "))
    return Markdown("\n".join(lines))


def cited(*ids: str) -> str:
    """Return, as Markdown, what readings of printed numbers come to, and who judges them."""
    found, lines = readings(ids), []
    for row in claims.stated().to_dict("records"):
        if row["id"] in ids and row["test"] == "reading":
            one = compare.reading(row, found[row["id"]])
            said = f"{row['claim']} ({row['where']}): {one.ours}, {one.fixed}"
            lines.append(f"- {said}, as `{row['artifact']}` judges.")
    return "\n".join(lines)


def verdicts(
    study: Study,
    metrics: pd.DataFrame,
    worked_out: Mapping[str, Any] | None = None,
    figure: Figure | None = None,
    table: pd.DataFrame | None = None,
    explorer: Mapping[str, Any] | None = None,
) -> Markdown:
    """Judge the claims on a study, save everything in its folder, and return the verdicts."""
    judged = judge.judge(study, metrics, worked_out)
    artifacts.save(study, metrics, judged, figure=figure, table=table, explorer=explorer)
    return Markdown(f"{tables.verdicts(study, judged)}\n\n{flags.legend(metrics)}")


def check(study: Study, metrics: pd.DataFrame) -> None:
    """Assert what holds of all accuracies: one for each protocol, in percent, robust below clean.

    Robust accuracy may exceed clean accuracy by as much as the intervals of both allow.
    """
    scored = metrics[metrics["metric"].isin(SCORES)]
    assert len(scored) == sum(len(job.protocols) for job in study.jobs)
    assert scored["value"].between(0, 100).all()
    assert scored["value"].between(scored["ci_low"], scored["ci_high"]).all()
    index = ["dataset", "backbone", "method", "seed", "lam"]
    bounds = scored.pivot_table(["ci_low", "ci_high"], index=index, columns="metric", sort=False)
    if set(scored["metric"]) == set(SCORES):
        assert not (bounds["ci_low", "robust_acc"] > bounds["ci_high", "clean_acc"]).any()
