"""Decoded images kept as .npy files beside their SHA-256, so that each set is decoded only once."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from lib.errors import UserError
from lib.store import parse, remove, sha256, write_json, writing

ARRAYS = ("images", "labels")

Arrays = tuple[np.ndarray, np.ndarray]  # images uint8 (N, C, H, W), labels int64 (N,)
# A hash that changes with the files, and what decodes them: the images may come one by one
Source = tuple[str, Callable[[], tuple[Iterable[np.ndarray], np.ndarray]]]


def kept(
    folder: Path, part: str, name: str, shape: tuple[int, ...], source: Source, mend: bool = False
) -> Arrays:
    """Return images of shape (C, H, W) and labels of a part, as views of files where it is kept.

    If it is not, or its origin has changed, it is decoded first. A damaged copy is refused, with
    mend decoded anew. Where nothing can be written, what is in memory is decoded again next time.
    """
    origin, decode = source
    try:
        if found := fetch(folder, part, name, origin):
            return found
    except UserError:
        if not mend:
            raise
    images, labels = decode()
    for file in folder.glob(f"{part}.*") if mend else ():
        remove(file)
    if isinstance(images, np.ndarray):
        with suppress(UserError):
            write(folder, part, images, labels, images.shape)
        return images, labels
    write(folder, part, images, labels, (len(labels), *shape), origin)
    found = fetch(folder, part, name, origin)
    assert found is not None
    return found


def fetch(folder: Path, part: str, name: str, origin: str) -> Arrays | None:
    """Return images and labels of a part as views of their files, or None if there are none.

    Those decoded from another origin do not count. A file that differs from its recorded hash is
    refused. Pickles are never read.
    """
    manifest = folder / f"{part}.json"
    try:
        record = parse(manifest)
    except ValueError:
        if not os.path.lexists(manifest):
            return None
        raise _damaged(manifest, name) from None
    if record.get("origin") != origin:
        return None
    images, labels = (_checked(folder / f"{part}.{kind}.npy", record, name) for kind in ARRAYS)
    return images, labels


def _checked(file: Path, record: dict[str, str], name: str) -> np.ndarray:
    try:
        stat = file.stat()
        if _sha256(file, stat.st_size, stat.st_mtime_ns) == record.get(file.suffixes[-2][1:]):
            return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        pass
    raise _damaged(file, name)


def write(
    folder: Path,
    part: str,
    images: Iterable[np.ndarray],
    labels: np.ndarray,
    shape: tuple[int, ...],
    origin: str = "",
) -> None:
    """Write uint8 images, together of shape (N, C, H, W), their labels and the hashes.

    Images may be larger than memory. They are written to a stream and not to a mapped file, where
    a full disk would kill the process. The manifest comes last.
    """
    files = [folder / f"{part}.{kind}.npy" for kind in ARRAYS]
    with writing(files[0]) as stream:
        (folder / f"{part}.json").unlink(missing_ok=True)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for image in images:
            stream.write(np.ascontiguousarray(image, dtype=np.uint8).data)
    with writing(files[1]) as stream:
        np.save(stream, np.asarray(labels, dtype=np.int64), allow_pickle=False)
    hashes = {kind: sha256(file) for kind, file in zip(ARRAYS, files, strict=True)}
    write_json(folder / f"{part}.json", {"origin": origin} | hashes)


@cache
def _sha256(file: Path, size: int, modified: int) -> str:
    """Hash once per process; size and modified (ns) are there to notice a change."""
    return sha256(file)


def _damaged(file: Path, name: str) -> UserError:
    return UserError(f"{file} is damaged; run `python -m lib data {name}` to decode it anew.")
