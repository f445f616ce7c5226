"""The reports of results folders: RESULTS.md, index.html and summary.csv, from their files alone.

The same files give the same report, byte for byte. Everything is linked relatively, so that
results can be opened offline and moved. Beside the folders lies a page over all of them.
"""

from collections.abc import Iterable
from pathlib import Path

from lib import store
from lib.presets import PRESETS
from lib.report.collect import NAME, Entry, collect, summary
from lib.report.markdown import page
from lib.report.web import html

__all__ = ["Entry", "build", "collect", "edited"]

STORES = ("local", "records", "runs")  # lie among the results and are no preset's


def build(root: Path, only: str = "") -> dict[Path, list[Entry]]:
    """Write the report of every results folder below a root, or of one, and the page over all.

    Return the entries of those reported; where there are no results, nothing is written.
    Runs made by other code than today's are marked.
    """
    folders = [f for f in root.glob("*") if NAME.fullmatch(f.name) and f.name not in STORES]
    found = {f: entries for f in sorted(folders, key=_place) if (entries := collect(f))}
    chosen = {folder: es for folder, es in found.items() if only in ("", folder.name)}
    for folder, entries in chosen.items():
        explored = next((e.explorer for e in entries if e.explorer), "")
        _put(folder, page({folder.name: entries}, own=True), explored)
        store.write_text(folder / "summary.csv", _text(summary(entries).to_csv(index=False)))
    if chosen:
        _put(root, page({folder.name: entries for folder, entries in found.items()}, own=False))
    return chosen


def edited(entries: Iterable[Entry]) -> list[str]:
    """Return what is not published, as 'PAPER/ARTIFACT (claims.csv)'."""
    return [f"{e.artifact} ({', '.join(e.edited)})" for e in entries if e.edited]


def _place(folder: Path) -> tuple[int, str]:
    """Return where a results folder stands among others: the best evidence first."""
    names = [*PRESETS][::-1]
    preset = folder.name.partition("-custom-")[0]
    return names.index(preset) if preset in names else len(names), folder.name


def _put(folder: Path, markdown: str, explored: str = "") -> None:
    markdown = _text(markdown)
    store.write_text(folder / "RESULTS.md", markdown)
    store.write_text(folder / "index.html", html(markdown, explored))


def _text(text: str) -> str:
    return text.encode(errors="replace").decode()  # half a character has no UTF-8
