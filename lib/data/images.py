"""Labelled images in memory, and their fingerprint."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """A split, or part of one: images uint8 (N, C, H, W) and labels int64 (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice | Tensor) -> Images:
        return Images(self.images[index], self.labels[index])

    def float(self, index: slice | Tensor | None = None) -> Tensor:
        """Return the images, or those at index, as float32 in [0, 1]."""
        chosen = self.images if index is None else self.images[index]
        return to_float(chosen)

    def to(self, device: str | torch.device) -> Images:
        """Return the same images on another device."""
        return Images(self.images.to(device), self.labels.to(device))


def to_float(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [0, 1]; images in colour come in channels_last layout."""
    if images.shape[1] > 1:
        images = images.contiguous(memory_format=torch.channels_last)
    return images.to(torch.float32).div_(255)  # a product with 1/255 would exceed 1 by rounding


def subset(total: int, limit: int) -> np.ndarray:
    """Return the indices of a subset of limit out of total images.

    It is the beginning of one fixed permutation: unbiased, nested, and the same everywhere (NumPy
    guarantees the stream of RandomState, and of no newer generator, for good).
    """
    order = np.random.RandomState(0).permutation(total)
    return order[: limit or total]


def fingerprint(images: Images) -> str:
    """Return the SHA-256 over shape, pixels and labels."""
    digest = hashlib.sha256(repr(tuple(images.images.shape)).encode())
    digest.update(images.images.cpu().contiguous().numpy().data)
    digest.update(images.labels.cpu().numpy().astype("<i8").data)
    return digest.hexdigest()
