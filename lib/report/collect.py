"""Reads the results of every artifact in a results folder: verdicts, files, provenance."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lib import claims, store
from lib.errors import UserError
from lib.papers import ARTIFACTS
from lib.recipe import Recipe

LIMIT = 4  # distinct values that are spelled out


@dataclass(frozen=True)
class Entry:
    """One artifact as the report shows it; paths are relative to the results folder."""

    artifact: str
    title: str
    command: str
    seconds: float | None
    failure: str
    claims: list[dict[str, str]]
    counts: dict[str, int]
    files: dict[str, str]
    table: list[list[str]]
    notes: list[str]
    conditions: str
    provenance: list[tuple[str, str]]

    @property
    def paper(self) -> str:
        """Return the folder of the artifact, as 'smart'."""
        return self.artifact.split("/")[0]

    @property
    def anchor(self) -> str:
        """Return the name that links of the page point to."""
        return self.artifact.replace("/", "-")

    @property
    def status(self) -> str:
        """Return 'done' or why the last execution failed."""
        return f"failed: {self.failure}" if self.failure else "done"

    @property
    def verdicts(self) -> str:
        """Return how many claims got which verdict, as '3 reproduced, 1 partly'."""
        return ", ".join(f"{n} {verdict}" for verdict, n in self.counts.items() if n)


def collect(folder: Path, code: str) -> list[Entry]:
    """Return what is known of each artifact in a results folder, in the suite's order."""
    found = {
        f"{path.parent.name}/{path.name}": path
        for path in sorted(folder.glob("*/*"))
        if (path / "run.json").is_file() or (path / "failure.json").is_file()
    }
    order = [name for name in ARTIFACTS if name in found]
    order += sorted(found.keys() - set(order))
    return [_entry(name, found[name], folder, code) for name in order]


def summary(entries: Iterable[Entry]) -> pd.DataFrame:
    """Return the rows of summary.csv."""
    rows = []
    for e in entries:
        row: dict[str, Any] = {"artifact": e.artifact, "status": e.status, "seconds": e.seconds}
        row["claims"] = len(e.claims)
        rows.append(row | {verdict.replace(" ", "_"): n for verdict, n in e.counts.items()})
    names = [verdict.replace(" ", "_") for verdict in claims.VERDICTS]
    return pd.DataFrame(rows, columns=["artifact", "status", "seconds", "claims", *names])


def _entry(name: str, home: Path, folder: Path, code: str) -> Entry:
    record = store.read_json(home / "run.json")
    runs = [
        run | {"stale": not _is_current(key, run, code)}
        for key, run in record.get("runs", {}).items()
    ]
    frame, notes = _claims(home)
    failure = str(store.read_json(home / "failure.json").get("reason", ""))
    if failure and record:
        notes.append("The last execution failed; what is shown here is from the one before.")
    seconds = store.read_json(home / "inputs.json").get("seconds")
    files = {}
    for kind, file in (
        *(("figure", "figure.png"), ("pdf", "figure.pdf"), ("table", "table.md")),
        *(("latex", "table.tex"), ("metrics", "metrics.csv"), ("claims", "claims.csv")),
        *(("record", "run.json"), ("notebook", f"{home.name}.ipynb")),
    ):
        if (home / file).is_file():
            files[kind] = (home / file).relative_to(folder).as_posix()
    return Entry(
        artifact=name,
        title=title(home / f"{home.name}.ipynb") or name,
        command=record.get("command") or f"./run_all.sh {name}",
        seconds=seconds if isinstance(seconds, int | float) else None,
        failure=failure,
        claims=frame.to_dict("records"),
        counts=claims.counts(frame),
        files=files,
        table=_table(home / "table.md"),
        notes=notes + _marks(runs),
        conditions=_conditions(runs, home / "metrics.csv"),
        provenance=_provenance(record, runs),
    )


def _claims(home: Path) -> tuple[pd.DataFrame, list[str]]:
    if not (home / "claims.csv").is_file():
        return claims.table([]), []
    try:
        return claims.read(home / "claims.csv"), []
    except UserError as error:
        return claims.table([]), [str(error)]


def _is_current(key: str, run: dict[str, Any], code: str) -> bool:
    """Return whether a run was made by today's code, or verified to be what that would make."""
    if run.get("code") in (None, code):
        return True
    return store.verified(key, run["code"], code) is not None


