"""The pages of the report as Markdown, in which text from results is never markup but code."""

import re
from collections.abc import Iterable, Mapping, Sequence

from lib.claims import VERDICTS
from lib.presets import PRESETS
from lib.report.collect import Entry
from lib.studies import ARTIFACTS

SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")  # code
# what Markdown would turn into emphasis, a formula or a link
SPECIAL = re.compile(
    r"[\\`*~$]|(?<![^\W_])_|_(?![^\W_])|(?<=\])[(:]|(?<=:)//|(?<=\bwww)\.", re.IGNORECASE
)
NO_ANCHOR = r"[^A-Za-z0-9._-]+"  # of an id
LEGEND = (
    "A claim is **reproduced** if the whole 95 % interval of what we measured lies where it says, "
    "**not reproduced** if all of it lies elsewhere, **partly** if it holds in some cases or under "
    "a convention that the paper does not state, and else **not judged**: why, the smallest gap "
    "that could have been judged and what would settle it stand beside it. Training is that of all "
    "networks behind a figure or table; many share theirs."
)


def page(shown: Mapping[str, Sequence[Entry]], own: bool) -> str:
    """Return the page over results folders by name, or the report of one's own."""
    parts = ["# All results"]
    if own:
        links = ["[All results](../RESULTS.md)"]
        explored = any(e.explorer for entries in shown.values() for e in entries)
        links += ["[Explorer](index.html#explorer)"] if explored else []
        parts = [f"# Results of preset {next(iter(shown))}", " · ".join(links)]
    for name, entries in shown.items():
        here = "" if own else f"{name}/RESULTS.md"
        changed = next((e.changed for e in entries if e.changed), "")  # what all of them share
        totals = {v: sum(e.counts[v] for e in entries) for v in VERDICTS}
        there = {e.artifact for e in entries}
        lacking = [a for a in ARTIFACTS if a not in there and name in PRESETS]
        parts += [f"## {'Overview' if own else f'Preset [{name}]({here})'}"]
        parts += [f"Changed: {code(changed)}."] if changed else []
        parts += [", ".join(f"{n} {verdict}" for verdict, n in totals.items()) + "."]
        parts += [line(f"Lacks {', '.join(lacking)}.")] if lacking else []
        parts += [_overview(entries, here)]
    parts += [LEGEND]
    for e in next(iter(shown.values())) if own else ():
        parts += _section(e)
    return "\n\n".join(parts) + "\n"


def _overview(entries: Iterable[Entry], here: str) -> str:
    rows = []
    for e in entries:
        seconds = "" if e.seconds is None else f"{e.seconds:,.0f}"
        counts = [str(n) for n in (len(e.claims), *e.counts.values())]
        rows.append([f"[{e.artifact}]({here}#{e.anchor})", *counts, seconds, cell(e.status)])
    head = ["artifact", "claims", *VERDICTS, "training, s", "status"]
    return table(head, rows, right=range(1, len(head) - 1))


def _section(e: Entry) -> list[str]:
    """Return an artifact: its figure or table, its claims and where all of it comes from."""
    parts = [f'## <a id="{e.anchor}"></a>{line(e.title)}']
    parts += [line(f"{e.conditions}.")] if e.conditions else []
    parts += [f"> {line(note)}" for note in e.notes]
    parts += exhibit(e)
    if len(e.claims):
        filled = [c for c in e.claims if c not in ("verdict", "id") and e.claims[c].any()]
        columns = ["verdict", *filled]
        rows = [[cell(value) for value in row] for row in e.claims[columns].to_numpy()]
        for row, own in zip(rows, e.claims["id"], strict=True):
            place = f"{e.anchor}-{re.sub(NO_ANCHOR, '-', own)}"
            row[1] = f'<a id="{place}"></a>{row[1]} [#](#{place})'  # after the verdict
        parts += [table([cell(name.replace("_", " ")) for name in columns], rows)]
    links = [f"[{path.split('/')[-1]}]({path})" for path in e.files.values()]
    parts += [" ".join([f"Made by {code(e.command)}.", *links])]
    if e.provenance:
        said = "\n".join(f"- {label}: {line(value)}" for label, value in e.provenance)
        parts += [f"<details><summary>Provenance</summary>\n\n{said}\n\n</details>"]
    return parts


def exhibit(e: Entry, home: str = "") -> list[str]:
    """Return the figure and the table of an artifact, and what to doubt of their numbers.

    home is where its results folder lies.
    """
    parts = []
    if figure := e.files.get("figure"):
        about = re.sub(r"(?=[][])", r"\\", _markdown(e.title))  # brackets would end it
        picture = f"![{about}]({home}{figure})"
        parts += [f"[{picture}]({home}{e.files.get('pdf', figure)})"]
    parts += [e.table.strip()] if e.table else []
    return parts + ([line(e.flags)] if e.flags and e.flags not in e.table else [])


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return a Markdown table of ready cells; columns named by number stand to the right."""
    rule = ["--:" if number in set(right) else "---" for number in range(len(head))]
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def cell(text: str) -> str:
    """Return text for a cell of a Markdown table; nothing in it is markup but code."""
    return _markdown(text).replace("|", "\\|")


def line(text: str) -> str:
    """Return text for a line of Markdown that is no heading, list or quotation."""
    return re.sub(r"^(\d+(?=[.)](?: |$))|(?=[#>+=-]))", r"\1\\", _markdown(text))


def code(text: str) -> str:
    """Return text as code in Markdown, whatever backticks it holds."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if len(fence) > 1 else ""
    return f"{fence}{space}{' '.join(text.split())}{space}{fence}"


def _markdown(text: str) -> str:
    parts = enumerate(SPAN.split(" ".join(text.split())))
    return "".join(f"`{part}`" if n % 2 else _plain(part) for n, part in parts)


def _plain(text: str) -> str:
    return SPECIAL.sub(r"\\\g<0>", re.sub(r"&(?=#?\w+;)", "&amp;", text)).replace("<", "&lt;")
