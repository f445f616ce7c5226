"""How fast this is beside what a user would pick instead; `lib.bench_rows` says what is timed.

A row holds the median of what is done in a second, or of seconds where its unit is s, ours and the
baseline's, and how many times as fast ours is: the median over rounds, in which all calls take
turns, of the ratio within a round. low and high are order statistics that hold that median with
95 %, of fewer than six rounds the extremes. Rows of `growth` hold exponents and their expectation.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lib import device, paths, store
from lib.errors import UserError, choose
from lib.progress import task
from lib.timing import centre, interleaved

Call = Callable[[], object]
Places = ExitStack  # closed when a group is done: holds its temporary folders
Makers = Mapping[str, Callable[[Places], Call]]  # of calls, by label
NEEDED = {"attack/pgd20": "foolbox", "attack/autoattack": "pyautoattack", "batch/*": "papermill"}


@dataclass(frozen=True)
class Row:
    """A line of the bench."""

    name: str
    unit: str
    value: float
    baseline: float | None
    ratio: float | None
    low: float | None
    high: float | None
    rounds: int

    def __str__(self) -> str:
        """Return it for people, as '412 images/s, 3.1 [2.9, 3.4] times 133'."""
        if self.ratio is None:
            return f"{self.value:g} {self.unit}"
        times = f"{self.ratio:.3g} [{self.low:.3g}, {self.high:.3g}]"
        return f"{self.value:g} {self.unit}, {times} times {self.baseline:g}"


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return p of seconds = c sizes^p, fitted to the logarithms by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


@dataclass(frozen=True)
class Rate:
    """What a call does in a second, work units a call; or the seconds of a call, in units of s."""

    unit: str
    ours: str  # labels of calls
    base: str = ""
    work: float = 1.0
    base_work: float = 0.0  # 0: the same

    @property
    def labels(self) -> list[str]:
        return [self.ours, self.base] if self.base else [self.ours]

    def row(self, name: str, table: pd.DataFrame) -> Row:
        """Return the line of seconds, a row for each round and a column for each label."""
        works = {self.ours: self.work, self.base: self.base_work or self.work}
        each = {label: table[label] / works[label] for label in self.labels}
        medians = [float(times.median()) for times in each.values()]
        values = medians if self.unit == "s" else [1 / median for median in medians]
        if self.base:
            found = centre((each[self.base] / each[self.ours]).tolist())
            values += [found.value, found.low, found.high]
        return _row(name, self.unit, len(table), *values)


@dataclass(frozen=True)
class Growth:
    """The exponent by which seconds grow with a size, beside the one that is expected."""

    sizes: Mapping[str, float]  # by label
    expected: float = 1.0
    unit: str = "exponent"

    @property
    def labels(self) -> list[str]:
        return list(self.sizes)

    def row(self, name: str, table: pd.DataFrame) -> Row:
        sizes = list(self.sizes.values())
        found = [exponent(sizes, seconds) for seconds in table[self.labels].to_numpy()]
        ratio = centre([p / self.expected for p in found])
        numbers = float(np.median(found)), self.expected, ratio.value, ratio.low, ratio.high
        return _row(name, self.unit, len(table), *numbers)


def _row(name: str, unit: str, rounds: int, *numbers: float | None) -> Row:
    """Return a line; numbers are value, baseline, ratio, low and high, as far as there are any."""
    found = [None if n is None else float(f"{n:.4g}") for n in (*numbers, *[None] * 4)]
    value, base, ratio, low, high = found[:5]
    return Row(name, unit, value or 0.0, base, ratio, low, high, rounds)


def take_turns(makers: Makers, places: Places, rounds: int, tick: Call) -> pd.DataFrame:
    """Make the calls and time them by turns; tick is called after each."""

    def ticking(call: Call) -> Call:
        return lambda: (call(), tick())

    calls = {label: ticking(make(places)) for label, make in makers.items()}
    return interleaved(calls, rounds)


@dataclass(frozen=True)
class Group:
    """Rows that are measured together, and by label what makes the calls that they compare."""

    rows: Mapping[str, Rate | Growth]
    makers: Makers
    rounds: int = 7
    guess: float = 10.0  # seconds, for the progress
    measure: Callable[..., pd.DataFrame] = field(default=take_turns)

    def run(self, names: Sequence[str], rounds: int, report: Callable[[float], None]) -> list[Row]:
        """Return the rows of these names; report gets the share done."""
        wanted = dict.fromkeys(label for name in names for label in self.rows[name].labels)
        rounds = rounds or self.rounds
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            report(min(1.0, done / (len(wanted) * (rounds + 1))))

        makers = {label: self.makers[label] for label in wanted if label in self.makers}
        with ExitStack() as places:
            times = self.measure(makers, places, rounds, tick)
        table = times.pivot_table("seconds", index="round", columns="label")
        return [self.rows[name].row(name, table) for name in names]


def chosen(groups: Iterable[Group], only: Sequence[str]) -> list[tuple[Group, list[str]]]:
    """Return the groups with the names of their rows that are asked for; without any, all.

    only are names, globs or the beginnings of names, as in train.
    """
    groups = list(groups)
    names = [name for group in groups for name in group.rows]
    wanted: list[str] = []
    for asked in only:
        found = [n for n in names if fnmatch(n, asked) or n.startswith(f"{asked}/")]
        wanted += found or [choose("row of the bench", asked, names)]
    for pattern, package in NEEDED.items():
        if find_spec(package) is None and any(fnmatch(n, pattern) for n in wanted or names):
            text = f"{pattern} needs {package}, which is missing; install it: pip install {package}"
            if wanted:
                raise UserError(f"{text}.")
            sys.stderr.write(f"{text}; left out.\n")
            names = [name for name in names if not fnmatch(name, pattern)]
    kept = [(group, [n for n in group.rows if n in (wanted or names)]) for group in groups]
    return [(group, mine) for group, mine in kept if mine]


def run(
    groups: Iterable[Group],
    only: Sequence[str] = (),
    rounds: int = 0,
    on_row: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Measure the rows asked for, each group in as many rounds as it likes unless rounds says."""
    plan = chosen(groups, only)
    total, behind, rows = sum(group.guess for group, _ in plan), 0.0, []
    with task("bench") as report:
        for group, names in plan:

            def within(share: float, start: float = behind, guess: float = group.guess) -> None:
                report((start + share * guess) / total)

            for row in group.run(names, rounds, within):
                rows.append(row)
                on_row(row)
            behind += group.guess
    return rows


def file() -> Path:
    """Return where the repository keeps the bench of this machine."""
    slug = re.sub(r"[^a-z0-9]+", "-", device.describe()["device"].lower()).strip("-")
    return paths.RESULTS / "bench" / f"{slug or 'machine'}.json"


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write a bench as JSON: machine, versions and what ours computes with, and the rows."""
    can: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # newer PyTorch tells
    used = {"precision": device.used_precision("auto", 32), "amx": can.get("amx_bf16", False)}
    store.write_json(path, {"machine": device.describe() | used, "rows": [*map(asdict, rows)]})
