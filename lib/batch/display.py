"""What a batch shows: one progress bar with the time left, the plan, the reasons, the summary."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lib.batch.pool import Child, Outcome, Task

EVERY = 20.0  # seconds between lines where there is no terminal
TRUST = 10.0  # seconds measured that weigh as much as the first guess


def span(seconds: float) -> str:
    """Return a duration as people say it: 40 s, 3 min, 2.5 h, 4 days."""
    for below, unit, digits, name in ((90, 1, 0, "s"), (5400, 60, 0, "min"), (2e5, 3600, 1, "h")):
        if seconds < below:
            return f"{seconds / unit:.{digits}f} {name}"
    return f"{seconds / 86400:,.0f} days"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return aligned columns under a head; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    numeric = [all(_number(row[i]) for row in cells) for i in range(len(head))]
    cells.insert(0, [str(cell) for cell in head])
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _number(cell: str) -> bool:
    return not cell or cell.replace(".", "", 1).isdigit()


class Meter:
    """The share of all work that is done and the time left, from first guesses and what we see.

    What tasks of a kind take against their guess corrects the guesses of those still to come.
    """

    def __init__(self, tasks: Sequence[Task], slots: int) -> None:
        self.tasks, self.slots = {task.name: task for task in tasks}, slots
        self.started = self.shown = time.monotonic()
        self.told: set[str] = set()
        self.share = 0.0
        self.bar: Any = None
        if sys.stderr.isatty() and tasks:
            from tqdm import tqdm

            form = "{percentage:3.0f}% |{bar}| {elapsed}{postfix}"
            self.bar = tqdm(total=1000, bar_format=form, dynamic_ncols=True, leave=False)

    def __call__(self, running: Mapping[str, Child], ended: Mapping[str, Outcome]) -> None:
        """Show where things stand."""
        for name in ended.keys() - self.told:
            self.told.add(name)
            if ended[name].reason:
                self.say(f"failed: {name}: {ended[name].reason}")
        left = self.left(running, ended)
        passed = time.monotonic() - self.started
        self.share = max(self.share, passed / max(passed + left, 1e-9))
        if self.bar is not None:
            self.bar.n = round(1000 * self.share)
            self.bar.set_postfix_str(f"about {span(left)} left, {self._counts(ended)}")
        elif time.monotonic() - self.shown >= EVERY:
            self.shown = time.monotonic()
            self.say(
                f"{span(passed)}: {100 * self.share:.0f} %, {self._counts(ended)}, "
                f"about {span(left)} left"
            )

    def left(self, running: Mapping[str, Child], ended: Mapping[str, Outcome]) -> float:
        """Return the seconds left."""
        spent, done, ahead = (defaultdict[str, float](float) for _ in range(3))
        longest: list[tuple[str, float]] = []
        for name, task in self.tasks.items():
            share = 1.0 if name in ended else running[name].share if name in running else 0.0
            if name in ended:
                spent[task.kind] += ended[name].seconds
                done[task.kind] += task.guess if ended[name].seconds else 0.0
            elif share:
                spent[task.kind] += running[name].seconds
                done[task.kind] += share * task.guess
            ahead[task.kind] += (1 - share) * task.guess
            longest.append((task.kind, (1 - share) * task.guess))
        factor = {k: (spent[k] + TRUST) / (done[k] + TRUST) for k in ahead}
        total = sum(factor[kind] * ahead[kind] for kind in ahead)
        return max([total / self.slots, *(factor[kind] * rest for kind, rest in longest)])

    def _counts(self, ended: Mapping[str, Outcome]) -> str:
        kinds = Counter(task.kind for task in self.tasks.values())
        ready = Counter(self.tasks[name].kind for name in ended)
        return ", ".join(f"{ready[kind]} of {kinds[kind]} {kind}s" for kind in kinds)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self.bar is not None:
            self.bar.write(text, file=sys.stderr)
        else:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
