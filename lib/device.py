"""Which device computes, in which precision, and what else a record must say about it."""

import os
import platform
import resource
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib import metadata
from typing import Any

import torch


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


@cache
def good_at_bf16() -> bool:
    """Return whether bfloat16 convolutions are faster than float32 ones on this device."""
    if device().type == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(known and known())


def precision(asked: str, size: int) -> str:
    """Return "bf16" or "fp32"; on a CPU, images below 16 pixels gain nothing from bf16."""
    if asked != "auto":
        return asked
    small = device().type == "cpu" and size < 16
    return "bf16" if good_at_bf16() and not small else "fp32"


def autocast(chosen: str) -> AbstractContextManager[Any]:
    """Return the autocast context for a chosen precision."""
    if chosen == "fp32":
        return nullcontext()
    return torch.autocast(device().type, torch.bfloat16)


def peak_memory() -> int:
    """Return the most bytes this process has held: on the GPU if it used one, else resident."""
    if device().type == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


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
