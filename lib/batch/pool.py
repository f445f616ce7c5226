"""Runs tasks, a given number at a time on this machine, and stops every one of them in the end.

A task is a process with a session of its own, so that a Ctrl-C in the terminal reaches only this
process; one whose standard input closes knows that this process has died (`lib.batch.child`).
Networks are trained in copies of one process that has loaded PyTorch already, or as jobs of a
cluster (`lib.batch.slurm`).
"""

from __future__ import annotations

import math
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, ClassVar, Protocol

import psutil

from lib import paths, progress
from lib.batch.child import LEASH, ending, module
from lib.errors import written

GRACE = 5.0  # seconds between asking a process to stop and killing it
THREADS = ("SUITE_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
# What jobs load; torch._dynamo, a second and a half, is what making any optimizer imports.
PRELOADED = ["lib.commands", "lib.training", "torch._dynamo"]
_ERROR = re.compile(r"^(error: |[\w.]*(Error|Exception|Interrupt|Exit)\b)")


def settings() -> dict[str, str]:
    """Return what every task finds in its environment: these folders, one thread, no bars."""
    modules = filter(None, (str(paths.ROOT), os.environ.get("PYTHONPATH")))
    return {
        "PYTHONPATH": os.pathsep.join(modules),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "PYTHONFAULTHANDLER": "1",  # the log says where a library crashed
        "SUITE_RESULTS": str(paths.RESULTS.resolve()),
        "SUITE_DATA": str(paths.DATA.resolve()),
        "SUITE_BATCH": "1",
        "SUITE_PROGRESS": "lines",
        **dict.fromkeys(THREADS, "1"),
    }


def environment() -> dict[str, str]:
    """Return the environment of every process here: this one's, our settings and a leash."""
    env = {k: v for k, v in os.environ.items() if k not in ("MPLBACKEND", "PYTHONSTARTUP")}
    return env | settings() | {LEASH: "1"}


@contextmanager
def _environ(own: Mapping[str, str]) -> Iterator[None]:
    """Give this process another environment for a while."""
    before = dict(os.environ)
    try:
        os.environ.update(own)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Job(Protocol):
    """A command that is under way."""

    def seconds(self) -> float:
        """Return how long it has been at work; 0 while it waits for its turn."""

    def poll(self) -> int | str | None:
        """Return the exit code, or in words what ended it; None as long as it has not ended."""

    def terminate(self) -> None:
        """Ask it to stop."""

    def kill(self, grace: float) -> None:
        """Return once it has stopped; after `grace` seconds by force."""


Place = Callable[[Sequence[str], Mapping[str, str], Callable[[str], None]], Job]


class Process:
    """A process of this machine; every line that it prints is handed to `hear`."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], hear: Callable[[str], None]
    ) -> None:
        self.began = time.monotonic()
        self.pid, said = self._start(command, env)
        self._listener = threading.Thread(target=lambda: [*map(hear, said)], daemon=True)
        self._listener.start()

    def _start(self, command: Sequence[str], env: Mapping[str, str]) -> tuple[int, IO[str]]:
        """Start it; return its number and what it prints."""
        self.process = subprocess.Popen(
            command,
            cwd=paths.ROOT,
            env=environment() | dict(env),
            stdin=subprocess.PIPE,  # never written to: it closes when this process dies
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
        assert self.process.stdout is not None
        return self.process.pid, self.process.stdout

    def _ended(self, timeout: float | None = 0) -> int | None:
        """Return the exit code once it has ended, None if it has not by then."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(timeout)
        return None

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def poll(self) -> int | None:
        code = self._ended()
        if code is not None:
            self._listener.join(timeout=2)
        return code

    def terminate(self) -> None:
        """Ask the process alone: kernels in sessions of their own are its to stop."""
        self.family = list[psutil.Process]()
        if self._ended() is not None:
            return
        with suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self.pid)
            self.family = [leader, *leader.children(recursive=True)]
            leader.terminate()

    def kill(self, grace: float) -> None:
        """Kill what is left of the process and of all its descendants."""
        self._ended(grace)
        _, left = psutil.wait_procs(self.family, timeout=0.2)
        for survivor in left:
            with suppress(psutil.NoSuchProcess):
                survivor.kill()
        psutil.wait_procs(left, timeout=grace)
        self._ended(None)


class Fork(Process):
    """A `python` command as a copy of a process that has loaded PyTorch, which takes seconds."""

    loaded: ClassVar[dict[str, str]] = {}  # the settings under which that was

    def _start(self, command: Sequence[str], env: Mapping[str, str]) -> tuple[int, IO[str]]:
        if (Fork.loaded or settings()) != settings():
            raise OSError("what was loaded has the folders of another batch")
        server, env = multiprocessing.get_context("forkserver"), environment() | dict(env)
        server.set_forkserver_preload(PRELOADED)
        said, out = server.Pipe(duplex=False)
        into, self._leash = server.Pipe(duplex=False)  # closes when this process dies
        with into, out, _environ(env):  # in which the first of them has PyTorch loaded
            self.fork = server.Process(target=module, args=(command[2:], env, into, out))
            self.fork.start()
        Fork.loaded = settings()
        assert self.fork.pid is not None
        return self.fork.pid, os.fdopen(os.dup(said.fileno()), encoding="utf-8", errors="replace")

    def _ended(self, timeout: float | None = 0) -> int | None:
        self.fork.join(timeout)
        return self.fork.exitcode


