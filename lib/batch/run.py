"""The batch command from plan to report, and what it says without doing anything."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib import data, device, paths, report, runs, store
from lib.batch import display, effort, inputs, notebooks, plan, pool
from lib.errors import UserError, check_range
from lib.recipe import Recipe

TIMEOUT = 1800.0  # seconds for one notebook; its networks are trained before it starts
GPU_JOBS = 4  # networks that share one GPU


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    names: tuple[str, ...]
    preset: str = "quick"
    seeds: tuple[int, ...] = (0,)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    jobs: int | None = None
    fresh: bool = False
    records: bool = False
    timeout: float = TIMEOUT

    def __post_init__(self) -> None:
        if self.jobs is not None:
            check_range("--jobs", self.jobs, 1)
        check_range("--timeout", self.timeout, 1)
        if self.fresh and self.records:
            raise UserError("--fresh trains anew and --from-records never trains; choose one.")

    def plan(self) -> plan.Plan:
        """Return the plan of the chosen artifacts."""
        chosen = (self.names, self.preset, self.seeds, self.overrides)
        return plan.make(*chosen, records=self.records, fresh=self.fresh)


def execute(options: Options) -> int:
    """Train, evaluate, execute and report what is missing; return 1 if anything failed."""
    made = options.plan()
    due, skipped = _due(options, made)
    for name in due:
        notebooks.check(made.studies[name])
    jobs = {need.recipe.key: need for need in _undone(options, made)}
    _require_writable(paths.runs())
    timed = [recipe for name in due for recipe in made.studies[name].timed.values()]
    _require_data([*(need.recipe for need in jobs.values()), *timed])
    slots = _slots(options)
    with notebooks.staging() as stage:
        tasks = _jobs(options, jobs) + _notebooks(options, made, due, jobs, stage)
        if tasks:
            sys.stderr.write(f"{_announcement(options, made, jobs, due)}, {slots} at a time.\n")
        meter = display.Meter(tasks, slots)
        try:
            ended = pool.run(tasks, slots, meter)
        finally:
            meter.close()
    status = _summarise(made, tasks, ended, skipped)
    if os.environ.get("SUITE_RECORD") and not status and not options.records:
        for need in made.needs.values():
            runs.record(need.recipe)
    return status


def _due(options: Options, made: plan.Plan) -> tuple[list[str], dict[str, str]]:
    """Return the artifacts whose notebooks are to be executed, and why others cannot be."""
    due = [
        name
        for name, study in made.studies.items()
        if options.fresh
        or any(not need.done for need in made.of(study))
        or any(inputs.changes(study, made))
    ]
    skipped = _unrecorded(made, due) if options.records else {}
    return [name for name in due if name not in skipped], skipped


def _unrecorded(made: plan.Plan, due: list[str]) -> dict[str, str]:
    """Return why artifacts cannot be redrawn, those that have no complete record."""
    skipped = {}
    for name in due:
        lacking = [need for need in made.of(made.studies[name]) if not need.done]
        if lacking:
            need = lacking[0]
            what = need.state if not need.trained else "not evaluated as asked"
            first = f"the first is {need.name}: {what}"
            skipped[name] = f"{len(lacking)} of its runs have no record, {first}"
            continue
        for dataset in sorted({r.data.dataset for r in made.studies[name].timed.values()}):
            if not _is_here(dataset):
                why = f"its networks are timed on {dataset}, which is not here"
                skipped[name] = f"{why}; python -m lib data {dataset} fetches it"
    if len(skipped) == len(made.studies):
        raise UserError(
            f"Nothing can be redrawn from records: {next(iter(skipped.values()))}; "
            "run without --from-records to train."
        )
    return skipped


def _slots(options: Options) -> int:
    """Return how many jobs run at a time: as asked, else one for each core, a few on a GPU."""
    affine = hasattr(os, "sched_getaffinity")
    cores = (len(os.sched_getaffinity(0)) if affine else os.cpu_count()) or 1
    if options.jobs is None:
        return min(cores, GPU_JOBS) if device.device().type == "cuda" else cores
    if options.jobs > cores:
        sys.stderr.write(
            f"--jobs {options.jobs} is more than the {cores} cores here: no faster, and as many "
            "processes want memory.\n"
        )
    return options.jobs


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.tmp"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"Cannot write into {folder} ({error.strerror}); make the folder writable or point "
            "SUITE_RESULTS to another one."
        ) from error


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


def _jobs(options: Options, needs: Mapping[str, plan.Need]) -> list[pool.Task]:
    """Return one task per network that lacks its training or an evaluation, longest first."""
    tasks = []
    for key, need in needs.items():
        folder = paths.runs() / ".jobs" / key
        store.write_json(folder / "recipe.json", need.recipe.to_dict())
        store.write_json(folder / "protocols.json", [p.to_dict() for p in need.lacking])
        words = ["lib", "train", str(folder / "recipe.json")]
        words += ["--protocols", str(folder / "protocols.json")]
        words += ["--fresh"] if options.fresh else []
        guess = effort.seconds(need.recipe, not need.trained, need.lacking)
        log = paths.runs() / ".logs" / f"{key}.log"
        tasks.append(pool.Task(need.name, "network", pool.python(*words), log, guess))
    return sorted(tasks, key=lambda task: -task.guess)


def _notebooks(
    options: Options,
    made: plan.Plan,
    due: list[str],
    jobs: Mapping[str, plan.Need],
    stage: Path,
) -> list[pool.Task]:
    env = {"SUITE_FROM_RECORDS": "1"} if options.records else {}
    tasks = []
    for name in due:
        study = made.studies[name]
        needs = frozenset(need.name for key, need in jobs.items() if key in study.recipes)
        tasks.append(notebooks.Execution(study, made, stage).task(needs, options.timeout, env))
    return tasks


def _announcement(
    options: Options, made: plan.Plan, jobs: Mapping[str, plan.Need], due: list[str]
) -> str:
    training = sum(not need.trained for need in jobs.values())
    measuring = len(jobs) - training
    parts = [f"{training} networks to train"] if training else []
    parts += [f"{measuring} to evaluate"] if measuring else []
    parts += [f"{len(due)} of {len(made.studies)} notebooks to execute"]
    return f"Preset {options.preset}: {', '.join(parts)}"


def _summarise(
    made: plan.Plan,
    tasks: Sequence[pool.Task],
    ended: Mapping[str, pool.Outcome],
    skipped: Mapping[str, str],
) -> int:
    """Write the report, print the summary of the chosen artifacts, return the exit status."""
    home = paths.home(made.results)
    reported = report.build(home.parent, only=home.name)
    entries = {e.artifact: e for e in reported.get(home, [])}
    rows = []
    for name in made.studies:
        outcome, entry = ended.get(name), entries.get(name)
        verdicts = entry.verdicts if entry else ""
        if name in skipped:
            rows.append((name, verdicts, "", f"skipped: {skipped[name]}"))
        elif outcome is None:
            rows.append((name, verdicts, "", "current"))
        elif outcome.reason:
            rows.append((name, "", f"{outcome.seconds:.1f}", f"failed: {outcome.reason}"))
        else:
            rows.append((name, verdicts, f"{outcome.seconds:.1f}", "done"))
    say(display.table(("artifact", "verdicts", "seconds", "status"), rows))
    if entries:
        say(f"\nReport: {shown(home / 'index.html')}")
    if edited := "; ".join(report.edited(entries.values())):
        say(f"Edited since: {edited}; not published.")
    if stale := sum(need.stale for need in made.needs.values()):
        say(f"Stale: {stale} networks were made by other code than today's, see --why and --fresh.")
    failed = [task for task in tasks if ended[task.name].reason]
    for task in failed:
        if ended[task.name].seconds:  # it was started
            say(f"Log of what failed: {shown(task.log)}")
    return int(bool(failed))


def say(text: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{text}\n")


def shown(path: Path) -> str:
    """Return a path as people type it: relative where it lies below the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def dry(options: Options) -> int:
    """Print what `execute` would do, one line per artifact."""
    made = options.plan()
    due, skipped = _due(options, made)
    rows = []
    for name, study in made.studies.items():
        needs = made.of(study)
        training, lacking = _work(options, needs)
        notebook = "execute" if name in due else "skip" if name in skipped else "current"
        rows.append((name, len(needs), training, lacking, notebook))
    say(display.table(("artifact", "networks", "to train", "to evaluate", "notebook"), rows))
    for name, reason in skipped.items():
        say(f"skipped: {name}: {reason}")
    training, lacking = _work(options, made.needs.values())
    jobs = len(_undone(options, made)) + len(due)
    say(
        f"\nShared networks counted once: {len(made.needs)} networks, {training} to train, "
        f"{lacking} evaluations, {len(due)} notebooks; {jobs} jobs."
    )
    if jobs:
        say(_extent(options, made, due))
    return 0


