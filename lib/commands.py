"""What each command does; `lib.arguments` says which words they take.

What a command alone needs it imports itself: networks are trained and measured without packages
that draw, write reports or know notebooks.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

import pandas as pd
import torch

from lib import cost as counting
from lib import data as sets
from lib import parallel, paths, progress, records, runs, stopping, store
from lib import verify as checking
from lib.batch import plan, worker
from lib.batch import status as shelf
from lib.datasets import check_name
from lib.errors import UserError, check_range, written
from lib.presets import PRESETS, preset
from lib.studies import ARTIFACTS, artifact, match


def run(words: argparse.Namespace) -> int:
    """Carry out the batch, or show what it would do."""
    from lib.batch import preview
    from lib.batch import run as batch

    if words.artifacts[:1] and words.artifacts[0] in ("lib", *COMMANDS):
        said = " ".join(word for word in words.artifacts if word != "lib")
        raise UserError(f"That is not for the batch but: ./run_all.sh --python -m lib {said}")
    os.environ["SUITE_FROM_RECORDS"] = "1" if words.from_records else ""  # for notebooks, too
    names = tuple(match([words.why] if words.why else words.artifacts))
    alike = ("preset", "seeds", "jobs", "fresh", "timeout", "executor", "slurm")
    how = {name: getattr(words, name) for name in alike}
    asked = batch.Batch(names, overrides=words.set, records=words.from_records, **how)
    if words.write_jobs:
        for job in batch.write_jobs(asked).values():
            print(job)
        return 0
    show = preview.why if words.why else preview.dry if words.dry_run else batch.execute
    return show(asked)


def train(words: argparse.Namespace) -> int:
    """Train and evaluate here, one network after the other, or assist the process that does."""
    if threads := os.environ.get("SUITE_THREADS"):  # they decide the last bits of a run
        torch.set_num_threads(int(threads))
    with parallel.group() as number:
        if number:
            return runs.assist()
        status = _train(words)
        parallel.tell(None)  # in place of another training
        return status


def _train(words: argparse.Namespace) -> int:
    if words.within and words.fresh:
        raise UserError("--fresh starts anew at each call, so --within needs a call without it.")
    single = [word for word in words.artifacts if shelf.is_job(word)]
    jobs = [shelf.job_of(word) for word in single]
    chosen = (words.preset, words.seeds, words.set)
    if names := [word for word in words.artifacts if word not in single]:
        jobs += [job for name in match(names) for job in artifact(name)(*chosen).jobs]
    asked = {job.recipe.key for job in jobs}
    needs = sorted(plan.needs_of(jobs).values(), key=lambda need: len(need.recipe.ancestors))
    for index, need in enumerate(needs):
        recipe, home = need.recipe, runs.folder(need.recipe)
        before = _files(home)
        try:
            if words.within and not index:  # counts from the start of the process all the same
                stopping.limit(words.within)
            where = f"{recipe.data.dataset} {recipe.model.backbone}"  # a label may be on several
            label = f"{need.label}, {where}, seed {recipe.seed}"
            fresh = words.fresh and recipe.key in asked
            made = worker.work(recipe, [*need.protocols.values()], label, fresh)
        except stopping.Stopped as stopped:
            moved = _files(home) != before or not all(n.done for n in needs[:index])
            if stopped.number == signal.SIGALRM and not moved:
                raise UserError(
                    f"--within {words.within:g}s is too short for a step of {need.name}; give more."
                ) from stopped
            left = [n for n in needs[index:] if not n.done]
            sys.stderr.write(f"{_left(left, len(needs))}\n")
            raise
        print(f"{made.key}  {label}  {made.folder}")
    return 0


def _files(home: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}


def _left(needs: list[plan.Need], total: int) -> str:
    """Return in a sentence what is left to do, the network under way as a whole."""
    training, lacking = plan.undone(needs)
    return (
        f"Left of {total} networks: {training} to train and {lacking} evaluations, at a guess "
        f"{progress.span(sum(n.seconds for n in needs))} at most; the next is {needs[0].name}."
    )


def status(words: argparse.Namespace) -> int:
    """Print the runs of the store; 1 if one of them is damaged."""
    from lib.batch import display

    found = shelf.held()
    rows = [(run.key, run.what, run.state, f"{run.megabytes:.1f}") for run in found]
    print(display.table(("run", "what", "state", "MB"), rows))
    total = sum(run.megabytes for run in found)
    kept = sum(map(store.is_sealed, paths.records().glob("*")))
    print(f"\n{len(found)} runs, {total:.1f} MB; {kept} more are kept as records")
    return int(any(run.damaged for run in found))


def carry(words: argparse.Namespace) -> int:
    """Copy finished runs to or from a folder; 1 if one of them was refused."""
    source, target = paths.runs(), words.folder
    if words.action == "import":
        source, target = target, source
    if not source.is_dir():
        raise UserError(f"There are no runs in {source}; name the folder of an export.")
    check_name(words.folder)
    names = words.key or sorted(p.name for p in source.iterdir() if p.suffix != ".lock")
    homes = [source / name for name in names]
    if words.action == "export":
        found = [(name, store.homes(name)) for name in names if shelf.KEY.fullmatch(name)]
        homes = [next(iter(of), source / n) for n, of in found if of or words.key]
    refused = 0
    for there, line in records.carry(homes, target):
        refused += not there
        print(line)
    return int(refused > 0)


def verify(words: argparse.Namespace) -> int:
    """Train and score the beginning of runs again, stale or named; 1 if one is not the same."""
    differing, refused = 0, []
    for key in words.key or shelf.stale():
        try:
            run = runs.load(shelf.recipe_of(key), records=True)
            if run is None:
                raise UserError(f"Run {key} is not finished; python -m lib train {key} trains it.")
            with progress.task(f"{key}, epoch 1") as report_share:
                for same, line in checking.report(run, bool(words.key), report_share):
                    differing += not same
                    print(f"{key}  {line}")
        except UserError as error:  # the others can be verified all the same
            refused.append(f"{key}  not verified: {error}")
    for line in refused:
        print(line)
    return int(differing > 0 or bool(refused))


def cost(words: argparse.Namespace) -> int:
    """Print the cost of a network."""
    from lib.batch import display

    torch.manual_seed(0)  # masks are drawn; the same question has the same answer
    network = words.method, words.backbone, words.width or None, words.num_classes
    found = counting.report(*network, words.size, words.set, words.in_channels)
    rows = [(name, f"{value:,}") for name, value in found.items()]
    print(json.dumps(found) if words.json else display.table(("what", "number"), rows))
    return 0


def bench(words: argparse.Namespace) -> int:
    """Measure the rows of the bench, printing and writing each as soon as it is there."""
    from lib import bench as benching
    from lib import bench_rows

    if words.rounds:
        check_range("--rounds", words.rounds, 2)
    if words.record and words.only:
        raise UserError("--record keeps a whole bench; leave out --only, or write with --json.")
    if threads := os.environ.get("SUITE_THREADS"):
        torch.set_num_threads(int(threads))
    found: list[benching.Row] = []

    def on_row(row: benching.Row) -> None:
        print(f"{row.name:32} {row}", flush=True)
        found.append(row)
        if words.json:
            benching.write(words.json, found)

    benching.run(bench_rows.groups(), words.only, words.rounds, on_row)
    if words.record:
        benching.write(benching.file(), found)
        print(benching.file())
    return 0


def data(words: argparse.Namespace) -> int:
    """Make data sets ready for use."""
    for name in words.name:
        sets.spec(name)  # before the first download
    for name in words.name:
        counts = ", ".join(f"{n:,} {split}" for split, n in sets.prepare(name).items())
        print(f"{name}: {counts}")
    return 0


def report(words: argparse.Namespace) -> int:
    """Write the reports of the results folders."""
    from lib import report as reports
    from lib.report import readme

    if words.preset and "-custom-" not in words.preset:
        preset(words.preset)
    home = paths.home("")
    made = reports.build(home, words.preset)
    if not made and not words.readme:
        raise UserError(f"There are no such results in {home}; ./run_all.sh makes them.")
    for folder, entries in made.items():
        print(f"{folder / 'index.html'}: {len(entries)} artifacts")
        for one in reports.edited(entries):
            print(f"  edited since, not published: {one}")
    if words.readme:
        readme.fill(paths.ROOT / "README.md")
        print("README.md: generated parts rewritten")
    return 0


def unsettled(words: argparse.Namespace) -> int:
    """Print what would settle the claims that recorded results leave open."""
    from lib.batch import settle

    return settle.show(words.preset, match(words.artifacts), words.json)


def spread(words: argparse.Namespace) -> int:
    """Write how far trainings spread over their seeds, from the records of committed results."""
    from lib.measure import measure
    from lib.spread import FOLDER, pooled

    os.environ["SUITE_FROM_RECORDS"] = "1"  # whatever else has been trained here
    for name in PRESETS:
        rows = []
        for path in sorted((paths.RESULTS / name).glob("*/*/metrics.csv")):
            seeds = pd.read_csv(path)["seed"].dropna().unique().astype(int).tolist()
            rows.append(measure(artifact("/".join(path.parts[-3:-1]))(name, seeds or [0])))
        if rows:
            once = pd.concat(rows).drop_duplicates(["run", "method", "lam", "attack", "metric"])
            text = pooled(once).to_csv(index=False, float_format="%.4g")
            store.write_text(FOLDER / f"{name}.csv", text)
            print(FOLDER / f"{name}.csv")
    return 0


def prepare_notebooks(words: argparse.Namespace) -> int:
    """Write copies of all notebooks that run under another preset."""
    from lib.batch import execute, inputs

    preset(words.preset)
    check_name(words.folder)
    for name in ARTIFACTS:
        source, target = paths.notebook(name), words.folder / f"{name}.ipynb"
        inputs.check(source)
        with written(target):
            execute.prepare(source, target, {"PRESET": words.preset})
    print(f"{len(ARTIFACTS)} notebooks with preset {words.preset} in {words.folder}")
    return 0


COMMANDS = {
    f.__name__.replace("_", "-"): f
    for f in (run, train, status, verify, cost, bench, data, report, spread, prepare_notebooks)
} | {"runs": carry, "open": unsettled}
