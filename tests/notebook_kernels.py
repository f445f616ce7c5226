"""A pytest plugin beside nbval: a kernel that dies fails its cell at once and says how it died.

nbval itself waits for the whole time limit of the cell. Loaded with `-p tests.notebook_kernels`.
"""

import signal
import time
from queue import Empty
from typing import Any

import pytest
from nbval.kernel import RunningKernel

LOOK = 1.0  # seconds between looks at the kernel

read = RunningKernel.get_message


def get_message(self: RunningKernel, stream: str, timeout: float | None = None) -> Any:
    """Return the next message; raise Empty when time is up and fail when the kernel is dead."""
    end = time.monotonic() + (float("inf") if timeout is None else timeout)
    while True:
        alive = self.is_alive()  # asked first: what it said before it died is still read
        try:
            return read(self, stream, max(0.0, min(LOOK, end - time.monotonic())))
        except Empty:
            if not alive:
                pytest.fail(f"The kernel of this notebook died{cause(self)}.", pytrace=False)
            if time.monotonic() >= end:
                raise


def cause(kernel: RunningKernel) -> str:
    """Return what ended a dead kernel, as ' (SIGSEGV)'; '' if that is not known."""
    process = getattr(kernel.km.provisioner, "process", None)
    code = process.poll() if process is not None else None
    if code is None:
        return ""
    return f" ({signal.Signals(-code).name})" if code < 0 else f" (exit code {code})"


RunningKernel.get_message = get_message
