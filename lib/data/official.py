"""CIFAR-10, CIFAR-100, SVHN and STL10 through torchvision's checksummed readers."""

import contextlib
import sys
from functools import partial
from typing import Any

import numpy as np

from lib import paths
from lib.data.store import Arrays, Source
from lib.datasets import Spec
from lib.errors import UserError

_FILES = {  # class of torchvision.datasets, folder under paths.DATA, what shows it was downloaded
    "cifar10": ("CIFAR10", "", "cifar-10-batches-py"),
    "cifar100": ("CIFAR100", "", "cifar-100-python"),
    "svhn": ("SVHN", "svhn", "*_32x32.mat"),
    "stl10": ("STL10", "", "stl10_binary"),
}


def source(found: Spec, part: str, download: bool) -> Source:
    """Return what decodes the official 'train' or 'test'.

    CIFAR's official files are pickles. torchvision compares the MD5 of every file with the
    published one before it reads any, and refuses otherwise; nothing else is ever unpickled.
    """
    return "", partial(_decode, found, part, download)


def _decode(found: Spec, part: str, download: bool) -> Arrays:
    kind, under, trace = _FILES[found.name]
    which: dict[str, Any] = {"train": part == "train"} if "CIFAR" in kind else {"split": part}
    root = paths.DATA / under
    try:
        if download:
            root.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr):  # torchvision prints while it downloads
            data = _reader(kind)(str(root), download=download, **which)
    except Exception as error:
        if download:
            raise not_downloaded(found.name, error, f"the official files into {root}") from error
        command = f"run `python -m lib data {found.name}` while online."
        if any(root.glob(trace)):
            problem = f"in {root} is incomplete or damaged ({trace}); delete it and {command}"
        else:
            problem = f"is not in {root}; {command}"
        raise UserError(f"{found.name} {problem}") from error
    if "CIFAR" in kind:
        return data.data.transpose(0, 3, 1, 2), np.asarray(data.targets, dtype=np.int64)
    return data.data, np.asarray(data.labels, dtype=np.int64)


def _reader(kind: str) -> Any:
    """Return a data set class; torchvision takes seconds to import, so only when one is read."""
    from torchvision import datasets

    return getattr(datasets, kind)


def not_downloaded(name: str, error: Exception, instead: str) -> UserError:
    """Return what to say of a download that failed; instead is what to put where by hand."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(
        f"{name} could not be downloaded ({reason}); check the network and the free space and run "
        f"`python -m lib data {name}` again, or put {instead}."
    )