def fork(command: Sequence[str], env: Mapping[str, str], hear: Callable[[str], None]) -> Process:
    """Start a `python` command as a `Fork`, as any other process where there can be none."""
    try:
        return Fork(command, env, hear)
    except OSError:  # as with other folders, or a temporary one of too long a name
        return Process(command, env, hear)


@dataclass(eq=False)
class Task:
    """A command to run once the tasks that it needs have succeeded, and what became of it."""

    name: str
    kind: str
    command: Sequence[str]
    log: Path
    guess: float  # seconds
    needs: Sequence[Task] = ()
    limit: float = math.inf  # seconds
    memory: float = 0.0  # bytes that it will hold at most, by prediction
    env: Mapping[str, str] = field(default_factory=dict)
    place: Place = Process
    share: float = 0.0  # done, from 0 to 1
    seconds: float = 0.0  # at work; 0: never started
    ended: bool = False
    reason: str = ""  # why it failed

    @property
    def is_here(self) -> bool:
        return self.place in (Process, fork)

    def begin(self) -> None:
        """Prepare what the process needs, just before it is started."""

    def end(self) -> None:
        """Deal with what the process left; `reason` tells whether it succeeded."""

    def start(self) -> None:
        """Start the command and listen to what it says."""
        self.begin()
        self._said = self._error = ""
        with written(self.log):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.write_text("")
        self.job = self.place(self.command, self.env, self._hear)

    def _hear(self, line: str) -> None:
        word, _, share = line.partition(" ")
        if word == progress.MARK:
            self.share = float(share)
            return
        with suppress(OSError), self.log.open("a", encoding="utf-8") as log:
            log.write(line)  # a full disk must not keep us from reading on
        self._said = line.strip() or self._said
        if _ERROR.match(line):
            self._error = line.strip().removeprefix("error: ")

    def poll(self) -> None:
        """Look whether the job has ended, and how; one over its limit is stopped."""
        end, self.seconds = self.job.poll(), self.job.seconds()
        if end is None and self.seconds > self.limit:
            stop([self.job], grace=1.0)
            end = f"timeout: not finished after {self.limit:g} s"
        if isinstance(end, int):
            said = self._error or self._said if end > 0 else ""
            end = (said or ending(end)) if end else ""
        if end is not None:
            self.finish(end)

    def finish(self, reason: str) -> None:
        """Note the end, also of a task that was never started."""
        self.share, self.ended, self.reason = 1.0, True, reason
        self.end()


def stop(jobs: Sequence[Job], grace: float = GRACE) -> None:
    """End jobs: all are asked, and what has not stopped `grace` seconds later is killed."""
    for job in jobs:
        job.terminate()
    deadline = time.monotonic() + grace
    for job in jobs:
        job.kill(max(0.0, deadline - time.monotonic()))


def run(tasks: Sequence[Task], slots: int, watch: Callable[[], None]) -> None:
    """Run tasks in their order as far as needs and memory allow, `slots` at a time on this machine.

    A task whose need has failed fails with that reason, without being started; so does one that no
    memory here could hold. One that does not fit beside others waits until it is alone. watch is
    called several times a second.
    """
    from lib.batch import room  # not above: what starts a job of a cluster there needs no PyTorch

    waiting, running = list(tasks), list[Task]()
    try:
        while waiting or running:
            memory = [task.memory for task in running if task.is_here]
            spare = room.spare(memory) if len(memory) < slots else 0.0
            for task in list(waiting):
                lost = (f"run {need.name}: {need.reason}" for need in task.needs if need.reason)
                here = [other for other in running if other.is_here]
                full = len(here) >= slots or (here and task.memory > spare)
                if reason := next(lost, "") or (room.refusal(task.memory) if task.is_here else ""):
                    waiting.remove(task)
                    task.finish(reason)
                elif not (task.is_here and full) and all(need.ended for need in task.needs):
                    waiting.remove(task)
                    task.start()
                    running.append(task)
                    spare -= task.memory if task.is_here else 0.0
            for task in running:
                task.poll()
            running = [task for task in running if not task.ended]
            watch()
            if running:
                time.sleep(0.1)
    finally:
        stop([task.job for task in running])


def python(*words: str) -> list[str]:
    """Return the command of a module of this suite under this very Python."""
    return [sys.executable, "-m", *words]
