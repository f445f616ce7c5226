"""Decoded images kept as .npy files beside their SHA-256, so that each set is decoded only once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from lib.errors import UserError

ARRAYS = ("images", "labels")


def fetch(
    folder: Path, part: str, name: str, origin: str = ""
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return images and labels of a part as views of their files, or None if there are none.

    They are also not there if they were decoded from another origin. A file that differs from its
    recorded hash is refused. Pickles are never read.
    """
    manifest = folder / f"{part}.json"
    try:
        record = json.loads(manifest.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise _damaged(manifest, name) from None
    if record.get("origin") != origin:
        return None
    arrays = []
    for kind in ARRAYS:
        file = folder / f"{part}.{kind}.npy"
        try:
            stat = file.stat()
            if _sha256(file, stat.st_size, stat.st_mtime_ns) != record.get(kind):
                raise _damaged(file, name)
            arrays.append(np.load(file, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError):
            raise _damaged(file, name) from None
    return arrays[0], arrays[1]


def keep(folder: Path, part: str, images: np.ndarray, labels: np.ndarray, origin: str = "") -> None:
    """Write a part, the manifest last; where there is no space or permission nothing is kept."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        record = {"origin": origin}
        for kind, array in zip(ARRAYS, (images, labels), strict=True):
            file = folder / f"{part}.{kind}.npy"
            with whole(file) as partial, partial.open("wb") as stream:
                np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
            record[kind] = hash_file(file)
        with whole(folder / f"{part}.json") as partial:
            partial.write_text(json.dumps(record, indent=1))
    except OSError:
        return


def drop(folder: Path) -> None:
    """Remove what is kept in folder, damaged or not."""
    for file in folder.glob("*.json"):
        file.unlink()
    for file in folder.glob("*.npy"):
        file.unlink()


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """Give a temporary name that becomes file when the block ends well and is removed if not."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        yield partial
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def hash_file(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def _sha256(file: Path, size: int, modified: int) -> str:
    """Hash once per process; size and modified (ns) are there to notice a change."""
    return hash_file(file)


def _damaged(file: Path, name: str) -> UserError:
    return UserError(f"{file} is damaged; run `python -m lib data {name}` to decode it anew.")
