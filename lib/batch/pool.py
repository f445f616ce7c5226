"""Runs tasks as processes, a given number at a time, and stops every one of them in the end.

Each task has a session of its own, so that a Ctrl-C in the terminal reaches only this process. A
task whose standard input closes knows that this process has died (`lib.batch.child`).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from lib import paths, progress
from lib.batch.child import LEASH, ending
from lib.errors import UserError

GRACE = 5.0  # seconds between asking a process to stop and killing it
_ERROR = re.compile(r"^(error: |[\w.]*(Error|Exception|Interrupt|Exit)\b)")


@dataclass
class Outcome:
    """How a task ended; reason is '' if it succeeded."""

    seconds: float = 0.0
    reason: str = ""


@dataclass
class Task:
    """A process to run once the tasks named in `needs` have succeeded."""

    name: str
    kind: str
    command: Sequence[str]
    log: Path
    guess: float  # seconds
    needs: frozenset[str] = frozenset()
    limit: float = 0.0  # seconds; 0: none
    env: Mapping[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Prepare what the process needs, just before it is started."""

    def end(self, outcome: Outcome) -> Outcome:
        """Return how the task ended after all; what failed is handed here without a start, too."""
        return outcome


class Child:
    """A started task: its process, the share it has done and the last thing it said."""

    def __init__(self, task: Task) -> None:
        self.task, self.share, self.started = task, 0.0, time.monotonic()
        self.last = self.error = ""
        try:
            task.log.parent.mkdir(parents=True, exist_ok=True)
            task.log.write_text("")
        except OSError as error:
            raise UserError(
                f"Cannot write {task.log} ({error.strerror}); free space or make the folder "
                "writable, then rerun."
            ) from error
        self.process = subprocess.Popen(
            [str(word) for word in task.command],
            cwd=paths.ROOT,
            env=environment() | dict(task.env),
            stdin=subprocess.PIPE,  # never written to: it closes when this process dies
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            word, _, share = line.partition(" ")
            if word == progress.MARK:
                self.share = float(share)
                continue
            with suppress(OSError), self.task.log.open("a", encoding="utf-8") as log:
                log.write(line)  # a full disk must not keep us from reading on
            self.last = line.strip() or self.last
            if _ERROR.match(line):
                self.error = line.strip().removeprefix("error: ")

    @property
    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.started

    def outcome(self) -> Outcome | None:
        """Return how the process ended, None while it runs; one over its limit is killed."""
        code = self.process.poll()
        late = self.task.limit and self.seconds > self.task.limit
        if code is None and not late:
            return None
        if code is None:
            stop([self.process], grace=1.0)
            return Outcome(self.seconds, f"timeout: not finished after {self.task.limit:g} s")
        self.listener.join(timeout=2)
        if code == 0:
            return Outcome(self.seconds)
        said = self.error or self.last if code > 0 else ""
        return Outcome(self.seconds, said or ending(code))


def environment() -> dict[str, str]:
    """Return the environment of every child: this Python, these folders, one thread, no bars."""
    env = {k: v for k, v in os.environ.items() if k not in ("MPLBACKEND", "PYTHONSTARTUP")}
    return env | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(paths.ROOT), env.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "PYTHONFAULTHANDLER": "1",  # the log says where a library crashed
        "SUITE_RESULTS": str(paths.RESULTS.resolve()),
        "SUITE_DATA": str(paths.DATA.resolve()),
        "SUITE_BATCH": "1",
        "SUITE_PROGRESS": "lines",
        "SUITE_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        LEASH: "1",
    }


def stop(processes: Sequence[subprocess.Popen[str]], grace: float = GRACE) -> None:
    """End processes with all their descendants, kernels in sessions of their own included.

    The processes themselves are asked and given time; what is left of their families is killed.
    """
    leaders, family = [], set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            leaders.append(psutil.Process(process.pid))
            family |= {leaders[-1], *leaders[-1].children(recursive=True)}
        if process.poll() is None:
            process.terminate()
    psutil.wait_procs(leaders, timeout=grace)
    _, left = psutil.wait_procs(family, timeout=0.2)
    for survivor in left:
        with suppress(psutil.NoSuchProcess):
            survivor.kill()
    psutil.wait_procs(left, timeout=grace)
    for process in processes:
        process.wait()


def run(
    tasks: Sequence[Task],
    slots: int,
    watch: Callable[[Mapping[str, Child], Mapping[str, Outcome]], None],
) -> dict[str, Outcome]:
    """Run tasks in their order as far as their needs allow and return how each one ended.

    A task whose need has failed fails with that reason, without being started. watch is told of
    the running and the finished tasks several times a second.
    """
    waiting = list(tasks)
    running: dict[str, Child] = {}
    ended: dict[str, Outcome] = {}
    try:
        while waiting or running:
            for task in list(waiting):
                lost = [name for name in task.needs & ended.keys() if ended[name].reason]
                if lost:
                    waiting.remove(task)
                    reason = f"run {min(lost)}: {ended[min(lost)].reason}"
                    ended[task.name] = task.end(Outcome(0.0, reason))
                elif len(running) < slots and task.needs <= ended.keys():
                    waiting.remove(task)
                    task.begin()
                    running[task.name] = Child(task)
            for name, child in list(running.items()):
                if outcome := child.outcome():
                    del running[name]
                    ended[name] = child.task.end(outcome)
            watch(running, ended)
            if running:
                time.sleep(0.1)
    finally:
        stop([child.process for child in running.values()])
    return ended


def python(*words: str) -> list[str]:
    """Return the command of a module of this suite under this very Python."""
    return [sys.executable, "-m", *words]
