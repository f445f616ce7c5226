"""Fills the generated regions of README.md from the results: findings, verdicts, resources.

`<!-- generated: REGION WORD... -->` opens one: the words say which artifacts it shows.
"""

import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from lib import claims, compare, paths, store, zoo
from lib.claims import NOT_JUDGED, NOT_REPRODUCED, REPRODUCED, VERDICTS
from lib.errors import UserError, choose
from lib.intervals import Estimate
from lib.presets import PRESETS
from lib.recipe import Recipe
from lib.report.collect import Entry, collect, title
from lib.report.markdown import cell, exhibit, line, table
from lib.studies import ARTIFACTS
from lib.study import Job

REGION = re.compile(r"(<!-- generated: ([\w-]+)(.*?) -->\n).*?(<!-- end -->)", re.DOTALL)
SHOWN = ("paper", "gpu", "cifar", "quick")  # the presets whose results are evidence, the best first
INTERVAL = re.compile("({0})x? \\[({0}), ({0})\\]".format(r"[+-]?\d+\.?\d*"))  # and estimate
CLEAREST = 2  # claims of each verdict that a paragraph names
NOTHING = "There are no results yet; `./run_all.sh` makes them."

Found = dict[str, list[Entry]]


def fill(readme: Path) -> None:
    """Rewrite the generated regions of a README, and nothing else of it."""
    try:
        text = readme.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read {readme} ({error}); restore it.") from error
    found = {p: collect(paths.RESULTS / p) for p in SHOWN if p in PRESETS}
    found = {preset: entries for preset, entries in found.items() if entries}

    def region(match: re.Match[str]) -> str:
        write = REGIONS[choose("generated region", match[2], REGIONS)]
        return f"{match[1]}{write(found, *match[3].split()).strip()}\n{match[4]}"

    store.write_text(readme, REGION.sub(region, text))


def artifact(found: Found, name: str, *about: str) -> str:
    """Return the figure or table of an artifact from the best preset that has it, and claims.

    These are the ones whose ids hold a part of about, by verdict, if judged with what they came to.
    """
    there = ((preset, e) for preset, entries in found.items() for e in entries)
    preset, e = next(((preset, e) for preset, e in there if e.artifact == name), ("", None))
    if e is None:
        return NOTHING
    stop = "" if e.title.endswith("?") else "."
    state = "" if e.status == "done" else f" ({line(e.status)})"
    link = f"[report](results/{preset}/RESULTS.md#{e.anchor})"
    said = f"**{line(e.title)}{stop}** Preset `{preset}`: {line(e.conditions)}. {e.verdicts}{state}"
    parts, told = [f"{said}, in the {link}.", *exhibit(e, f"results/{preset}/")], []
    chosen = e.claims["id"].map(lambda one: any(part in one for part in about))
    rows, stated = e.claims[chosen.astype(bool)].to_dict("records"), _stated()
    for verdict in VERDICTS:
        mine = [(row["claim"], _ours(row, stated)) for row in rows if row["verdict"] == verdict]
        each = (claim if verdict == NOT_JUDGED else f"{claim}: {ours}" for claim, ours in mine)
        told += [f"- **{verdict}**: {line('; '.join(each))}."] if mine else []
    return "\n\n".join([*parts, "\n".join(told)])


def artifacts(found: Found) -> str:
    """Return the notebooks with what they ask and how many claims got which verdict."""
    rows = []
    for name in ARTIFACTS:
        notebook = paths.notebook(name)
        where = notebook.relative_to(paths.NOTEBOOKS.parent).as_posix()
        asks = f"[{cell(title(notebook))}]({where})"
        rows.append([f"`{name}`", asks, *(_verdicts(entries, name) for entries in found.values())])
    return table(["name", "asks", *(f"[{p}](results/{p}/RESULTS.md)" for p in found)], rows)