def _marks(runs: list[dict[str, Any]]) -> list[str]:
    """Return what a reader must know of the runs before trusting what they show."""
    notes = []
    recorded = sum(not run.get("weights", True) for run in runs)
    stale = sum(run["stale"] for run in runs)
    dirty = sum(bool(run.get("dirty")) for run in runs)
    if recorded:
        notes.append(f"Redrawn from records: {recorded} of {len(runs)} runs have no weights here.")
    if stale:
        notes.append(
            f"Stale: {stale} of {len(runs)} runs were made by other training code than today's; "
            "`python -m lib verify` tells whether that matters, --fresh trains them anew."
        )
    if dirty:
        notes.append(f"{dirty} of {len(runs)} runs were made with uncommitted changes in lib.")
    return notes


def title(notebook: Path) -> str:
    """Return the heading of a notebook, '' if there is none."""
    try:
        cells = json.loads(notebook.read_text())["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    for cell in cells:
        text = cell.get("source", "")
        text = text if isinstance(text, str) else "".join(text)
        if heading := re.match(r"#\s+(.+)", text):
            return heading[1].strip()
    return ""


def _table(path: Path) -> list[list[str]]:
    """Return the cells of a Markdown table, its head first."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines() if line.startswith("|")]
    except OSError:
        return []
    rows = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in rows if not all(re.fullmatch(r":?-+:?", c) for c in row)]


def _few(values: Iterable[object]) -> str:
    """Return the distinct values in a line, the first ones if there are many."""
    distinct = list(dict.fromkeys(str(v) for v in values if v not in (None, "")))
    more = f" and {len(distinct) - LIMIT} more" if len(distinct) > LIMIT else ""
    return ", ".join(distinct[:LIMIT]) + more


def _conditions(runs: list[dict[str, Any]], metrics: Path) -> str:
    """Return data, networks, epochs and number of images in a line."""
    parts = []
    try:
        recipes = [Recipe.from_dict(run["recipe"]) for run in runs]
    except (UserError, KeyError):
        recipes = []
    if recipes:
        epochs = _few(r.train.epochs for r in recipes)
        images = (r.data.train_images for r in recipes)
        widths = (f" of width {r.model.width}" if r.model.width else "" for r in recipes)
        networks = (r.model.backbone + w for r, w in zip(recipes, widths, strict=True))
        parts = [
            _few(r.data.dataset for r in recipes),
            _few(networks),
            f"{epochs} {'epoch' if epochs == '1' else 'epochs'}",
            f"{_few(f'{n:,}' if n else 'all' for n in images)} training images",
        ]
    try:
        rows = pd.read_csv(metrics)
        rows = rows[rows["metric"].astype(str).str.endswith("_acc")]  # others count rounds
        counts = pd.to_numeric(rows["n"], errors="coerce").dropna()
    except (OSError, ValueError, KeyError):
        counts = pd.Series(dtype=float)
    if len(counts) and counts.max() > 0:
        parts.append(f"n = {int(counts.max()):,}")
    return ", ".join(parts)


def _provenance(record: dict[str, Any], runs: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return where the results come from as pairs of label and value, without empty ones."""
    training = sum(float(run.get("seconds") or 0) for run in runs)
    versions = {n: record.get(n) for n in ("python", "pandas", "matplotlib")}
    versions |= {"torch": _few(run.get("torch") for run in runs)}
    commit = record.get("commit") or ""
    pairs = [
        ("Preset", record.get("preset", "")),
        ("Seeds", _few(record.get("seeds", []))),
        ("Changed fields", _few(f"{k}={v}" for k, v in record.get("overrides", {}).items())),
        ("Networks", str(len(runs)) if runs else ""),
        ("Training", f"{training:,.0f} s in all" if training else ""),
        ("Trained on", _few(run.get("device") for run in runs)),
        ("Threads", _few(run.get("threads") for run in runs)),
        ("Precision", _few(run.get("precision") for run in runs)),
        ("Code of the runs", _few(str(run.get("commit") or "")[:10] for run in runs)),
        ("Code of the notebook", commit[:10]),
        ("Versions", ", ".join(f"{n} {v}" for n, v in versions.items() if v)),
        ("Written", record.get("written", "")),
    ]
    return [(label, str(value)) for label, value in pairs if value]
