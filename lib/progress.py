"""Progress of long work: a bar for people, plain lines for a parent process, else silence."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm.auto import tqdm

MARK = "progress"  # a worker's lines: "progress 0.25"


Report = Callable[[float], None]  # takes the share done, from 0 to 1


def interactive() -> bool:
    """Return whether somebody watches: a terminal, or a notebook opened by hand."""
    if os.environ.get("SUITE_BATCH"):
        return False
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def span(seconds: float) -> str:
    """Return a duration as people say it: 40 s, 3 min, 2.5 h, 4 days."""
    for below, unit, digits, name in ((90, 1, 0, "s"), (5400, 60, 0, "min"), (2e5, 3600, 1, "h")):
        if seconds < below:
            return f"{seconds / unit:.{digits}f} {name}"
    return f"{seconds / 86400:,.0f} days"


@contextmanager
def task(label: str) -> Iterator[Report]:
    """Show the progress of one piece of work with the time left.

    The bar is made by the first share below 1: a notebook shows a bar from the moment there is one,
    and work whose result is in the store has none.
    """
    if os.environ.get("SUITE_PROGRESS") == "lines":
        yield lambda done: print(f"{MARK} {done:.4f}", flush=True)
        return
    bar: Any = None

    def report(done: float) -> None:
        nonlocal bar
        if bar is not None:
            bar.update(round(1000 * done) - bar.n)
        elif done < 1 and interactive():
            form = "{desc} {percentage:3.0f}% |{bar}| {elapsed} < {remaining}"
            start = round(1000 * done)
            bar = tqdm(total=1000, initial=start, desc=label, leave=False, bar_format=form)

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()