def _verdicts(entries: list[Entry], name: str) -> str:
    """Return the verdicts on an artifact as '3 / 0 / 1 / 7', '' without results."""
    for e in entries:
        if e.artifact == name:
            told = [" / ".join(map(str, e.counts.values()))] if len(e.claims) else []
            marks = {"failed": e.failure, "edited": e.edited, "made by hand": e.by_hand}
            return ", ".join([*(mark for mark, is_so in marks.items() if is_so), *told])
    return ""


def papers(found: Found) -> str:
    """Return a paragraph for each paper: what became of its measured claims, and the clearest."""
    stated, parts = _stated(), list[str]()
    names = dict.fromkeys(name.split("/")[0] for name in ARTIFACTS)
    for paper in (name for name in names if (paths.REFERENCE / name).is_dir()):
        said = list[str]()
        for preset, entries in found.items():
            mine = [e for e in entries if e.artifact.startswith(f"{paper}/")]
            rows = [(row, e) for e in mine for row in e.claims.to_dict("records")]
            rows = [(row, e) for row, e in rows if row["kind"] == "measured"]
            each = {v: [(r, e) for r, e in rows if r["verdict"] == v] for v in VERDICTS if rows}
            shares = (f"{len(of)} ({len(of) / len(rows):.0%}) {v}" for v, of in each.items())
            if told := ", ".join(shares):
                said += [] if said else [f"**{line(mine[0].title.partition(',')[0])}.**"]
                said += [f"At preset `{preset}`, of {len(rows)} measured claims {told}."]
            for verdict in (REPRODUCED, NOT_REPRODUCED):
                if best := _clearest(each.get(verdict, []), stated, preset):
                    said += [f"Most clearly {verdict}: {best}."]
        parts += [" ".join(said)] if said else []
    return "\n\n".join(parts) or NOTHING


_stated = cache(lambda: {row["id"]: row for row in claims.stated().to_dict("records")})


def _ours(row: Any, stated: dict[str, Any]) -> str:
    """Return what a claim came to: of accuracies that are compared, their difference."""
    test = stated.get(row["id"], {}).get("test", compare.COMPARISONS[0])
    return str(row["difference" if test in compare.COMPARISONS else "our_value"])


def _clearest(rows: list[tuple[Any, Entry]], stated: dict[str, Any], preset: str) -> str:
    """Return the claims whose intervals are, by their widths, farthest from where they would turn.

    Claims without an interval, as of counts, are left out.
    """
    told = []
    for row, e in rows:
        claim, ours = stated.get(row["id"]), _ours(row, stated)
        if claim and (match := INTERVAL.match(ours)):
            value, low, high = map(float, match.groups())
            found = Estimate(value, low, high)
            if claim["test"] in compare.COMPARISONS:
                room, width = compare.gap(claim, found).room, max(high - low, 0.1)
            elif claim["test"] in compare.RATIOS and low > 0:
                room, width = compare.ratio(claim, found).room, max(math.log(high / low), 0.01)
            else:  # of another test by now
                continue
            where = f"[`{e.artifact}`](results/{preset}/RESULTS.md#{e.anchor})"
            said = line(f"{row['claim']} ({ours}")
            told.append((room / width, f"{said}, {where})"))
    return "; ".join(text for _, text in sorted(told, reverse=True)[:CLEAREST])


def resources(found: Found) -> str:
    """Return what the recorded runs behind the results of each preset took on each machine."""
    rows = []
    for preset, entries in found.items():
        records = [store.read_json(paths.RESULTS / preset / e.files["record"])
                   for e in entries if "record" in e.files]  # fmt: skip
        keys = sorted({str(key) for record in records for key in record.get("runs") or ()})
        took = [part for key in keys for part in _took(paths.records() / key)]
        for machine, its in pd.DataFrame(took, columns=TOOK).dropna().groupby("machine"):
            hours = [f"{its[kind].sum() / 3600:.1f}" for kind in TOOK[2:4]]
            most = f"{its['memory'].max() / 1e9:.1f}"
            if {*hours} != {"0.0"}:
                rows.append([preset, cell(machine), str(its["networks"].sum()), *hours, most])
    head = ["preset", "machine", "networks", "training, h", "evaluation, h", "memory, GB"]
    return table(head, rows, right=range(2, 6)) if rows else NOTHING


