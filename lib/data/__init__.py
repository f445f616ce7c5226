"""Data sets as uint8 tensors on the device, their splits, batches and augmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lib.data.specs import SPLITS, Spec, absolute, names, spec

if TYPE_CHECKING:
    from lib.data.batching import batches, in_order
    from lib.data.images import Images, fingerprint
    from lib.data.loading import folder_fingerprint, load, prepare

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

_HOMES = {
    "Images": "images",
    "batches": "batching",
    "fingerprint": "images",
    "folder_fingerprint": "loading",
    "in_order": "batching",
    "load": "loading",
    "prepare": "loading",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first asked for; recipes are checked without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lib.data' has no attribute '{name}'")
    from importlib import import_module

    value = getattr(import_module(f"lib.data.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
