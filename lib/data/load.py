"""Named splits as tensors: the door to the data sets."""

from __future__ import annotations

import numpy as np
import torch

from lib.data import digits, official
from lib.data.images import Images, subset
from lib.data.specs import SPLITS, Spec, spec
from lib.errors import UserError, choose


def load(name: str, split: str, limit: int = 0, device: str | torch.device = "cpu") -> Images:
    """Return the split 'train', 'val' or 'test' of a data set, or limit of its images.

    A subset is the beginning of one fixed permutation of the split, so that a smaller one is part
    of a larger one. Nothing is downloaded here.
    """
    found = spec(name)
    choose("split", split, SPLITS)
    found.check_limit(split, limit)
    images, labels = _read(found, split)
    if limit:
        chosen = subset(len(labels), limit)
        images, labels = images[chosen], labels[chosen]
    _check(found, images, labels)
    # A copy, because arrays may be views of a file or of a set that other splits share.
    return Images(
        torch.from_numpy(np.array(images, order="C")).to(device),
        torch.from_numpy(np.array(labels, dtype=np.int64)).to(device),
    )


def prepare(name: str) -> dict[str, int]:
    """Download what is missing, check and decode it; return the number of images per split."""
    found = spec(name)
    if name != "digits":
        official.prepare(found)
    return {split: len(_read(found, split)[1]) for split in SPLITS}


def _read(found: Spec, split: str) -> tuple[np.ndarray, np.ndarray]:
    if found.name == "digits":
        return digits.read(split)
    return official.read(found, split)


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