def _took(folder: Path) -> Iterator[tuple[Any, ...]]:
    """Yield what a recorded run took, as TOOK has it, and each evaluation where that was made."""
    info = store.read_json(folder / "run.json")
    yield info.get("device"), 1, info.get("seconds"), 0, info.get("peak_memory_bytes")
    for _, one in store.measured(folder):
        yield one.get("device"), 0, 0, one.get("seconds"), 0


def runs(found: Found, *keys: str) -> str:
    """Return what recorded runs scored that are behind no results, a row for each trade-off."""
    rows = []
    for folder in (paths.records() / key for key in keys if store.is_sealed(paths.records() / key)):
        recipe = Recipe.from_dict(store.parse(folder / "recipe.json"))
        train, machine = recipe.train, store.read_json(folder / "run.json").get("device")
        about = f"{recipe.model.backbone}, {train.epochs} epochs, {machine}"
        job, cells = Job(recipe.method.label, recipe), dict[float, dict[str, str]]()
        for _, record in store.measured(folder):
            lam, attack, _, _, n, right, low, high = zoo.score(job, record)
            cells.setdefault(lam, {})[attack] = f"{right:.1f} [{low:.1f}, {high:.1f}] of {n:,}"
        for lam, of in sorted(cells.items()):
            scores = [of.get(attack, "") for attack in SCORED]
            rows.append([job.label, f"{lam:g}", cell(about), *scores])
    head = ["method", "λ", "trained", *SCORED.values()]
    return table(head, rows, right=range(3, 6)) if rows else NOTHING


def bench(found: Found, *beginnings: str) -> str:
    """Return those rows of the recorded benches whose names begin so, a column for each machine."""
    rows = dict[tuple[str, str], dict[str, str]]()
    for record in map(store.read_json, sorted((paths.RESULTS / "bench").glob("*.json"))):
        for row in record.get("rows", ()):
            if row["name"].startswith(beginnings) and row["ratio"] is not None:
                own = rows.setdefault((f"`{row['name']}`", row["unit"]), {})
                text = "{value:.3g}: **{ratio:.3g}** [{low:.3g}, {high:.3g}]".format_map(row)
                own[_machine(record)] = text
    machines = list(dict.fromkeys(machine for own in rows.values() for machine in own))
    lines = [[*at, *(own.get(machine, "") for machine in machines)] for at, own in rows.items()]
    some = table(["row", "unit", *map(cell, machines)], lines, range(2, 2 + len(machines)))
    return some if rows else "`python -m lib bench --record` writes the first."


def _machine(record: dict[str, Any]) -> str:
    of = record.get("machine", {})
    has = [of.get("instruction_set"), "AMX" if of.get("amx") else None, of.get("precision")]
    words = [of.get("device"), f"{of.get('threads')} threads", *has, f"PyTorch {of.get('torch')}"]
    return ", ".join(filter(None, words))


def faults(found: Found) -> str:
    """Return what the recorded faults came to, a row for each fault."""
    record = store.read_json(paths.RESULTS / "bench" / "faults.json")
    tries = pd.DataFrame(record.get("faults", ()), columns=["fault", "work", "tries", "passed"])
    rows = []
    for fault, its in tries.groupby("fault", sort=False):
        what = ", ".join(map(cell, its["work"]))
        rows.append([cell(fault), what, str(its["tries"].sum()), str(its["passed"].sum())])
    if not rows:
        return "`./run_all.sh --python -m tests.faults --record` writes them."
    head = ["fault", "met by", "times", "dealt with"]
    return f"{line(_machine(record) + ':')}\n\n{table(head, rows, range(2, 4))}"


SCORED = {"clean": "clean", "pgd7": "PGD-7", "pgd20": "PGD-20"}
TOOK = ["machine", "networks", "training", "evaluation", "memory"]
REGIONS: dict[str, Callable[..., str]] = {
    f.__name__: f for f in (artifact, artifacts, bench, faults, papers, resources, runs)
}
