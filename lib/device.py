"""Which device computes, in which precision, and what else a record must say about it."""

import logging
import os
import platform
import resource
import sys
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from lib import paths, store
from lib.errors import UserError

TRIALS = 20  # of either, in turn, so that a slow moment spoils few of them; the first warm up
GRAPH = "graph"  # in place of a backend of torch.compile: steps as CUDA graphs
MARGIN = 1.25  # times as fast bfloat16 must be; equal machines are to choose alike


@cache
def device() -> torch.device:
    """Return the GPU if there is one, else the CPU; a GPU is set to repeat itself exactly.

    Single precision means single precision there: TensorFloat-32 is switched off.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.device("cuda")


def _trial(precision: str) -> float:
    """Return the seconds of a convolution, forward and backward, as residual networks have them."""
    gpu = device().type == "cuda"
    clock = time.perf_counter if gpu else time.process_time  # which other processes do not disturb
    x, weight = (
        torch.ones(shape, device=device()).to(memory_format=torch.channels_last).requires_grad_()
        for shape in ((8, 64, 16, 16), (64, 64, 3, 3))
    )
    start = clock()
    with autocast(precision):
        y = F.conv2d(x, weight, padding=1)
    torch.autograd.grad(y, (x, weight), torch.ones_like(y))
    if gpu:
        torch.cuda.synchronize()
    return clock() - start


@cache
def fastest() -> str:
    """Return the precision that convolutions are clearly faster in here: "bf16", else "fp32".

    Measured once and kept beside the runs. The layout is channels_last everywhere: the two are too
    close for equal machines to choose alike.
    """
    path, said = paths.runs() / ".device.json", describe()
    here = {name: said[name] for name in ("device", "instruction_set", "torch")}
    here["cap"] = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    known = store.read_json(path)
    if here.items() <= known.items() and known.get("precision") in ("bf16", "fp32"):
        return str(known["precision"])
    trials = [(_trial("fp32"), _trial("bf16")) for _ in range(TRIALS)]
    fp32, bf16 = map(min, zip(*trials, strict=True))
    best = "bf16" if bf16 * MARGIN < fp32 else "fp32"
    with suppress(UserError):  # where nothing can be written, it is measured again
        store.write_json(path, here | {"precision": best})
    return best


def precision(asked: str, size: int) -> str:
    """Return "bf16" or "fp32"; on a CPU, images below 16 pixels gain nothing from bf16."""
    if asked != "auto":
        return asked
    small = device().type == "cpu" and size < 16
    return "fp32" if small else fastest()


def used_precision(asked: str, size: int) -> str:
    """Return what `precision` returns, but for a GPU that has bf16, and images that are not tiny.

    So small a trial tells of a GPU how long its kernels take to start.
    """
    if asked == "auto" and device().type == "cuda" and torch.cuda.is_bf16_supported():
        return "fp32" if size < 16 else "bf16"
    return precision(asked, size)


def backend() -> str:
    """Return GRAPH on a GPU, else none; SUITE_COMPILE names one of torch.compile, or none."""
    return os.environ.get("SUITE_COMPILE", GRAPH if device().type == "cuda" else "")


@cache
def compiles() -> bool:
    """Return whether torch.compile works here; on a CPU it needs a C++ compiler. Tried once."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # CUDA is no matter
    try:
        torch.compile(torch.negative)(torch.ones(2, device=device()))
    except Exception:  # each backend says in its own way what it lacks
        return False
    return True


def autocast(chosen: str) -> AbstractContextManager[Any]:
    """Return the autocast context for a chosen precision."""
    if chosen == "fp32":
        return nullcontext()
    return torch.autocast(device().type, torch.bfloat16)


def peak_memory() -> int:
    """Return the most bytes this process held since `forget_peak`: of the GPU, or resident."""
    if device().type == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> None:
    """Let `peak_memory` count anew, where that can be done: on GPUs and on Linux."""
    if device().type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def describe() -> dict[str, Any]:
    """Return what the numbers of a run may depend on beside its recipe."""
    gpu = torch.cuda.get_device_name() if device().type == "cuda" else ""
    return {
        "device": gpu or _cpu_name(),
        "threads": torch.get_num_threads(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": _torchvision(),
        "numpy": metadata.version("numpy"),
        "platform": f"{platform.system()}-{platform.machine()}",
    }


def _torchvision() -> str:
    """Return its version, '' without it: only some data sets need it."""
    try:
        return metadata.version("torchvision")
    except metadata.PackageNotFoundError:
        return ""


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123
            lines = [line for line in file if line.startswith("model name")]
        return lines[0].split(":", 1)[1].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
