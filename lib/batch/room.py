"""Room for jobs: how much memory there is, and how much of it those under way still leave."""

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil
import torch

from lib import device

CONTAINER = Path("/sys/fs/cgroup")  # where a container reads its limit
TRUST = 0.7  # a job may take this share of what is predicted


@cache
def total() -> float:
    """Return the bytes that a job alone could have: of the GPU if there is one."""
    if device.device().type == "cuda":
        return float(torch.cuda.mem_get_info()[1])
    return float(min(psutil.virtual_memory().total, _limit()[0]))


def free() -> float:
    """Return the bytes that are free now."""
    if device.device().type == "cuda":
        return float(torch.cuda.mem_get_info()[0])
    limit, used = _limit()
    return float(min(psutil.virtual_memory().available, limit - used))


def _limit() -> tuple[float, float]:
    """Return how much a container may have, and has without what is cached of files."""
    with suppress(OSError, ValueError, KeyError):  # none, or without a limit
        limit = int((CONTAINER / "memory.max").read_text())
        stat = dict(line.split() for line in (CONTAINER / "memory.stat").read_text().splitlines())
        used = int((CONTAINER / "memory.current").read_text()) - int(stat["inactive_file"])
        return limit, used
    return float("inf"), 0.0


def spare(running: Iterable[float]) -> float:
    """Return the bytes left for another job, by what the running ones are predicted to take.

    Of that they hold a part already, which is not free; on a GPU nobody knows which.
    """
    predicted = sum(running)
    if device.device().type == "cuda":
        return _free_at_first() - predicted
    held = 0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(child.pid) != os.getsid(0):  # not the one that others are copies of
                held += child.memory_info().rss
    return free() - max(0.0, predicted - held)


@cache
def _free_at_first() -> float:
    return free()


def refusal(memory: float) -> str:
    """Return why a job of this size is not started at all, '' if it may fit when it is alone."""
    if TRUST * memory <= total():
        return ""
    return (
        f"it needs about {memory / 1e9:.0f} GB of memory and there are {total() / 1e9:.0f} GB; "
        "set a smaller train.batch or model.width, or use a larger machine"
    )
