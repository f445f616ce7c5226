"""The batch command: train what is missing, execute notebooks, write the report."""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lib import data, device, paths, records, report, store
from lib.batch import display, effort, inputs, notebooks, plan, pool, room, slurm
from lib.batch.display import shown
from lib.errors import UserError, check_range, choose, written
from lib.recipe import Recipe

GPU_JOBS = 4  # networks that share one GPU
EXECUTORS = ("local", "slurm")  # where networks are trained; notebooks always run here


@dataclass
class Batch:
    """What was asked for on the command line, what is there of it, and what is left to do."""

    names: tuple[str, ...]
    preset: str = "quick"
    seeds: tuple[int, ...] = (0,)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    jobs: int | None = None
    fresh: bool = False
    records: bool = False
    timeout: float = 1800.0
    executor: str = "local"
    slurm: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.jobs is not None:
            check_range("--jobs", self.jobs, 1)
        check_range("--timeout", self.timeout, 1)
        if self.fresh and self.records:
            raise UserError("--fresh trains anew and --from-records never trains; choose one.")
        if choose("executor", self.executor, EXECUTORS) == "local" and self.slurm:
            raise UserError("--slurm says how networks are submitted; add --executor slurm.")
        chosen = (self.names, self.preset, self.seeds, self.overrides)
        self.plan = plan.make(*chosen, records=self.records, fresh=self.fresh)

    @cached_property
    def outdated(self) -> list[str]:
        """Return the artifacts whose results are not what their notebooks would make now."""
        return [
            name
            for name, study in self.plan.studies.items()
            if self.fresh
            or any(not need.done for need in self.plan.of(study))
            or any(inputs.changes(study, self.plan))
        ]

    @cached_property
    def skipped(self) -> dict[str, str]:
        """Return why outdated artifacts cannot be redrawn, those without a complete record."""
        names = self.outdated if self.records else []
        found = {name: reason for name in names if (reason := self._lacks(name))}
        if found and len(found) == len(self.plan.studies):
            raise UserError(
                f"Nothing can be redrawn from records: {next(iter(found.values()))}; "
                "run without --from-records to train."
            )
        return found

    @property
    def due(self) -> list[str]:
        """Return the artifacts whose notebooks are to be executed."""
        return [name for name in self.outdated if name not in self.skipped]

    @property
    def undone(self) -> list[plan.Need]:
        """Return the networks to train or evaluate; from records that are none."""
        return [] if self.records else [n for n in self.plan.needs.values() if not n.done]

    @cached_property
    def slots(self) -> int:
        """Return how many jobs run at a time: as asked, else one for each core, a few on a GPU."""
        affine = hasattr(os, "sched_getaffinity")
        cores = (len(os.sched_getaffinity(0)) if affine else os.cpu_count()) or 1
        if self.jobs is None:
            return min(cores, GPU_JOBS) if device.device().type == "cuda" else cores
        if self.jobs > cores:
            sys.stderr.write(
                f"--jobs {self.jobs} is more than the {cores} cores here: no faster, and as many "
                "processes want memory.\n"
            )
        return self.jobs

    @cached_property
    def place(self) -> pool.Place:
        return slurm.Queue(self.slurm) if self.executor == "slurm" else pool.fork

    @property
    def memory(self) -> str:
        """Return in words how much memory its jobs take, and how much there is here."""
        sizes = [need.memory for need in self.undone] + [effort.NOTEBOOK] * len(self.due)
        most, at_once = max(sizes), sum(sorted(sizes)[-self.slots :])
        return (
            f"a job takes up to {most / 1e9:.1f} GB and all at a time {at_once / 1e9:.1f} GB, of "
            f"{room.free() / 1e9:.1f} GB that are free; what does not fit waits."
        )

    def _lacks(self, name: str) -> str:
        """Return what an artifact lacks to be redrawn from records, '' if nothing."""
        study = self.plan.studies[name]
        lacking = [need for need in self.plan.of(study) if not need.done]
        if lacking:
            what = "not evaluated as asked" if lacking[0].trained else lacking[0].state
            first = f"the first is {lacking[0].name}: {what}"
            return f"{len(lacking)} of its runs have no record, {first}"
        for dataset in sorted({recipe.data.dataset for recipe in study.timed.values()}):
            if not _is_here(dataset):
                why = f"its networks are timed on {dataset}, which is not here"
                return f"{why}; python -m lib data {dataset} fetches it"
        return ""


