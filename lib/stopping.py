"""Stopping in good order: a signal or the end of the time is an exception, raised at a safe point.

Where little is lost by it, it is raised at once. A training under way holds it back, looks after
every step whether one is due, and raises it when its state is on disk.
"""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

RESERVE = 5.0  # seconds of the time that are kept for ending, at most a fifth of it
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


class Stopped(BaseException):
    """The process is asked to stop by the signal of this number; by SIGALRM, its time is up."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _State:
    """What this process has been asked."""

    began = 0.0  # when `stoppable` did, on the monotonic clock
    end = math.inf  # of its time
    held = False  # whether a signal has to wait
    number = 0  # of the one that waits


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGTERM, SIGHUP and the end of the time into exceptions: files and locks stay whole."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        if not _State.held:
            raise Stopped(number)
        _State.number = number

    _State.began = time.monotonic()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, handle)
    try:
        yield
    finally:
        if _State.end < math.inf:  # else the timer is not ours
            signal.setitimer(signal.ITIMER_REAL, 0)
        _State.end = math.inf
        for number, handler in before.items():
            signal.signal(number, handler)


def limit(seconds: float) -> None:
    """Let the time be up so many seconds after `stoppable` began, less a reserve."""
    _State.end = _State.began + seconds - min(RESERVE, seconds / 5)
    signal.setitimer(signal.ITIMER_REAL, max(_State.end - time.monotonic(), 1e-3))


def due(seconds: float) -> bool:
    """Return whether to stop: asked to, or so many seconds more would not be in time."""
    return bool(_State.number) or time.monotonic() + seconds > _State.end


def hold() -> None:
    """Let signals wait, until the block of `patience` ends."""
    _State.held = True


def stop() -> None:
    """Raise what is due."""
    raise Stopped(_State.number or signal.SIGALRM)


@contextmanager
def patience() -> Iterator[None]:
    """Let the block `hold` signals; one that still waits when it has ended well is raised then."""
    try:
        yield
        if _State.number:
            stop()
    finally:
        _State.held, _State.number = False, 0