def _undone(options: Options, made: plan.Plan) -> list[plan.Need]:
    """Return the networks to train or evaluate; from records that are none."""
    return [] if options.records else [need for need in made.needs.values() if not need.done]


def _work(options: Options, needs: Iterable[plan.Need]) -> tuple[int, int]:
    """Return how many networks there are to train and how many evaluations to make."""
    needs = [] if options.records else list(needs)
    return sum(not need.trained for need in needs), sum(len(need.lacking) for need in needs)


def _extent(options: Options, made: plan.Plan, due: list[str]) -> str:
    """Return in a sentence how long and how large a batch is."""
    slots = _slots(options)
    needs = _undone(options, made)
    times = [effort.seconds(need.recipe, not need.trained, need.lacking) for need in needs]
    times += [notebooks.guess(made.studies[name], options.timeout) for name in due]
    sizes = [effort.memory(need.recipe) for need in needs] + [effort.NOTEBOOK] * len(due)
    memory = sum(sorted(sizes)[-slots:]) / 1e9
    disk = (sum(effort.disk(n.recipe) for n in needs if not n.trained) + 1e6 * len(due)) / 1e9
    return (
        f"About {display.span(max(*times, sum(times) / slots))} with {slots} at a time, up to "
        f"{memory:.1f} GB of memory and {max(disk, 0.1):.1f} GB of disk: guesses, two or three "
        "times too much or too little."
    )


