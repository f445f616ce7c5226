"""One try of a command, in a copy of this process, which has loaded PyTorch already."""

import ctypes
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch._dynamo

from lib import commands, data, paths
from lib.__main__ import main

READY = torch._dynamo, commands, data.load("digits", "test", limit=1)  # as each would load it
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")  # as Python audits
Command = Sequence[str] | Callable[[], object]
Meet = Callable[[], object]  # what the copy does before the command


class Skip(Exception):
    """What cannot be done on this machine, and why."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, below zero the signal, and what it said."""

    status: int
    said: str
    seconds: float
    killed: bool

    def failed(self) -> str:
        """Return '' if it succeeded, else what it said."""
        whole = self.status == 0 and "Traceback" not in self.said
        return "" if whole else f"status {self.status}: {self.said[-400:]}"

    def unclear(self) -> str:
        """Return '' if it refused in one sentence, of a batch in its table, else what it did."""
        errors = [line for line in self.said.splitlines() if line.startswith("error: ")]
        table = self.status == 1 and "  failed: " in self.said
        clear = table if not errors else self.status == 2 and len(errors) == 1
        clear = clear and "Traceback" not in self.said
        return "" if clear else f"no clear refusal, status {self.status}: {self.said[-400:]}"


class Try:
    """A command under way in a results folder."""

    def __init__(self, command: Command, home: Path, *meet: Meet) -> None:
        sys.stdout.flush()
        self.began = time.monotonic()
        said, into = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            _become(command, home, meet, into)
        os.close(into)
        self._said = os.fdopen(said, errors="replace")

    def end(self, after: float = 1200.0, kill: Callable[[int], object] | None = None) -> Ended:
        """Wait for the end; what has not come to it after so many seconds is killed."""
        killed = False
        while not (found := os.waitpid(self.pid, os.WNOHANG))[0]:
            if not killed and time.monotonic() - self.began > after:
                killed = True
                (kill or family)(self.pid)
            time.sleep(0.002)
        seconds = time.monotonic() - self.began
        with self._said:  # what the killed have left may still hold the other end
            said = "" if killed else self._said.read()
        return Ended(os.waitstatus_to_exitcode(found[1]), said, seconds, killed)


def _become(command: Command, home: Path, meet: Sequence[Meet], into: int) -> None:
    os.setsid()
    for number, end in ((0, os.open(os.devnull, os.O_RDONLY)), (1, into), (2, into)):
        os.dup2(end, number)
    os.environ |= {"SUITE_RESULTS": str(home), "SUITE_BATCH": "1", "OMP_NUM_THREADS": "1"}
    paths.RESULTS, status = home, 70
    try:
        for one in meet:
            one()
        if callable(command):
            status = int(bool(command()))
        elif command[0] == "./run_all.sh":
            os.environ["SUITE_PYTHON"] = sys.executable
            os.execv(paths.ROOT / command[0], command)
        else:
            status = main(command)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(status)


def family(pid: int, which: slice = slice(None)) -> None:
    """Kill a process and what it has started, or only some of these, of which it is the first."""
    leader = psutil.Process(pid)
    for process in [leader, *leader.children(recursive=True)][which]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def left(home: Path) -> list[psutil.Process]:
    """Return the processes that still work in a results folder."""
    found = psutil.process_iter(["environ", "status"])
    alive = (p for p in found if p.info["status"] not in ("zombie", "dead"))
    return [p for p in alive if (p.info["environ"] or {}).get("SUITE_RESULTS") == str(home)]


def at_change(home: Path, number: int, act: Callable[[str], object]) -> Meet:
    """Return what lets a process act before its changes of files in a folder, from a number on."""
    seen = 0

    def hook(event: str, given: tuple) -> None:
        nonlocal seen
        opened = event == "open" and isinstance(given[2], int) and given[2] & 3  # to write
        if (opened or event in CHANGES) and str(given[0]).startswith(str(home)):
            seen += 1
            if seen >= number:
                act(event)

    return lambda: sys.addaudithook(hook)


def unprivileged() -> None:
    """Let permissions bind this process and what it starts, also as root."""
    libc = ctypes.CDLL(None)
    if os.geteuid() == 0:
        if not hasattr(libc, "capset"):
            raise Skip("permissions do not bind root")
        for power in range(64):
            libc.prctl(24, power, 0, 0, 0)  # PR_CAPBSET_DROP
        libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
