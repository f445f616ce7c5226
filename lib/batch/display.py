"""What a batch shows: tables, durations, and one progress bar with the time left."""

import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from lib.batch.pool import Task
from lib.progress import span

EVERY = 20.0  # seconds between lines where there is no terminal
TRUST = 10.0  # seconds measured that weigh as much as the first guess
NUMBER = re.compile(r"[\d,]*\.?\d*")  # or nothing


def shown(path: Path) -> str:
    """Return a path as people type it: relative where it lies below the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return aligned columns under a head; numbers to the right."""
    from tabulate import tabulate  # not above: networks are trained without it

    rows = list(rows)
    columns = zip(*rows, strict=True)
    sides = ["right" if all(NUMBER.fullmatch(str(v)) for v in of) else "left" for of in columns]
    return tabulate(rows, head, "simple", disable_numparse=True, colalign=sides)


class Meter:
    """The share of all work that is done and the time left, from first guesses and what we see.

    What tasks of a kind take against their guess corrects the guesses of those still to come.
    """

    def __init__(self, tasks: Sequence[Task], slots: int) -> None:
        self.tasks, self.slots, self.share = tasks, slots, 0.0
        self.started = self.shown = time.monotonic()
        self.told = set[Task]()
        form = "{percentage:3.0f}% |{bar}| {elapsed}{postfix}"
        off = not tasks or not sys.stderr.isatty()
        self.bar = tqdm(total=1000, bar_format=form, dynamic_ncols=True, leave=False, disable=off)

    def __call__(self) -> None:
        for task in self.tasks:
            if task.reason and task not in self.told:
                self.told.add(task)
                self.bar.write(f"failed: {task.name}: {task.reason}", file=sys.stderr)
        passed, left = time.monotonic() - self.started, self.left()
        self.share = max(self.share, passed / max(passed + left, 1e-9))
        ready = Counter(task.kind for task in self.tasks if task.ended)
        of = Counter(task.kind for task in self.tasks)
        counts = ", ".join(f"{ready[kind]} of {n} {kind}s" for kind, n in of.items())
        counts += f", about {span(left)} left"
        if not self.bar.disable:
            self.bar.n = round(1000 * self.share)
            self.bar.set_postfix_str(counts)
        elif time.monotonic() - self.shown >= EVERY:
            self.shown = time.monotonic()
            self.bar.write(f"{span(passed)}: {100 * self.share:.0f} %, {counts}", file=sys.stderr)

    def left(self) -> float:
        ahead = []
        for kind in {task.kind for task in self.tasks}:
            own = [task for task in self.tasks if task.kind == kind]
            spent = sum(task.seconds for task in own if task.share)
            done = sum(task.share * task.guess for task in own if task.seconds)
            factor = (spent + TRUST) / (done + TRUST)
            for task in own:  # a notebook does not tell its share
                whole, passed, more = factor * task.guess, task.seconds, 1 - task.share
                ahead.append(more * whole if task.share else max(whole - passed, passed / 10))
        return max([sum(ahead) / self.slots, *ahead])
