"""The reports of results folders: index.html, RESULTS.md and summary.csv, from their files alone.

The same files give the same report, byte for byte. Everything is embedded or linked relatively, so
that results can be opened offline and moved. Beside the folders lies a page over all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from lib import store
from lib.claims import VERDICTS
from lib.presets import PRESETS
from lib.report.collect import NAME, Entry, Results, collect, summary

__all__ = ["Entry", "build", "collect", "edited"]

TONES = dict(zip(VERDICTS, ("good", "fair", "bad", "open"), strict=True))
STORES = ("local", "records", "runs")  # lie among the results and are no preset's
PAGES = {"index.html": "page.html.j2", "RESULTS.md": "page.md.j2"}
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")  # code
# what Markdown would turn into emphasis, a formula or a link; HTML is escaped as such
SPECIAL = re.compile(
    r"[\\`*~$]|(?<![^\W_])_|_(?![^\W_])|(?<=\])[(:]|(?<=:)//|(?<=\bwww)\.", re.IGNORECASE
)


def build(root: Path, code: str | None = None, only: str = "") -> dict[Path, list[Entry]]:
    """Write the report of every results folder below a root, or of one, and the page over all.

    Return the entries of those reported; where there are no results, nothing is written. code is
    the fingerprint of today's training code; runs made by other code are marked.
    """
    found = _found(root, code)
    chosen = {folder: es for folder, es in found.items() if only in ("", folder.name)}
    for folder, entries in chosen.items():
        _pages(folder, {folder: entries}, Results(folder.name, entries))
        _put(folder / "summary.csv", summary(entries).to_csv(index=False))
    if chosen:
        _pages(root, found)
    return chosen


def edited(entries: Iterable[Entry]) -> list[str]:
    """Return what is not published, as 'smart/fig5_fgsm (claims.csv)'."""
    return [f"{e.artifact} ({', '.join(e.edited)})" for e in entries if e.edited]


def _found(root: Path, code: str | None) -> dict[Path, list[Entry]]:
    """Return the entries of every folder that holds results, the best evidence first."""
    if code is None:
        from lib.runs import code_fingerprint

        code = code_fingerprint()
    folders = (f for f in root.glob("*") if NAME.fullmatch(f.name) and f.name not in STORES)
    found = {folder: collect(folder, code) for folder in sorted(folders, key=_place)}
    return {folder: entries for folder, entries in found.items() if entries}


def _place(folder: Path) -> tuple[int, str]:
    """Return where a results folder stands among others: the best evidence first."""
    names = [*PRESETS][::-1]
    preset = folder.name.partition("-custom-")[0]
    return names.index(preset) if preset in names else len(names), folder.name


def _pages(folder: Path, found: dict[Path, list[Entry]], own: Results | None = None) -> None:
    """Write a page over results, or the report of one's own."""
    shown = [Results(home.name, entries) for home, entries in found.items()]
    for name, template in PAGES.items():
        _put(folder / name, render(template, shown=shown, own=own, tones=TONES))


def _put(path: Path, text: str) -> None:
    store.write_text(path, text.encode(errors="replace").decode())  # half a character has no UTF-8


def render(template: str, **values: object) -> str:
    """Return a filled template of this package; what goes into HTML is escaped."""
    return _template(template).render(values)


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {f.__name__: f for f in (html, line, cell, alt, code)}
    return environment.get_template(name)


def html(text: str) -> Markup:
    """Return text as HTML, what stands between backticks as code."""
    parts = enumerate(SPAN.split(text))
    return Markup("").join(Markup("<code>{}</code>").format(p) if n % 2 else p for n, p in parts)


def cell(text: str) -> str:
    """Return text for a cell of a Markdown table; nothing in it is markup but code."""
    return _markdown(text).replace("|", "\\|")


def line(text: str) -> str:
    """Return text for a line of Markdown that is no heading, list or quotation."""
    return re.sub(r"^(\d+(?=[.)](?: |$))|(?=[#>+=-]))", r"\1\\", _markdown(text))


def alt(text: str) -> str:
    """Return text for the description of a Markdown image."""
    return re.sub(r"(?=[][])", r"\\", _markdown(text))


def code(text: str) -> str:
    """Return text as code in Markdown, whatever backticks it holds."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if len(fence) > 1 else ""
    return f"{fence}{space}{' '.join(text.split())}{space}{fence}"


def _markdown(text: str) -> str:
    parts = enumerate(SPAN.split(" ".join(text.split())))
    return "".join(f"`{part}`" if n % 2 else _plain(part) for n, part in parts)


def _plain(text: str) -> str:
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    return SPECIAL.sub(r"\\\g<0>", text).replace("<", "&lt;")
