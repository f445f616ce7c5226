"""Runs tasks as processes, a given number at a time, and stops every one of them in the end.

Each task has a session of its own, so that a Ctrl-C in the terminal reaches only this process. A
task whose standard input closes knows that this process has died (`lib.batch.child`).
"""

from __future__ import annotations

import math
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

from lib import paths, progress
from lib.batch.child import LEASH, ending
from lib.errors import written

GRACE = 5.0  # seconds between asking a process to stop and killing it
_ERROR = re.compile(r"^(error: |[\w.]*(Error|Exception|Interrupt|Exit)\b)")


@dataclass(eq=False)
class Task:
    """A process to run once the tasks that it needs have succeeded, and what became of it."""

    name: str
    kind: str
    command: Sequence[str]
    log: Path
    guess: float  # seconds
    needs: Sequence[Task] = ()
    limit: float = math.inf  # seconds
    env: Mapping[str, str] = field(default_factory=dict)
    share: float = 0.0  # done, from 0 to 1
    seconds: float = 0.0  # since the start; 0: never started
    ended: bool = False
    reason: str = ""  # why it failed

    def begin(self) -> None:
        """Prepare what the process needs, just before it is started."""

    def end(self) -> None:
        """Deal with what the process left; `reason` tells whether it succeeded."""

    def start(self) -> None:
        """Start the process and listen to what it says."""
        self.begin()
        self._began, self._said, self._error = time.monotonic(), "", ""
        with written(self.log):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.write_text("")
        self.process = subprocess.Popen(
            self.command,
            cwd=paths.ROOT,
            env=environment() | dict(self.env),
            stdin=subprocess.PIPE,  # never written to: it closes when this process dies
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            word, _, share = line.partition(" ")
            if word == progress.MARK:
                self.share = float(share)
                continue
            with suppress(OSError), self.log.open("a", encoding="utf-8") as log:
                log.write(line)  # a full disk must not keep us from reading on
            self._said = line.strip() or self._said
            if _ERROR.match(line):
                self._error = line.strip().removeprefix("error: ")

    def poll(self) -> None:
        """Look whether the process has ended, and how; one over its limit is killed."""
        self.seconds = time.monotonic() - self._began
        code = self.process.poll()
        if code is None and self.seconds > self.limit:
            stop([self.process], grace=1.0)
            self.finish(f"timeout: not finished after {self.limit:g} s")
        elif code is not None:
            self._listener.join(timeout=2)
            said = self._error or self._said if code > 0 else ""
            self.finish((said or ending(code)) if code else "")

    def finish(self, reason: str) -> None:
        """Note the end, also of a task that was never started."""
        self.share, self.ended, self.reason = 1.0, True, reason
        self.end()


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
    import psutil  # not above: networks are trained without it

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


def run(tasks: Sequence[Task], slots: int, watch: Callable[[], None]) -> None:
    """Run tasks in their order as far as their needs allow, `slots` at a time.

    A task whose need has failed fails with that reason, without being started. watch is called
    several times a second.
    """
    waiting, running = list(tasks), list[Task]()
    try:
        while waiting or running:
            for task in list(waiting):
                lost = next((need for need in task.needs if need.reason), None)
                if lost:
                    waiting.remove(task)
                    task.finish(f"run {lost.name}: {lost.reason}")
                elif len(running) < slots and all(need.ended for need in task.needs):
                    waiting.remove(task)
                    task.start()
                    running.append(task)
            for task in running:
                task.poll()
            running = [task for task in running if not task.ended]
            watch()
            if running:
                time.sleep(0.1)
    finally:
        stop([task.process for task in running])


def python(*words: str) -> list[str]:
    """Return the command of a module of this suite under this very Python."""
    return [sys.executable, "-m", *words]
