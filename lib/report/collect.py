"""Reads the results of every artifact in a results folder: verdicts, files, provenance.

Nothing in these files is trusted. What differs from what a batch noted is not shown, and what is
damaged costs its artifact a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lib import artifacts, claims, paths, store
from lib.errors import UserError
from lib.presets import PRESETS
from lib.recipe import Recipe
from lib.studies import ARTIFACTS

LIMIT = 4  # distinct values that are spelled out
NAME = re.compile(r"[A-Za-z0-9_][\w.-]*", re.ASCII)  # of the folders that hold results
KEY = re.compile(r"[0-9a-f]{16}")
FILES = {
    **{"figure": "figure.png", "pdf": "figure.pdf", "table": "table.md", "latex": "table.tex"},
    **{"metrics": "metrics.csv", "claims": "claims.csv", "record": "run.json"},
}
RECORD = {  # what run.json holds; anything may be absent or null
    **dict.fromkeys(("command", "commit", "preset", "python", "pandas", "matplotlib"), str),
    **{"written": str, "seeds": list, "overrides": dict, "runs": dict, "timed_on": dict},
}
TIMED = {"device": str, "threads": int}
RUN = {
    **dict.fromkeys(("code", "commit", "device", "precision", "torch"), str),
    **{"recipe": dict, "threads": int, "seconds": int | float, "weights": bool, "dirty": bool},
}


@dataclass(frozen=True)
class Entry:
    """One artifact as the report shows it; paths are relative to the results folder.

    seconds is what the training of its networks took; edited are the files that differ from what a
    batch noted of them. by_hand are a user's own results that no batch noted; among those that the
    repository keeps, what no batch noted is edited.
    """

    artifact: str
    title: str
    command: str
    changed: str
    seconds: float | None
    failure: str
    edited: list[str]
    by_hand: bool
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
        """Return 'done' or what is wrong: the last execution failed, files were edited."""
        parts = [f"failed: {self.failure}"] if self.failure else []
        parts += [f"edited: {_few(self.edited)}"] if self.edited else []
        parts += ["made by hand"] if self.by_hand else []
        return "; ".join(parts) or "done"

    @property
    def verdicts(self) -> str:
        """Return how many claims got which verdict, as '3 reproduced, 1 partly'."""
        return ", ".join(f"{n} {verdict}" for verdict, n in self.counts.items() if n)


@dataclass(frozen=True)
class Results:
    """A results folder: its name and what is known of each artifact in it."""

    name: str
    entries: list[Entry]

    @property
    def changed(self) -> str:
        """Return the overrides that all its artifacts share, as 'train.epochs=3'."""
        return next((entry.changed for entry in self.entries if entry.changed), "")

    @property
    def totals(self) -> dict[str, int]:
        """Return how many claims got each verdict."""
        return {v: sum(entry.counts[v] for entry in self.entries) for v in claims.VERDICTS}

    @property
    def papers(self) -> list[str]:
        """Return the papers that there are results of, in the suite's order."""
        return list(dict.fromkeys(entry.paper for entry in self.entries))

    @property
    def lacking(self) -> list[str]:
        """Return what a preset has no results of; nothing of a folder that is no preset's."""
        there = {entry.artifact for entry in self.entries}
        return [n for n in ARTIFACTS if n not in there and self.name in PRESETS]


def collect(folder: Path, code: str) -> list[Entry]:
    """Return what is known of each artifact in a results folder, in the suite's order."""
    signs = ("run.json", artifacts.FAILURE, artifacts.INPUTS)
    found = {
        f"{path.parent.name}/{path.name}": path
        for path in sorted(folder.glob("*/*"))
        if NAME.fullmatch(path.parent.name) and NAME.fullmatch(path.name)
        if any((path / sign).is_file() for sign in signs)
    }
    order = [name for name in ARTIFACTS if name in found]
    order += sorted(found.keys() - set(order))
    return [_entry(name, found[name], folder, code) for name in order]


