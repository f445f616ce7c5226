"""Data sets as uint8 tensors on the device, their splits, batches and augmentation."""

from lib.data.batching import batches, in_order
from lib.data.images import Images, fingerprint
from lib.data.loading import folder_fingerprint, load, prepare
from lib.datasets import SPLITS, Spec, absolute, names, spec

__all__ = [
    "SPLITS",
    "Images",
    "Spec",
    "absolute",
    "batches",
    "fingerprint",
    "folder_fingerprint",
    "in_order",
    "load",
    "names",
    "prepare",
    "spec",
]
