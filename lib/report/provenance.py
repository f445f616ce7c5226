"""What the run.json of an artifact tells a reader: conditions, warnings, provenance."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib import artifacts, runs, store, verify
from lib.recipe import Recipe

LIMIT = 4  # distinct values that are spelled out


def said(path: Path, images: str) -> dict[str, Any]:
    """Return what a run.json says of its artifact, in which anything may be absent or null."""
    record = {name: value for name, value in store.parse(path).items() if value is not None}
    found = record.get("runs", {})
    seconds = sum(float(run.get("seconds") or 0) for run in found.values())
    recipes = {k: Recipe.from_dict(run["recipe"]) for k, run in found.items() if "recipe" in run}
    told = {
        "changed": ", ".join(f"{k}={v}" for k, v in record.get("overrides", {}).items()),
        "seconds": seconds if found else None,
        "conditions": ", ".join(filter(None, [*_networks([*recipes.values()]), images])),
        "notes": _marks(found, recipes),
        "provenance": _provenance(record, [*found.values()], seconds),
        "flags": flags if isinstance(flags := record.get("flags"), str) else "",
    }
    return told | ({"command": str(record["command"])} if record.get("command") else {})


def few(values: Iterable[object]) -> str:
    """Return the distinct values in a line, the first ones if there are many."""
    distinct = list(dict.fromkeys(str(v) for v in values if v not in (None, "")))
    more = f" and {len(distinct) - LIMIT} more" if len(distinct) > LIMIT else ""
    return ", ".join(distinct[:LIMIT]) + more


def _marks(found: Mapping[str, dict[str, Any]], recipes: Mapping[str, Recipe]) -> list[str]:
    """Return what a reader must know of the runs before trusting what they show."""
    recorded = sum(not run.get("weights", True) for run in found.values())
    stale = sum(not runs.confirmed(r, found[key].get("code")) for key, r in recipes.items())
    homes = [(r, home) for r in recipes.values() for home in store.homes(r.key)[:1]]
    scored = sum(len(verify.stale(runs.Run(*at))[1]) for at in homes)
    dirty = sum(bool(run.get("dirty")) for run in found.values())
    told = {
        f"Redrawn from records: {recorded} of {len(found)} runs have no weights here.": recorded,
        f"Stale: {stale} of {len(found)} runs were made by other training code than today's; "
        "`python -m lib verify` tells whether that matters, --fresh trains them anew.": stale,
        f"Stale: {scored} evaluations of its runs were made by other code than today's; "
        "`python -m lib verify` tells whether that matters.": scored,
        f"{dirty} of {len(found)} runs were made with uncommitted changes in lib.": dirty,
    }
    return [note for note, number in told.items() if number]


def _networks(recipes: Sequence[Recipe]) -> list[str]:
    """Return data, networks, epochs and training images in a few words each."""
    if not recipes:
        return []
    epochs = few(sorted({r.train.epochs for r in recipes} - {0}) or [0])  # 0: not trained
    sizes = (r.data.train_images for r in recipes)
    models = (r.model for r in recipes)
    return [
        few(artifacts.short(r.data.dataset) for r in recipes),
        few(f"{m.backbone} of width {m.width}" if m.width else m.backbone for m in models),
        f"{epochs} {'epoch' if epochs == '1' else 'epochs'}",
        f"{few(f'{n:,}' if n else 'all' for n in sizes)} training images",
    ]


def _provenance(
    record: dict[str, Any], runs: list[dict[str, Any]], seconds: float
) -> list[tuple[str, str]]:
    """Return where the results come from as pairs of label and value, without empty ones."""
    versions = {n: record.get(n) for n in ("python", "pandas", "matplotlib")}
    versions |= {"torch": few(run.get("torch") for run in runs)}
    timed = record.get("timed_on", {})
    threads = f"{timed.get('threads')} thread{'' if timed.get('threads') == 1 else 's'}"
    pairs = [
        ("Preset", record.get("preset", "")),
        ("Seeds", few(record.get("seeds", []))),
        ("Networks", len(runs) or ""),
        ("Training", f"{seconds:,.0f} s in all" if seconds else ""),
        ("Trained on", few(run.get("device") for run in runs)),
        ("Threads", few(run.get("threads") for run in runs)),
        ("Times measured on", timed and f"{timed.get('device')}, {threads}"),
        ("Precision", few(run.get("precision") for run in runs)),
        ("Code of the runs", few((run.get("commit") or "")[:10] for run in runs)),
        ("Code of the notebook", record.get("commit", "")[:10]),
        ("Versions", ", ".join(f"{n} {v}" for n, v in versions.items() if v)),
        ("Written", record.get("written", "")),
    ]
    return [(label, str(value)) for label, value in pairs if value]
