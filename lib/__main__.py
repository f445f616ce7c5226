"""The command line: `python -m lib COMMAND`; `--help` on each."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lib.arguments import overrides_of, parse, parser, seeds_of
from lib.batch.child import Stopped, follow_parent, stoppable
from lib.errors import UserError, check_range, choose
from lib.presets import preset
from lib.studies import ARTIFACTS, artifact, match

if TYPE_CHECKING:
    from lib.study import Study

CONTINUE = "What is finished is kept; run the same command again to continue."


def _plan_study(words: argparse.Namespace, name: str) -> Study:
    return artifact(name)(words.preset, seeds_of(words.seeds), overrides_of(words.set))


def run(words: argparse.Namespace) -> int:
    """Carry out the batch, or show what it would do."""
    if words.artifacts[:1] and words.artifacts[0] in ("lib", *COMMANDS):
        said = " ".join(word for word in words.artifacts if word != "lib")
        raise UserError(f"That is not for the batch but: ./run_all.sh --python -m lib {said}")
    names = tuple(match([words.why] if words.why else words.artifacts))
    if words.list:
        return show(names)
    preset(words.preset)
    from lib.batch import run as batch

    limit = batch.TIMEOUT if words.timeout is None else words.timeout
    options = batch.Options(
        names,
        words.preset,
        seeds_of(words.seeds),
        overrides_of(words.set),
        words.jobs,
        words.fresh,
        words.from_records,
        limit,
    )
    if words.why:
        return batch.why(options)
    return batch.dry(options) if words.dry_run else batch.execute(options)


def show(names: Sequence[str]) -> int:
    """Print artifacts with what they show."""
    width = max(map(len, names))
    for name in names:
        text = (ARTIFACTS[name].__doc__ or "").strip().splitlines()[0]
        print(f"{name:{width}}  {text.removeprefix('Plan ').rstrip('.')}")
    return 0


def train(words: argparse.Namespace) -> int:
    """Train and evaluate here, one network after the other."""
    from lib.batch import status, worker

    worker.use_threads()
    if not _is_recipe(words.what):
        studies = [_plan_study(words, name) for name in match([words.what])]
        jobs = [(j.recipe, j.protocols, j.label) for study in studies for j in study.jobs]
    else:
        protocols = status.protocols_of(words.protocols) if words.protocols else ()
        recipe = status.recipe_of(words.what)
        jobs = [(recipe, protocols, recipe.method.kind)]
    for recipe, protocols, label in jobs:
        made = worker.work(recipe, protocols, f"{label}, seed {recipe.seed}", words.fresh)
        print(f"{made.key}  {label}, seed {recipe.seed}  {made.folder}")
    return 0


def _is_recipe(word: str) -> bool:
    from lib.batch.status import KEY

    return word.endswith(".json") or KEY.fullmatch(word) is not None or Path(word).is_file()


def status(words: argparse.Namespace) -> int:
    """Print the runs of the store; 1 if one of them is damaged."""
    if words.preset:
        preset(words.preset)
    from lib.batch import display
    from lib.batch import status as shelf

    found = shelf.held(words.preset or "", seeds_of(words.seeds))
    rows = [(run.key, run.what, run.state, f"{run.megabytes:.1f}") for run in found]
    print(display.table(("run", "what", "state", "MB"), rows))
    total = sum(run.megabytes for run in found)
    print(f"\n{len(found)} runs, {total:.1f} MB; {shelf.records()} more are kept as records")
    return int(any(run.damaged for run in found))


def verify(words: argparse.Namespace) -> int:
    """Train the first epochs of runs again, stale or named; 1 if one of them differs."""
    from lib import progress, runs
    from lib import verify as checking
    from lib.batch import status as shelf

    differing = 0
    for key in words.key or shelf.stale():
        recipe = shelf.recipe_of(key)
        run = runs.load(recipe, records=True)
        if run is None:
            raise UserError(f"Run {key} is not finished; train it with python -m lib train {key}.")
        with progress.task(f"{key}, epoch 1") as report_share:
            same = checking.verify(run, report_share)
        differing += not same
        print(f"{key}  {'the same' if same else 'differs'}  {recipe.method.kind}")
    return int(differing > 0)


def cost(words: argparse.Namespace) -> int:
    """Print the cost of a network."""
    check_range("--num-classes", words.num_classes, 1)
    check_range("--in-channels", words.in_channels, 1)
    check_range("--width", words.width, 0)
    import torch

    from lib import cost as counting

    torch.manual_seed(0)  # masks are drawn; the same question has the same answer
    found = counting.report(
        words.method,
        words.backbone,
        words.width or None,
        words.num_classes,
        words.size,
        overrides_of(words.set),
        words.in_channels,
    )
    if words.json:
        print(json.dumps(found))
        return 0
    width = max(map(len, found))
    for name, value in found.items():
        print(f"{name:{width}}  {value:>15,}")
    return 0


def data(words: argparse.Namespace) -> int:
    """Make data sets ready for use."""
    from lib import data as sets

    for name in words.name:
        sets.spec(name)
    for name in words.name:
        counts = ", ".join(f"{n:,} {split}" for split, n in sets.prepare(name).items())
        print(f"{name}: {counts}")
    return 0


def report(words: argparse.Namespace) -> int:
    """Write the reports of the results folders."""
    from lib import paths
    from lib import report as reports
    from lib.report import readme
    from lib.runs import code_fingerprint

    if words.preset and "-custom-" not in words.preset:
        preset(words.preset)
    home = paths.home("")
    made = reports.build(home, code_fingerprint(), words.preset or "")
    if not made and not words.readme:
        raise UserError(f"There are no such results in {home}; ./run_all.sh makes them.")
    for folder, entries in made.items():
        print(f"{folder / 'index.html'}: {len(entries)} artifacts")
        for one in reports.edited(entries):
            print(f"  edited since, not published: {one}")
    if made:
        print(f"{home / 'index.html'}: all of them")
    if words.readme:
        readme.fill(paths.ROOT / "README.md", code_fingerprint())
        print("README.md: generated parts rewritten")
    return 0


def prepare_notebooks(words: argparse.Namespace) -> int:
    """Write copies of all notebooks that run under another preset."""
    preset(words.preset)
    from lib import paths
    from lib.batch import execute
    from lib.data.specs import check_name

    check_name(words.folder)
    for name in ARTIFACTS:
        execute.inspect(paths.notebook(name))
        target = words.folder / f"{name}.ipynb"
        try:
            execute.prepare(paths.notebook(name), target, {"PRESET": words.preset})
        except OSError as error:
            raise UserError(
                f"Cannot write {target} ({error.strerror}); name a folder that can be made or "
                "written."
            ) from error
    print(f"{len(ARTIFACTS)} notebooks with preset {words.preset} in {words.folder}")
    return 0


COMMANDS = {
    f.__name__.replace("_", "-"): f
    for f in (run, train, status, verify, cost, data, report, prepare_notebooks)
}


def dispatch(argv: Sequence[str]) -> int:
    """Carry out one command and return its exit status."""
    if argv and not argv[0].startswith("-"):
        choose("command", argv[0], COMMANDS)
    words = parse(argv)
    if words.command is None:
        parser().print_help()
        return 2
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("lib").setLevel(logging.INFO)
    if getattr(words, "record", False):
        os.environ["SUITE_RECORD"] = "1"  # for children, too
    return COMMANDS[words.command](words)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; what the caller can mend is one line on standard error."""
    follow_parent()
    try:
        with stoppable():
            return dispatch(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        message, status = f"error: {' '.join(str(error).split())}", 2
    except KeyboardInterrupt:
        message, status = f"Interrupted. {CONTINUE}", 130
    except Stopped as stopped:
        name = signal.Signals(stopped.number).name
        message, status = f"Stopped by {name}. {CONTINUE}", 128 + stopped.number
    except BrokenPipeError:  # the reader, as in `... | head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as asked:  # --help
        return asked.code if isinstance(asked.code, int) else 1
    with suppress(OSError):  # the terminal may be gone
        sys.stderr.write(f"{message}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
