"""The report of a results folder: index.html, RESULTS.md and summary.csv, from its files alone.

The same files give the same report, byte for byte. Everything is embedded or linked relatively, so
that the folder can be opened offline and moved.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined

from lib import store
from lib.claims import VERDICTS
from lib.report.collect import Entry, collect, summary

__all__ = ["Entry", "build", "collect"]

TONES = dict(zip(VERDICTS, ("good", "fair", "bad", "open"), strict=True))


def build(folder: Path, code: str | None = None) -> list[Entry]:
    """Write the report of results/<preset> and return its entries.

    code is the fingerprint of today's training code; runs made by other code are marked.
    """
    if code is None:
        from lib.runs import code_fingerprint

        code = code_fingerprint()
    entries = collect(folder, code)
    values = {
        "preset": folder.name,
        "entries": entries,
        "papers": list(dict.fromkeys(e.paper for e in entries)),
        "totals": {v: sum(e.counts[v] for e in entries) for v in VERDICTS},
        "tones": TONES,
    }
    for name, template in (("index.html", "page.html.j2"), ("RESULTS.md", "page.md.j2")):
        _put(folder / name, render(template, **values))
    _put(folder / "summary.csv", summary(entries).to_csv(index=False))
    return entries


def _put(path: Path, text: str) -> None:
    store.write_text(path, text.encode(errors="replace").decode())  # half a character has no UTF-8


def render(template: str, **values: object) -> str:
    """Return a filled template of this package; what goes into HTML is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=".html" in template,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = cell
    return environment.get_template(template).render(values)


def cell(text: object) -> str:
    """Return text that may stand in a cell of a Markdown table."""
    return "" if isinstance(text, Undefined) else " ".join(str(text).split()).replace("|", "\\|")
