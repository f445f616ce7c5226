"""Files of one figure or table, as results/<preset>/<paper>/<artifact>/ holds them."""

from __future__ import annotations

import io
import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image

from lib import flags, paths, rows, store, tables, training
from lib.errors import written
from lib.rows import HIDDEN
from lib.study import Study

if TYPE_CHECKING:  # what a batch starts a hundred times draws nothing
    from matplotlib.figure import Figure

INPUTS = "inputs.json"  # what a batch made the files from, and a hash of each of them
FAILURE = "failure.json"  # why the last batch could not make them
EXPLORER = "explorer.json"  # what the report lets its readers try out
FOLDER = "imagefolder:"


def stamp(study: Study, metrics: pd.DataFrame, weights: bool = False) -> str:
    """Return what every figure below the paper preset carries: preset, numbers of images, flags.

    A figure of weights shows no image; it carries the networks that they are of.
    """
    if study.preset.name == "paper" and not study.overrides:
        return ""
    split = next((p.split for job in study.jobs for p in job.protocols), "test")
    count = images(metrics)
    shown = f"n = {count} {split} images" if count else ""
    if weights:
        models = (rows.row(study, recipe)["backbone"] for recipe in study.recipes.values())
        shown = " and ".join(dict.fromkeys(map(tables.backbone_name, models)))
    sets = [recipe.data.dataset for recipe in (*study.recipes.values(), *study.timed.values())]
    named = (s for s in sets if "data.dataset" in study.overrides or s.startswith(FOLDER))
    data = " and ".join(dict.fromkeys(map(short, named))).replace("$", r"\$")  # no formula
    doubts = "; ".join(c.says for c in flags.among(metrics.get("flags", [])) if not weights)
    doubts = doubts and f"flags: {doubts}"
    return ", ".join(filter(None, (f"preset {study.results}", data, shown, doubts)))


def images(metrics: pd.DataFrame) -> str:
    """Return on how many images accuracies were measured, as '500 or 2,000', '' without any."""
    counts = pd.to_numeric(metrics.loc[_accuracies(metrics), "n"], errors="coerce").unique()
    return " or ".join(f"{int(n):,}" for n in sorted(counts[counts > 0]) if n < math.inf)


def _accuracies(metrics: pd.DataFrame) -> pd.Series[bool]:
    return metrics["metric"].astype(str).str.endswith("_acc")


def short(dataset: str) -> str:
    """Return the name of a data set as people read it: of a folder, its last component."""
    if not dataset.startswith(FOLDER):
        return dataset
    return Path(re.sub(r"@\d+$", "", dataset.removeprefix(FOLDER))).name


def save(
    study: Study,
    metrics: pd.DataFrame,
    claims: pd.DataFrame,
    figure: Figure | None = None,
    table: pd.DataFrame | None = None,
    explorer: Mapping[str, Any] | None = None,
) -> None:
    """Write metrics.csv, claims.csv, run.json and the figure or the table of a study.

    explorer is what the report's explorer shows, as `lib.report.explorer` takes it.

    What a batch noted of files that are there is removed first: these are made by hand until a
    batch notes them.
    """
    folder = study.folder
    with written(folder):
        for note in (INPUTS, FAILURE):
            (folder / note).unlink(missing_ok=True)
    told = metrics.drop(columns=HIDDEN, errors="ignore")
    store.write_text(folder / "metrics.csv", told.to_csv(index=False, float_format="%.10g"))
    store.write_text(folder / "claims.csv", claims.to_csv(index=False))
    if figure is not None:
        store.write_bytes(folder / "figure.png", png(figure))
        with store.writing(folder / "figure.pdf") as file:
            figure.savefig(file, format="pdf", metadata={"CreationDate": None})
    if table is not None:
        legend = f"\n{said}\n" if (said := flags.legend(metrics)) else ""
        store.write_text(folder / "table.md", table.to_markdown(index=False) + "\n" + legend)
        latex = table.style.hide(axis="index").format(escape="latex").to_latex(hrules=True)
        store.write_text(folder / "table.tex", latex + legend)
    if explorer is not None:
        store.write_text(folder / EXPLORER, store.compact(explorer) + "\n")
    store.write_text(folder / "run.json", store.compact(record(study, metrics)) + "\n")


def outputs(folder: Path) -> dict[str, str]:
    """Return a short hash of every result file in the folder of an artifact."""
    files = sorted(f for f in folder.iterdir() if f.is_file()) if folder.is_dir() else []
    return {
        f.name: _hash(f)
        for f in files
        if f.name not in (INPUTS, FAILURE)
        and not f.name.startswith(".")
        and ".failed." not in f.name
    }


def recorded(folder: Path) -> dict[str, str] | None:
    """Return the hashes that a batch noted of its files, None if they were made by hand.

    They are empty where the note is damaged, so that it vouches for nothing.
    """
    if not (folder / INPUTS).exists():
        return None
    found = store.read_json(folder / INPUTS).get("outputs")
    return found if isinstance(found, dict) else {}


def _hash(file: Path) -> str:
    try:
        return store.sha256(file)[:16]
    except OSError:
        return ""  # as no batch noted it


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG of 200 dots per inch with a palette, a third of the full size."""
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=200)
    Image.open(full).convert("RGB").quantize(192).save(small, format="png", optimize=True)
    return small.getvalue()


def record(study: Study, metrics: pd.DataFrame) -> dict[str, Any]:
    """Return the provenance of an artifact: command, recipes, and where each run was made.

    Seconds are never read from records: timed_on says where they were measured, which is here.
    """
    made = study.recipes.items()
    runs = {key: {"recipe": one.to_dict(full=False), **_run_info(key)} for key, one in made}
    changed = [f"{name}={json.dumps(value)}" for name, value in study.overrides.items()]
    here, timed = training.provenance(), {}
    if metrics.loc[~_accuracies(metrics), "n"].notna().any():  # rounds of timing
        timed = {"timed_on": {name: here[name] for name in ("device", "threads")}}
    return {
        "artifact": study.artifact,
        "preset": study.preset.name,
        "seeds": list(study.seeds),
        "overrides": dict(study.overrides),
        "command": command(study.artifact, study.preset.name, study.seeds, changed),
        "flags": flags.legend(metrics),
        "from_records": not all(run["weights"] for run in runs.values()),
        "runs": runs,
        **timed,
        "commit": here["commit"],
        "python": here["python"],
        "pandas": metadata.version("pandas"),
        "matplotlib": metadata.version("matplotlib"),
        "written": here["finished"],
    }


def command(
    artifact: str, preset: str, seeds: Sequence[int] = (0,), overrides: Sequence[str] = ()
) -> str:
    """Return the command that remakes an artifact; overrides are given as FIELD=VALUE."""
    parts = ["./run_all.sh", artifact, *([] if preset == "quick" else ["--preset", preset])]
    if tuple(seeds) != (0,):
        parts += ["--seeds", ",".join(map(str, seeds))]
    return " ".join([*parts, *(f"--set {shlex.quote(one)}" for one in overrides)])


def _run_info(key: str) -> dict[str, Any]:
    folder = next(iter(store.homes(key)), paths.runs() / key)
    info = store.read_json(folder / "run.json")
    kept = ("commit", "dirty", "code", "device", "threads", "precision", "torch", "seconds")
    out = {name: info[name] for name in (*kept, "finished") if name in info}
    return out | {"weights": (folder / "weights.safetensors").is_file()}