def why(options: Options) -> int:
    """Print for each artifact what is missing, stale or changed, and what would be done."""
    made = options.plan()
    for name, study in made.studies.items():
        needs = made.of(study)
        seeds = ", ".join(map(str, study.seeds))
        say(f"{name}, preset {study.results}, seeds {seeds}")
        reasons = ["--fresh was asked for"] if options.fresh else []
        reasons += inputs.changes(study, made)
        if needs and not options.fresh and all(need.state in plan.NOT_HERE for need in needs):
            kept = sum(need.state == plan.RECORD for need in needs)
            redraw = f"; of {kept} there are records, which --from-records redraws" if kept else ""
            say(f"  none of its {len(needs)} networks has been trained here{redraw}")
        else:
            for need in needs:
                _show_state(need)
            for reason in reasons:
                say(f"  notebook: {reason}")
        say(f"  so: {_verdict(options, needs, bool(reasons))}")
    return 0


def _show_state(need: plan.Need) -> None:
    have = len(need.protocols) - len(need.lacking)
    stale = ", made by other code than today's (--fresh trains it anew)" if need.stale else ""
    say(f"  run {need.name}: {need.state}{stale}, {have} of {len(need.protocols)} evaluations")


def _verdict(options: Options, needs: list[plan.Need], changed: bool) -> str:
    training = sum(not need.trained for need in needs)
    lacking = sum(len(need.lacking) for need in needs)
    if (training or lacking) and options.records:
        return "it is skipped, as --from-records neither trains nor evaluates"
    parts = [f"train {training} networks"] if training else []
    parts += [f"make {lacking} evaluations"] if lacking else []
    parts += ["execute the notebook"] if changed or parts else []
    return ", ".join(parts) or "nothing to do, everything is current"