def summary(entries: Iterable[Entry]) -> pd.DataFrame:
    """Return the rows of summary.csv; seconds is what the training behind an artifact took."""
    rows = []
    for e in entries:
        row: dict[str, Any] = {"artifact": e.artifact, "status": e.status, "seconds": e.seconds}
        row["claims"] = len(e.claims)
        rows.append(row | {verdict.replace(" ", "_"): n for verdict, n in e.counts.items()})
    names = [verdict.replace(" ", "_") for verdict in claims.VERDICTS]
    return pd.DataFrame(rows, columns=["artifact", "status", "seconds", "claims", *names])


def _entry(name: str, home: Path, folder: Path, code: str) -> Entry:
    kinds = FILES | {"notebook": f"{home.name}.ipynb"}
    noted, made = artifacts.recorded(home), artifacts.outputs(home)
    own = folder.parent == paths.RESULTS / "local"
    if noted is None and made and not own:
        noted = {}
    edited = [] if noted is None else [
        *([] if noted else [artifacts.INPUTS]),
        *(file for file in sorted({*noted, *kinds.values()}) if made.get(file) != noted.get(file)),
    ]  # fmt: skip
    files = {kind: home / file for kind, file in kinds.items() if file in made.keys() - {*edited}}
    record = _record(files["record"]) if "record" in files else {}
    command = record.get("command") or _command(name, folder)
    frame, wrong = _claims(files.get("claims"))
    table, unreadable = _table(files.get("table"))
    failure, by_hand = _failure(home), noted is None and bool(made)
    remake = f"`{command}{'' if own else ' --record'}`"
    notes = [*wrong, *unreadable]
    if failure and made:
        notes.append("The last execution failed; what is shown here is from the one before.")
    if edited:
        notes.append(
            f"Edited or removed since a batch made it: {_few(edited)}. What differs is neither "
            f"shown nor counted; {remake} makes it anew."
        )
    if by_hand:
        notes.append(f"Made by hand, not by a batch; {remake} makes it anew.")
    if "record" in files and not record:
        notes.append(f"run.json is damaged, so that nothing of it is shown; {remake} mends it.")
    runs = [
        run | {"stale": not _is_current(key, run, code)}
        for key, run in record.get("runs", {}).items()
    ]
    return Entry(
        artifact=name,
        title=("notebook" in files and title(files["notebook"])) or name,
        command=command,
        changed=", ".join(f"{k}={v}" for k, v in record.get("overrides", {}).items()),
        seconds=sum(float(run.get("seconds") or 0) for run in runs) if runs else None,
        failure=failure,
        edited=edited,
        by_hand=by_hand,
        claims=frame.to_dict("records"),
        counts=claims.counts(frame),
        files={kind: path.relative_to(folder).as_posix() for kind, path in files.items()},
        table=table,
        notes=notes + _marks(runs),
        conditions=_conditions(runs, files.get("metrics")),
        provenance=_provenance(record, runs),
    )


def _command(name: str, folder: Path) -> str:
    """Return the command that remakes an artifact whose run.json says none."""
    preset, custom, _ = folder.name.partition("-custom-")
    parts = ["./run_all.sh", name, *([] if preset == "quick" else ["--preset", preset])]
    return " ".join([*parts, "--set FIELD=VALUE"] if custom else parts)


def _failure(home: Path) -> str:
    if not (home / artifacts.FAILURE).exists():
        return ""
    reason = store.read_json(home / artifacts.FAILURE).get("reason")
    return reason if reason and isinstance(reason, str) else f"{artifacts.FAILURE} is damaged"


def _record(path: Path) -> dict[str, Any]:
    """Return what run.json says, nothing where it does not have the shape that it is written in."""
    found = store.read_json(path)
    runs, overrides, seeds = (found.get(name) for name in ("runs", "overrides", "seeds"))
    values = overrides.values() if isinstance(overrides, dict) else ()
    items = [one for v in values for one in (v if isinstance(v, list) else [v])]
    whole = (
        _fits(found, RECORD)
        and _fits(found.get("timed_on") or {}, TIMED)
        and not any(isinstance(one, dict | list) for one in [*items, *(seeds or ())])
        and all(KEY.fullmatch(key) and _fits(run, RUN) for key, run in (runs or {}).items())
        and all(0 <= (run.get("seconds") or 0) < 2**53 for run in (runs or {}).values())
    )
    return {name: value for name, value in found.items() if value is not None} if whole else {}


