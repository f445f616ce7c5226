"""The report as a web page: its Markdown, turned to HTML, with verdicts in colour.

A page is one file that fetches nothing and runs no script but its own.
"""

import base64
import hashlib
import re
from pathlib import Path

import mistune

from lib.claims import VERDICTS
from lib.report import explorer

TONES = dict(zip(VERDICTS, ("good", "fair", "bad", "open"), strict=True))
TOTALS = re.compile(rf"(\d+) ({'|'.join(VERDICTS)})(?:, |\.)")
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self' data: file:;
 style-src 'unsafe-inline'; script-src 'sha256-{digest}'">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
{body}<script>{script}</script>
</body>
</html>
"""


class _Renderer(mistune.HTMLRenderer):
    """Makes verdicts chips and cells of tables cards, where a screen is narrow."""

    def __init__(self) -> None:
        super().__init__(escape=False)
        self.heads: list[str] = []
        self.row: list[str] = []

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if text == "#":
            return f'<a class="anchor" href="{url}" aria-label="Link to this claim">#</a>'
        url = re.sub(r"^index\.html(?=#)", "", url)
        return super().link(text, re.sub(r"RESULTS\.md(?=#|$)", "index.html", url), title)

    def paragraph(self, text: str) -> str:
        if TOTALS.sub("", text):
            return super().paragraph(text)
        chips = [_chip(f"{n} {verdict}", verdict) for n, verdict in TOTALS.findall(text)]
        return f"<p>{' '.join(chips)}</p>\n"

    def table(self, text: str) -> str:
        return f'<div class="scroll"><table>\n{text}</table></div>\n'

    def table_head(self, text: str) -> str:
        self.heads, self.row = self.row, []
        return f"<thead>\n<tr>{text}</tr>\n</thead>\n"

    def table_row(self, text: str) -> str:
        self.row = []
        return f"<tr>{text}</tr>\n"

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        side = ' class="num"' if align == "right" else ""
        self.row.append(text)
        if head:
            return f"<th{side}>{text}</th>"
        label = re.sub("<[^>]*>", "", self.heads[len(self.row) - 1])
        shown = _chip(text, text) if text in TONES else text
        return f'<td{side} data-label="{label}">{shown}</td>'


def html(markdown: str, explored: str = "") -> str:
    """Return a page of the report as HTML; every heading of second rank opens a section.

    The explorer of the data explored, if there are any, comes after the first section.
    """
    made = mistune.create_markdown(renderer=_Renderer(), plugins=["table"])(markdown)
    head, *parts = str(made).split("<h2>")
    sections = [f"<section>\n<h2>{part}</section>\n" for part in parts]
    sections.insert(1, explorer.section(explored))
    body = f"{head}{_read('filters.html')}{''.join(sections)}"
    title = markdown.partition("\n")[0].removeprefix("# ")
    script = _read("page.js") + _read("explorer.js") * bool(explored)
    digest, style = base64.b64encode(hashlib.sha256(script.encode()).digest()), _read("page.css")
    return PAGE.format(title=title, style=style, body=body, script=script, digest=digest.decode())


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _chip(text: str, verdict: str) -> str:
    return f'<span class="chip {TONES[verdict]}">{text}</span>'
