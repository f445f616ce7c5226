"""What a process started by the batch does about signals and about the death of its parent."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LEASH = "SUITE_LEASH"  # set by the parent, which holds our standard input open while it lives


class Stopped(BaseException):
    """SIGTERM: the process is asked to stop."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that locks and partial files are cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def follow_parent() -> None:
    """End this process when its parent dies, however that happens."""
    if not os.environ.pop(LEASH, ""):
        return

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            continue
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        os._exit(143)

    threading.Thread(target=wait, daemon=True).start()
