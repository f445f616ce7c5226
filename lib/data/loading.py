"""Named splits as tensors: the door to the data sets."""

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib import paths
from lib.data import digits, folder, official, tiny_imagenet
from lib.data.images import Images, fingerprint, subset
from lib.data.store import Arrays, kept
from lib.datasets import SPLITS, WHOLE, Spec, spec
from lib.errors import UserError, choose

HELD_OUT = 0.05  # of each class, where the numbers of images are not given


def load(name: str, split: str, limit: int = 0, device: str | torch.device = "cpu") -> Images:
    """Return the split 'train', 'val', 'test' or 'all', which is the first two, or limit of it.

    A subset is the beginning of one fixed permutation of the split, so that a smaller one is part
    of a larger one. Nothing is downloaded here.
    """
    found = spec(name)
    choose("split", split, (*SPLITS, WHOLE))
    found.check_limit(split, limit)
    images, labels, chosen = _read(found, split)
    _check(found, images, labels)
    index = np.arange(len(labels))[chosen]
    found.check_limit(split, limit, len(index))
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
    parts = {split: _read(found, split, prepare=True) for split in SPLITS}
    return {split: len(labels[chosen]) for split, (_, labels, chosen) in parts.items()}


def _read(
    found: Spec, split: str, prepare: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray | slice]:
    """Return images and labels of the part that holds split, and which of them are it.

    Folders train/, val/ and test/ are the splits. All else has a training and a test part, which in
    a folder, as in ImageNet, is val/; the end of the training part is the validation split, and of
    each of its classes where they follow one another.
    """
    part = "test" if split == "test" else "train"
    own = False
    if found.folder:
        own = folder.has_classes(found.folder / "test")
        if own and split == WHOLE:
            raise UserError(f"{found.name} keeps val/ apart from train/; train on 'train'.")
        part = split if own else {"test": "val"}.get(split, "train")
    images, labels = _part(found, part, prepare)
    if own or split in ("test", WHOLE):
        return images, labels, slice(None)
    if found.folder or found.name == "tiny_imagenet":
        counts = np.bincount(labels, minlength=found.num_classes)
        place = np.arange(len(labels)) - (np.cumsum(counts) - counts)[labels]
        left = counts - np.maximum(1, np.round(HELD_OUT * counts).astype(int))
        held_out = place >= left[labels]
        return images, labels, held_out if split == "val" else ~held_out
    cut = len(labels) - found.images[SPLITS.index("val")]
    return images, labels, slice(cut, None) if split == "val" else slice(cut)


def _part(found: Spec, part: str, prepare: bool) -> Arrays:
    """Return the images and labels of a part, decoded now or earlier."""
    if found.name == "digits":
        images, labels = digits.arrays()
        test = len(labels) - found.images[SPLITS.index("test")]
        where = slice(test, None) if part == "test" else slice(test)
        return images[where], labels[where]
    home = found.name
    if found.folder:  # never written into, as it may be read-only
        digest = hashlib.sha256(f"{found.folder}@{found.size}".encode()).hexdigest()[:8]
        home = f"{found.folder.name[:40]}-{digest}"
    reader: Any = folder if found.folder else official
    if found.name == "tiny_imagenet":
        reader = tiny_imagenet
    shape = (found.channels, found.size, found.size)
    source = reader.source(found, part, prepare)
    return kept(paths.DATA / "decoded" / home, part, found.name, shape, source, mend=prepare)


def _check(found: Spec, images: np.ndarray, labels: np.ndarray) -> None:
    """Refuse data that is not what the spec promises."""
    shape = (len(labels), found.channels, found.size, found.size)
    problem = ""
    if images.shape != shape or images.dtype != np.uint8:
        problem = f"{images.dtype} images of shape {images.shape} instead of uint8 {shape}"
    elif len(labels) and not 0 <= labels.min() <= labels.max() < found.num_classes:
        problem = f"labels outside 0..{found.num_classes - 1}"
    if problem:
        raise UserError(
            f"{found.name} has {problem}; delete its files and run `python -m lib data "
            f"{found.name}`."
        )


def _check_memory(found: Spec, count: int) -> None:
    """Refuse what no machine like this one can hold, before the system kills the process."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = count * found.channels * found.size**2
    if needed > memory:
        raise UserError(
            f"{count} images of {found.name} need {needed / 1e9:.0f} GB but this machine has "
            f"{memory / 1e9:.0f} GB; use fewer images or a smaller size."
        )
