"""Named splits as tensors: the door to the data sets."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from lib.data import digits, folder, official, tiny_imagenet
from lib.data.images import Images, fingerprint, subset
from lib.data.store import Part
from lib.datasets import SPLITS, Spec, spec
from lib.errors import UserError, choose


def load(name: str, split: str, limit: int = 0, device: str | torch.device = "cpu") -> Images:
    """Return the split 'train', 'val' or 'test' of a data set, or limit of its images.

    A subset is the beginning of one fixed permutation of the split, so that a smaller one is part
    of a larger one. Nothing is downloaded here.
    """
    found = spec(name)
    choose("split", split, SPLITS)
    found.check_limit(split, limit)
    images, labels, chosen = _read(found, split)
    _check(found, images, labels)
    index = np.arange(len(labels))[chosen]
    if limit:
        index = index[subset(len(index), limit)]
    _check_memory(found, len(index))
    return Images(
        torch.from_numpy(np.ascontiguousarray(images[index])).to(device),
        torch.from_numpy(labels[index].astype(np.int64)).to(device),
    )


def folder_fingerprint(name: str, split: str, limit: int = 0) -> str:
    """Return the fingerprint of images that may change under their name, '' for all others.

    Only a folder of images may.
    """
    found = spec(name)
    if not found.folder:
        return ""
    mapped: Any = _read(found, split)[0]
    decoded = Path(mapped.filename).stat()
    return _fingerprint(name, split, limit, decoded.st_ino, decoded.st_mtime_ns)


@cache
def _fingerprint(name: str, split: str, limit: int, *decoded: int) -> str:
    """Hash once per process; decoded tells one decoding of the folder from the next."""
    return fingerprint(load(name, split, limit))


def prepare(name: str) -> dict[str, int]:
    """Download what is missing, check and decode it; return the number of images per split."""
    found = spec(name)
    if name != "digits":
        _reader(found).prepare(found)
    counts = {}
    for split in SPLITS:
        _, labels, chosen = _read(found, split)
        counts[split] = len(labels[chosen])
    return counts


def _reader(found: Spec) -> Any:
    """Return the module that reads a data set."""
    if found.folder:
        return folder
    return {"digits": digits, "tiny_imagenet": tiny_imagenet}.get(found.name, official)


def _read(found: Spec, split: str) -> Part:
    """Return the images and labels of the part that holds split, and which of them are it."""
    return _reader(found).read(found, split)


def _check(found: Spec, images: np.ndarray, labels: np.ndarray) -> None:
    """Refuse data that is not what the spec promises."""
    shape = (len(labels), found.channels, found.size, found.size)
    if images.shape != shape or images.dtype != np.uint8:
        raise UserError(
            f"{found.name} holds {images.dtype} images of shape {images.shape} instead of uint8 "
            f"{shape}; delete its files and run `python -m lib data {found.name}`."
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < found.num_classes:
        raise UserError(
            f"{found.name} has labels outside 0..{found.num_classes - 1}; "
            f"delete its files and run `python -m lib data {found.name}`."
        )


def _check_memory(found: Spec, count: int) -> None:
    """Refuse what no machine like this one can hold, before the system kills the process."""
    memory = psutil.virtual_memory().total
    needed = count * found.channels * found.size**2
    if needed > memory:
        raise UserError(
            f"{count} images of {found.name} need {needed / 1e9:.0f} GB but this machine has "
            f"{memory / 1e9:.0f} GB; use fewer images or a smaller size."
        )
