"""Fills the generated regions of README.md from the results: findings, verdicts, resources."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from lib import paths, store
from lib.claims import NOT_JUDGED, VERDICTS
from lib.errors import UserError, choose
from lib.presets import PRESETS
from lib.report import cell, render
from lib.report.collect import Entry, collect, title
from lib.studies import ARTIFACTS

REGION = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
SHOWN = ("paper", "cifar", "quick")  # the presets whose results are evidence, the best first
# what the README shows, each from the best preset that has it; the reports have everything
FINDING = "audit/observations"
ABOUT = ("-dense-", "-loops-")  # in the ids of its claims that the figure shows
HIGHLIGHTS = ("float/fig7_oat_pgdat",)
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


def best(found: Found, name: str) -> list[tuple[str, Entry]]:
    """Return an artifact with the best preset that has it, or nothing."""
    return [(p, e) for p, entries in found.items() for e in entries if e.artifact == name][:1]


def finding(found: Found) -> str:
    """Return the figure that leads and the claims it shows, by verdict, if judged with the gap."""
    told: list[tuple[str, str]] = []
    for _, e in (shown := best(found, FINDING)):
        for verdict in VERDICTS:
            mine = [c for c in e.claims if c["verdict"] == verdict]
            mine = [c for c in mine if any(part in c["id"] for part in ABOUT)]
            gaps = (f": {c['difference']}" if verdict != NOT_JUDGED else "" for c in mine)
            said = "; ".join(f"{c['claim']}{gap}" for c, gap in zip(mine, gaps, strict=True))
            told += [(verdict, said)] if said else []
    return render("readme.md.j2", shown=shown, told=told) if shown else NOTHING


def results(found: Found) -> str:
    """Return the highlights, each from the best preset that has it; without any, what there is."""
    shown = [one for name in HIGHLIGHTS for one in best(found, name)]
    shown = shown or [(preset, e) for preset, entries in found.items() for e in entries]
    return render("readme.md.j2", shown=shown, told=[]) if shown else NOTHING


def artifacts(found: Found) -> str:
    """Return the notebooks with what they ask and how many claims got which verdict."""
    links = (f"[{p}](results/{p}/RESULTS.md)" for p in found)
    lines = [f"| name | asks | {' | '.join(links)} |", "|---" * (len(found) + 2) + "|"]
    for name in ARTIFACTS:
        notebook = paths.notebook(name)
        where = notebook.relative_to(paths.NOTEBOOKS.parent).as_posix()
        cells = [f"`{name}`", f"[{cell(title(notebook))}]({where})"]
        cells += [_verdicts(entries, name) for entries in found.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _verdicts(entries: list[Entry], name: str) -> str:
    """Return the verdicts on an artifact as '3 / 0 / 1 / 7', '' without results."""
    for e in entries:
        if e.artifact == name:
            told = [" / ".join(map(str, e.counts.values()))] if e.claims else []
            marks = {"failed": e.failure, "edited": e.edited, "made by hand": e.by_hand}
            return ", ".join([*(mark for mark, is_so in marks.items() if is_so), *told])
    return ""


def resources(found: Found) -> str:
    """Return what the recorded runs behind the results of each preset took on each machine."""
    head = ("preset", "machine", "networks", "training, h", "evaluation, h", "memory, GB")
    lines = [f"| {' | '.join(head)} |", "|---|---" + "|--:" * 4 + "|"]
    for preset, entries in found.items():
        records = [store.read_json(paths.RESULTS / preset / e.files["record"])
                   for e in entries if "record" in e.files]  # fmt: skip
        keys = sorted({str(key) for record in records for key in record.get("runs") or ()})
        runs = pd.DataFrame([_took(paths.records() / key) for key in keys], columns=TOOK).dropna()
        for machine, its in runs.groupby("machine"):
            hours = " | ".join(f"{its[kind].sum() / 3600:.1f}" for kind in TOOK[1:3])
            most = f"{its['memory'].max() / 1e9:.1f}"
            lines.append(f"| {preset} | {cell(machine)} | {len(its)} | {hours} | {most} |")
    return "\n".join(lines) if len(lines) > 2 else NOTHING


def _took(folder: Path) -> tuple[Any, ...]:
    """Return machine, seconds of training and of evaluating, and most bytes of a recorded run."""
    info = store.read_json(folder / "run.json")
    scored = [store.read_json(path).get("seconds", 0) for path in folder.glob("evaluations/*.json")]
    return info.get("device"), info.get("seconds"), sum(scored), info.get("peak_memory_bytes")


TOOK = ["machine", "training", "evaluation", "memory"]
REGIONS: dict[str, Callable[[Found], str]] = {
    f.__name__: f for f in (finding, results, artifacts, resources)
}