def execute(batch: Batch) -> int:
    """Train, evaluate, execute and report what is missing; return 1 if anything failed."""
    made, due, undone = batch.plan, batch.due, batch.undone
    for name in due:
        inputs.check(paths.notebook(name))
    with written(paths.runs()):  # or say so before anything is downloaded
        paths.runs().mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=paths.runs()).close()
    place = batch.place if undone else pool.fork
    timed = [recipe for name in due for recipe in made.studies[name].timed.values()]
    _require_data([*(need.recipe for need in undone), *timed])
    with written(Path(tempfile.gettempdir())):  # a name short enough for sockets in the folder
        stage = tempfile.TemporaryDirectory(prefix="batch-", ignore_cleanup_errors=True)
    with stage as folder:
        jobs = _jobs(batch)
        tasks = [*jobs.values(), *_executions(batch, jobs, Path(folder))]
        if tasks:
            training = sum(not need.trained for need in undone)
            parts = [f"{training} networks to train"] if training else []
            parts += [f"{len(jobs) - training} to evaluate"] if len(jobs) > training else []
            parts += [f"{len(due)} of {len(made.studies)} notebooks to execute"]
            what = f"Preset {batch.preset}: {', '.join(parts)}"
            how = f"{batch.slots} at a time"
            how += "" if place is pool.fork else " here, networks as Slurm starts them"
            sys.stderr.write(f"{what}, {how}; {batch.memory}\n")
        away = sum(not task.is_here for task in tasks)
        meter = display.Meter(tasks, batch.slots + away)
        with closing(meter.bar):
            pool.run(tasks, batch.slots, meter)
    _summarise(batch, tasks)
    failed = any(task.reason for task in tasks)
    if os.environ.get("SUITE_RECORD") and not failed and not batch.records:
        for need in made.needs.values():
            records.keep(need.recipe)
    return int(failed)


def _is_here(dataset: str) -> bool:
    """Return whether a data set can be read as it is."""
    try:
        for split in ("train", "test"):
            data.load(dataset, split, limit=1)
    except UserError:
        return False
    return True


def _require_data(recipes: Iterable[Recipe]) -> None:
    """Download and check the data sets that are read, before any job starts."""
    for name in sorted({recipe.data.dataset for recipe in recipes}):
        if not _is_here(name):
            sys.stderr.write(f"Preparing the data set {name}.\n")
            data.prepare(name)


def write_jobs(batch: Batch) -> dict[str, Path]:
    """Return by key a file for `train` of every network that lacks its training or an evaluation.

    A network comes after those that it starts from; of the others the longest come first.
    """
    waits = {need.recipe.key for need in batch.undone}

    def order(need: plan.Need) -> tuple[int, float]:
        return sum(start.key in waits for start in need.recipe.ancestors), -need.seconds

    files = {}
    for need in sorted(batch.undone, key=order):
        asked = {"recipe": need.recipe.to_dict(), "protocols": [p.to_dict() for p in need.lacking]}
        files[need.recipe.key] = job = paths.runs() / ".jobs" / f"{need.recipe.key}.json"
        store.write_json(job, asked)
    return files


def _jobs(batch: Batch) -> dict[str, pool.Task]:
    """Return by key one task for every network to train or evaluate, waiting for its ancestors."""
    tasks: dict[str, pool.Task] = {}
    for key, job in write_jobs(batch).items():
        need = batch.plan.needs[key]
        words = ["lib", "train", str(job), *(["--fresh"] if batch.fresh else [])]
        log = paths.runs() / ".logs" / f"{key}.log"
        starts = [tasks[start.key] for start in need.recipe.ancestors if start.key in tasks]
        what = need.name, "network", pool.python(*words), log, need.seconds, starts
        tasks[key] = pool.Task(*what, memory=need.memory, place=batch.place)
    return tasks


def _executions(batch: Batch, jobs: Mapping[str, pool.Task], stage: Path) -> Iterator[pool.Task]:
    guesses = {n: notebooks.guess(batch.plan.studies[n], batch.timeout) for n in batch.due}
    for name in sorted(guesses, key=lambda n: -guesses[n]):  # the longest is not to be the last
        study = batch.plan.studies[name]
        yield notebooks.Execution(
            name,
            "notebook",
            command=(),
            log=paths.runs() / ".logs" / f"{name.replace('/', '.')}.log",
            guess=guesses[name],
            needs=[jobs[key] for key in study.recipes if key in jobs],
            limit=batch.timeout,
            memory=effort.NOTEBOOK,
            study=study,
            plan=batch.plan,
            home=stage,
        )


def _summarise(batch: Batch, tasks: Sequence[pool.Task]) -> None:
    home = paths.home(batch.plan.results)
    reported = report.build(home.parent, only=home.name)
    entries = {e.artifact: e for e in reported.get(home, [])}
    rows, ended = [], {task.name: task for task in tasks}
    for name in batch.plan.studies:
        verdicts, seconds, status = (e.verdicts if (e := entries.get(name)) else ""), "", "current"
        if task := ended.get(name):
            seconds, status = f"{task.seconds:.1f}", "done"
            if task.reason:
                verdicts, status = "", f"failed: {task.reason}"
        elif name in batch.skipped:
            status = f"skipped: {batch.skipped[name]}"
        rows.append((name, verdicts, seconds, status))
    print(display.table(("artifact", "verdicts", "seconds", "status"), rows))
    if entries:
        print(f"\nReport: {shown(home / 'index.html')}")
    if edited := "; ".join(report.edited(entries.values())):
        print(f"Edited since: {edited}; not published.")
    if stale := sum(need.stale for need in batch.plan.needs.values()):
        print(f"Stale: {stale} networks are by other code than today's, see --why and --fresh.")
    for task in tasks:
        if task.reason and task.seconds:  # it was started
            print(f"Log of what failed: {shown(task.log)}")
