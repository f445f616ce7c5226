"""Fills the generated regions of README.md from the results: verdicts, figures, the artifacts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from lib import paths, store
from lib.errors import UserError, choose
from lib.papers import ARTIFACTS
from lib.presets import PRESETS
from lib.report import cell, render
from lib.report.collect import Entry, collect, title

REGION = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
SHOWN = ("paper", "cifar", "quick")  # the presets whose results are evidence, the best first
# what the README shows, each from the best preset that has it; the reports have everything
HIGHLIGHTS = (
    "audit/observations",
    "smart/fig1_pareto",
    "float/table1_variants",
    "float/fig7_oat_pgdat",
)
NOTHING = "There are no results yet; `./run_all.sh` makes them."

Found = dict[str, list[Entry]]


def fill(readme: Path, code: str) -> None:
    """Rewrite the generated regions of a README, and nothing else of it."""
    try:
        text = readme.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read {readme} ({error}); restore it.") from error
    found = {p: collect(paths.RESULTS / p, code) for p in SHOWN if p in PRESETS}
    found = {preset: entries for preset, entries in found.items() if entries}

    def region(match: re.Match[str]) -> str:
        write = REGIONS[choose("generated region", match[2], REGIONS)]
        return f"{match[1]}{write(found).strip()}\n{match[3]}"

    store.write_text(readme, REGION.sub(region, text))


def verdicts(found: Found) -> str:
    """Return the verdicts of every artifact under each preset."""
    if not found:
        return NOTHING
    names = [n for n in ARTIFACTS if any(n == e.artifact for es in found.values() for e in es)]
    links = (f"[{p}](results/{p}/RESULTS.md)" for p in found)
    lines = [f"| artifact | {' | '.join(links)} |", "|---" * (len(found) + 1) + "|"]
    for name in names:
        cells = []
        for entries in found.values():
            told = ""
            for e in entries:
                if e.artifact == name:
                    marks = ("failed" if e.failure else "", "edited" if e.edited else "")
                    told = ", ".join(filter(None, (*marks, e.verdicts)))
            cells.append(told)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def results(found: Found) -> str:
    """Return the highlights, each from the best preset that has it; without any, what there is."""
    shown = []
    for name in HIGHLIGHTS:
        mine = [(p, e) for p, entries in found.items() for e in entries if e.artifact == name]
        shown += mine[:1]
    shown = shown or [(preset, e) for preset, entries in found.items() for e in entries]
    return render("readme.md.j2", shown=shown) if shown else NOTHING


def artifacts(found: Found) -> str:
    """Return the notebooks with the command that remakes each."""
    lines = ["| notebook | shows | made by |", "|---|---|---|"]
    for name in ARTIFACTS:
        notebook = paths.notebook(name)
        where = notebook.relative_to(paths.NOTEBOOKS.parent).as_posix()
        lines.append(f"| [{name}]({where}) | {cell(title(notebook))} | `./run_all.sh {name}` |")
    return "\n".join(lines)


REGIONS: dict[str, Callable[[Found], str]] = {f.__name__: f for f in (verdicts, results, artifacts)}
