"""Tiny-ImageNet-200, read straight out of the official archive or from its unpacked folder.

Nothing is ever extracted, so that no name in an archive can reach the file system; only an archive
with the published hash is opened at all.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib import paths
from lib.data import store
from lib.data.decode import decoded
from lib.data.download import download
from lib.datasets import Spec
from lib.errors import UserError
from lib.store import sha256

NAME = "tiny_imagenet"
FOLDER = "tiny-imagenet-200"


@dataclass(frozen=True)
class Archive:
    """The official file and how many images it holds."""

    url: str = "https://cs231n.stanford.edu/tiny-imagenet-200.zip"
    sha256: str = "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821"
    size: int = 248_100_043
    classes: int = 200
    per_class: int = 500
    held_out: int = 25  # of per_class; the last ones are the validation split
    test: int = 10_000


OFFICIAL = Archive()


def read(found: Spec, split: str) -> store.Part:
    """Return a part with images uint8 (N, 3, 64, 64), and which of them are split.

    Label i is the i-th WordNet id in alphabetical order.
    """
    part = "test" if split == "test" else "train"
    images, labels = store.fetch(_decoded(), part, NAME) or _decode(part)
    if split == "test":
        return images, labels, slice(None)
    place = np.arange(len(labels)) % OFFICIAL.per_class  # classes follow one another
    held_out = place >= OFFICIAL.per_class - OFFICIAL.held_out
    return images, labels, held_out if split == "val" else ~held_out


def prepare(found: Spec) -> None:
    """Download the archive if nothing else is there, and decode what has not been."""
    for part in ("train", "test"):
        store.repair(_decoded(), part, NAME)
        if store.fetch(_decoded(), part, NAME) is None:
            if not (paths.DATA / FOLDER).is_dir() and not _archive().exists():
                download(OFFICIAL.url, _archive(), OFFICIAL.sha256, OFFICIAL.size)
            _decode(part)


def _archive() -> Path:
    return paths.DATA / f"{FOLDER}.zip"


def _decoded() -> Path:
    return paths.DATA / "decoded" / NAME


def _decode(part: str) -> store.Arrays:
    """Decode a part, keep it, and return it as it was kept."""
    folder, archive = paths.DATA / FOLDER, _archive()
    if folder.is_dir():
        return _from(part, lambda name: (folder / name).read_bytes(), folder)
    if not archive.exists():
        raise UserError(
            f"{NAME} is not in {paths.DATA}; run `python -m lib data {NAME}` while online."
        )
    if sha256(archive) != OFFICIAL.sha256:
        raise UserError(
            f"{archive} is damaged (its SHA-256 differs from the official one); "
            f"delete it and run `python -m lib data {NAME}` while online."
        )
    with zipfile.ZipFile(archive) as opened:
        return _from(part, lambda name: opened.read(f"{FOLDER}/{name}"), archive)


def _from(part: str, source: Callable[[str], bytes], where: Path) -> store.Arrays:
    """Decode a part from source, which returns the bytes of a name in the official layout."""
    try:
        names, labels = _listing(part, source, where)
    except KeyError as missing:
        raise _layout(where, f"{missing.args[0]}") from None
    except UnicodeDecodeError:
        raise _layout(where, "its lists are not UTF-8") from None
    except FileNotFoundError as missing:
        raise _layout(where, f"{missing.filename} is missing") from None
    return decoded(_decoded(), part, NAME, names, labels, source, 64)


def _listing(
    part: str, source: Callable[[str], bytes], where: Path
) -> tuple[list[str], np.ndarray]:
    """Return the names of the images of a part and their labels, from the official lists."""
    ids = sorted(source("wnids.txt").decode().split())
    if len(ids) != OFFICIAL.classes or not all(re.fullmatch(r"n\d{8}", one) for one in ids):
        raise _layout(where, f"wnids.txt does not list {OFFICIAL.classes} WordNet ids")
    if part == "train":
        count = OFFICIAL.per_class
        names = [f"train/{one}/images/{one}_{i}.JPEG" for one in ids for i in range(count)]
        return names, np.repeat(np.arange(len(ids)), count)
    rows = [line.split("\t") for line in source("val/val_annotations.txt").decode().splitlines()]
    number = {one: label for label, one in enumerate(ids)}
    good = all(
        len(row) > 1 and re.fullmatch(r"val_\d+\.JPEG", row[0]) and row[1] in number for row in rows
    )
    if len(rows) != OFFICIAL.test or not good:
        raise _layout(where, f"val/val_annotations.txt does not label {OFFICIAL.test} images")
    return [f"val/images/{row[0]}" for row in rows], np.array([number[row[1]] for row in rows])


def _layout(where: Path, problem: str) -> UserError:
    return UserError(
        f"{where} is not laid out as {FOLDER} should be ({problem}); "
        f"delete it and run `python -m lib data {NAME}` while online."
    )
