"""CIFAR-10, CIFAR-100, SVHN and STL10 through torchvision's checksummed readers."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lib import paths
from lib.data import store
from lib.datasets import SPLITS, Spec
from lib.errors import UserError

_FILES = {  # class of torchvision.datasets, folder under paths.DATA, what shows it was downloaded
    "cifar10": ("CIFAR10", "", "cifar-10-batches-py"),
    "cifar100": ("CIFAR100", "", "cifar-100-python"),
    "svhn": ("SVHN", "svhn", "*_32x32.mat"),
    "stl10": ("STL10", "", "stl10_binary"),
}


def read(found: Spec, split: str) -> store.Part:
    """Return an official part, decoded once and then kept, and the slice that is split.

    CIFAR's official files are pickles. torchvision compares the MD5 of every file with the
    published one before it reads any, and refuses otherwise; nothing else is ever unpickled.
    """
    arrays = _part(found, "test" if split == "test" else "train", download=False)
    if split == "test":
        return *arrays, slice(None)
    held_out = found.images[SPLITS.index("val")]
    return *arrays, slice(-held_out, None) if split == "val" else slice(None, -held_out)


def prepare(found: Spec) -> None:
    """Download what is missing and decode what has not been."""
    for part in ("train", "test"):
        store.repair(_folder(found), part, found.name)
        _part(found, part, download=True)


def _part(found: Spec, part: str, download: bool) -> store.Arrays:
    arrays = store.fetch(_folder(found), part, found.name)
    if arrays is None:
        arrays = _decode(found, part, download)
        store.keep(_folder(found), part, *arrays)
    return arrays


def _folder(found: Spec) -> Path:
    return paths.DATA / "decoded" / found.name


def _decode(found: Spec, part: str, download: bool) -> store.Arrays:
    """Return the arrays of an official part, checked by torchvision."""
    kind, under, _ = _FILES[found.name]
    reader = _reader(kind)
    which: dict[str, Any] = {"train": part == "train"} if "CIFAR" in kind else {"split": part}
    root = paths.DATA / under
    try:
        if download:
            root.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr):  # torchvision prints while it downloads
            data = reader(str(root), download=download, **which)
    except Exception as error:
        raise UserError(_explanation(found, download, error)) from error
    if "CIFAR" in kind:
        return data.data.transpose(0, 3, 1, 2), np.asarray(data.targets, dtype=np.int64)
    return data.data, np.asarray(data.labels, dtype=np.int64)


def _reader(kind: str) -> Any:
    """Return a data set class; torchvision takes seconds to import, so only when one is read."""
    from torchvision import datasets

    return getattr(datasets, kind)


def _explanation(found: Spec, download: bool, error: Exception) -> str:
    """Say in one sentence what is wrong with the files and what to do."""
    _, under, trace = _FILES[found.name]
    root = paths.DATA / under
    command = f"`python -m lib data {found.name}`"
    if download:
        reason = " ".join(str(error).split()) or type(error).__name__
        return (
            f"{found.name} could not be downloaded ({reason}); check the network and the free "
            f"space and run {command} again, or put the official files into {root}."
        )
    if any(root.glob(trace)):
        return (
            f"{found.name} in {root} is incomplete or damaged ({trace}); "
            f"delete it and run {command} while online."
        )
    return f"{found.name} is not in {root}; run {command} while online."
