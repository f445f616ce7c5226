"""Reads the results of every artifact in a results folder: verdicts, files, provenance.

Nothing in these files is trusted. What differs from what a batch noted is not shown, and what is
damaged costs its artifact a note.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from lib import artifacts, claims, paths, store
from lib.errors import UserError
from lib.report import explorer, provenance
from lib.report.provenance import few
from lib.studies import ARTIFACTS

NAME = re.compile(r"[A-Za-z0-9_][\w.-]*", re.ASCII)  # of the folders that hold results
WRONG = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
DAMAGED = (OSError, UserError, *WRONG)  # what comes of reading files that are not as we write them
FILES = {
    **{"figure": "figure.png", "pdf": "figure.pdf", "table": "table.md", "latex": "table.tex"},
    **{"metrics": "metrics.csv", "claims": "claims.csv", "record": "run.json"},
    "explorer": artifacts.EXPLORER,
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
    claims: pd.DataFrame
    files: dict[str, str]
    table: str
    flags: str
    notes: list[str]
    conditions: str
    provenance: list[tuple[str, str]]
    explorer: str  # its data, '' for most

    @property
    def anchor(self) -> str:
        return self.artifact.replace("/", "-")

    @property
    def status(self) -> str:
        """Return 'done' or what is wrong: the last execution failed, files were edited."""
        parts = [f"failed: {self.failure}"] if self.failure else []
        parts += [f"edited: {few(self.edited)}"] if self.edited else []
        parts += ["made by hand"] if self.by_hand else []
        return "; ".join(parts) or "done"

    @property
    def counts(self) -> dict[str, int]:
        return claims.counts(self.claims)

    @property
    def verdicts(self) -> str:
        """Return how many claims got which verdict, as '3 reproduced, 1 partly'."""
        return ", ".join(f"{n} {verdict}" for verdict, n in self.counts.items() if n)


def collect(folder: Path) -> list[Entry]:
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
    return [_entry(name, found[name], folder) for name in order]


def summary(entries: Iterable[Entry]) -> pd.DataFrame:
    """Return the rows of summary.csv; seconds is what the training behind an artifact took."""
    names = [verdict.replace(" ", "_") for verdict in claims.VERDICTS]
    rows = [(e.artifact, e.status, e.seconds, len(e.claims), *e.counts.values()) for e in entries]
    return pd.DataFrame(rows, columns=["artifact", "status", "seconds", "claims", *names])


def _entry(name: str, home: Path, folder: Path) -> Entry:
    kinds = FILES | {"notebook": f"{home.name}.ipynb"}
    own = folder.parent == paths.RESULTS / "local"
    noted, made = artifacts.recorded(home), artifacts.outputs(home)
    by_hand = own and noted is None and bool(made)
    vouched = made if by_hand else noted or {}  # what a batch noted, or what a user made
    edited = [] if vouched or (noted is None and not made) else [artifacts.INPUTS]
    edited += [f for f in sorted({*vouched, *kinds.values()}) if made.get(f) != vouched.get(f)]
    files = {kind: home / file for kind, file in kinds.items() if file in made.keys() - {*edited}}
    failure = _failure(home)
    unread: list[str] = []

    def read(kind: str, how: Callable[[Path], Any], blank: Any) -> Any:
        """Return what a file holds, or blank where it is absent, not vouched for or damaged."""
        try:
            return how(files[kind]) if kind in files else blank
        except DAMAGED:
            unread.append(kinds[kind])
            return blank

    images = read("metrics", lambda path: artifacts.images(pd.read_csv(path)), "")
    images = f"n = {images}" if images else ""
    preset, custom, _ = folder.name.partition("-custom-")
    command = artifacts.command(name, preset, overrides=["FIELD=VALUE"] if custom else [])
    said: dict[str, Any] = {"command": command, "changed": "", "seconds": None}
    said |= {"conditions": images, "notes": [], "provenance": [], "flags": ""}
    said |= read("record", partial(provenance.said, images=images), {})
    remake = f"`{said['command']}{'' if own else ' --record'}`"
    text = read("table", lambda path: path.read_text(encoding="utf-8"), "")
    said |= {
        "title": read("notebook", title, "") or name,
        "claims": read("claims", claims.read, claims.table([])),
        "table": text.replace("<", "&lt;"),  # without markup of its own
        "explorer": read("explorer", explorer.read, ""),
    }
    before = " What is shown here is from the one before." if made else ""
    states = {
        f"The last execution failed: {failure}.{before}": failure,
        f"Edited or removed since a batch made it: {few(edited)}. What differs is neither shown "
        f"nor counted; {remake} makes it anew.": edited,
        f"Made by hand, not by a batch; {remake} makes it anew.": by_hand,
        f"Damaged, so that nothing of it is shown: {few(unread)}; {remake} mends it.": unread,
    }
    said["notes"] = [note for note, is_so in states.items() if is_so] + said["notes"]
    shown = {kind: path.relative_to(folder).as_posix() for kind, path in files.items()}
    how: dict[str, Any] = {"failure": failure, "edited": edited, "by_hand": by_hand, "files": shown}
    return Entry(artifact=name, **how, **said)


def _failure(home: Path) -> str:
    if not (home / artifacts.FAILURE).exists():
        return ""
    reason = store.read_json(home / artifacts.FAILURE).get("reason")
    return reason if reason and isinstance(reason, str) else f"{artifacts.FAILURE} is damaged"


def title(notebook: Path) -> str:
    """Return the heading of a notebook, '' if there is none."""
    texts = ("".join(cell["source"]) for cell in store.parse(notebook)["cells"])
    return next((m[1].strip() for text in texts if (m := re.match(r"#\s+(.+)", text))), "")