def _fits(found: Any, kinds: Mapping[str, Any]) -> bool:
    return isinstance(found, dict) and all(
        isinstance(found.get(name), kind | None) for name, kind in kinds.items()
    )


def _claims(path: Path | None) -> tuple[pd.DataFrame, list[str]]:
    if path is None:
        return claims.table([]), []
    try:
        return claims.read(path), []
    except UserError as error:
        return claims.table([]), [str(error).replace(str(path), path.name)]


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
    cells = store.read_json(notebook).get("cells")
    for cell in cells if isinstance(cells, list) else []:
        text = cell.get("source") if isinstance(cell, dict) else None
        text = "".join(map(str, text)) if isinstance(text, list) else str(text)
        if heading := re.match(r"#\s+(.+)", text):
            return heading[1].strip()
    return ""


def _table(path: Path | None) -> tuple[list[list[str]], list[str]]:
    """Return the cells of a Markdown table, its head first, and a note if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8") if path else ""
    except (OSError, ValueError) as error:
        return [], [f"table.md cannot be read ({error}); remake it."]
    lines = [line.strip() for line in text.splitlines() if line.startswith("|")]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    rows = [[c.strip().replace("\\|", "|") for c in row] for row in rows]
    return [row for row in rows if not all(re.fullmatch(r":?-+:?", c) for c in row)], []


def _few(values: Iterable[object]) -> str:
    """Return the distinct values in a line, the first ones if there are many."""
    distinct = list(dict.fromkeys(str(v) for v in values if v not in (None, "")))
    more = f" and {len(distinct) - LIMIT} more" if len(distinct) > LIMIT else ""
    return ", ".join(distinct[:LIMIT]) + more


def _conditions(runs: list[dict[str, Any]], metrics: Path | None) -> str:
    """Return data, networks, epochs and number of images in a line."""
    parts = []
    try:
        recipes = [Recipe.from_dict(run["recipe"]) for run in runs]
    except (UserError, KeyError, ArithmeticError, RecursionError):
        recipes = []
    if recipes:
        epochs = _few(r.train.epochs for r in recipes)
        sizes = (r.data.train_images for r in recipes)
        widths = (f" of width {r.model.width}" if r.model.width else "" for r in recipes)
        networks = (r.model.backbone + w for r, w in zip(recipes, widths, strict=True))
        parts = [
            _few(artifacts.short(r.data.dataset) for r in recipes),
            _few(networks),
            f"{epochs} {'epoch' if epochs == '1' else 'epochs'}",
            f"{_few(f'{n:,}' if n else 'all' for n in sizes)} training images",
        ]
    try:
        images = artifacts.images(pd.read_csv(metrics)) if metrics else ""
    except (OSError, ValueError, KeyError):
        images = ""
    return ", ".join([*parts, f"n = {images}"] if images else parts)


def _provenance(record: dict[str, Any], runs: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return where the results come from as pairs of label and value, without empty ones."""
    training = sum(float(run.get("seconds") or 0) for run in runs)
    versions = {n: record.get(n) for n in ("python", "pandas", "matplotlib")}
    versions |= {"torch": _few(run.get("torch") for run in runs)}
    commit, timed = record.get("commit", ""), record.get("timed_on", {})
    threads = f"{timed.get('threads')} thread{'' if timed.get('threads') == 1 else 's'}"
    pairs = [
        ("Preset", record.get("preset", "")),
        ("Seeds", _few(record.get("seeds", []))),
        ("Networks", str(len(runs)) if runs else ""),
        ("Training", f"{training:,.0f} s in all" if training else ""),
        ("Trained on", _few(run.get("device") for run in runs)),
        ("Threads", _few(run.get("threads") for run in runs)),
        ("Times measured on", timed and f"{timed.get('device')}, {threads}"),
        ("Precision", _few(run.get("precision") for run in runs)),
        ("Code of the runs", _few((run.get("commit") or "")[:10] for run in runs)),
        ("Code of the notebook", commit[:10]),
        ("Versions", ", ".join(f"{n} {v}" for n, v in versions.items() if v)),
        ("Written", record.get("written", "")),
    ]
    return [(label, str(value)) for label, value in pairs if value]
