"""Tiny-ImageNet-200, read straight out of the official archive or from its unpacked folder.

Nothing is ever extracted, so that no name in an archive can reach the file system; only an archive
with the published hash is opened at all.
"""

import re
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPException
from pathlib import Path

import numpy as np

from lib import paths
from lib.data.decode import decoded
from lib.data.official import not_downloaded
from lib.data.store import Source
from lib.datasets import Spec
from lib.errors import UserError
from lib.store import sha256

FOLDER = "tiny-imagenet-200"
URL = "https://cs231n.stanford.edu/tiny-imagenet-200.zip"
SHA256 = "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821"
COMMAND = "run `python -m lib data tiny_imagenet` while online."


def source(found: Spec, part: str, download: bool) -> Source:
    """Return what decodes the 'train' or 'test' images uint8 (N, 3, 64, 64).

    Label i is the i-th WordNet id in alphabetical order.
    """
    return "", partial(_decode, found, part, download)


def _decode(found: Spec, part: str, download: bool) -> tuple[Iterator[np.ndarray], np.ndarray]:
    folder, archive = paths.DATA / FOLDER, paths.DATA / f"{FOLDER}.zip"
    if folder.is_dir():
        return _from(found, part, folder, lambda name: (folder / name).read_bytes())
    if not archive.exists():
        if not download:
            raise UserError(f"{found.name} is not in {paths.DATA}; {COMMAND}")
        _download(found, archive)
    if sha256(archive) != SHA256:
        raise UserError(
            f"{archive} is damaged (its SHA-256 differs from the official one); delete it and "
            f"{COMMAND}"
        )
    opened = zipfile.ZipFile(archive)  # open until the last image has been read
    return _from(found, part, archive, lambda name: opened.read(f"{FOLDER}/{name}"))


def _download(found: Spec, archive: Path) -> None:
    """Fetch the archive with a progress bar; it gets its name when its hash is right."""
    from torch.hub import download_url_to_file

    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(URL, str(archive), SHA256)
    except (OSError, HTTPException, RuntimeError) as error:
        raise not_downloaded(found.name, error, f"a good copy at {archive}") from error


def _from(
    found: Spec, part: str, where: Path, read: Callable[[str], bytes]
) -> tuple[Iterator[np.ndarray], np.ndarray]:
    """Decode a part by read, which returns the bytes of a name in the official layout."""
    try:
        names, labels = _listing(found, part, read)
    except (KeyError, FileNotFoundError, UnicodeDecodeError, ValueError) as error:
        problem = getattr(error, "filename", None) or error.args[0]
        if isinstance(error, UnicodeDecodeError):
            problem = "its lists are not UTF-8"
        raise UserError(
            f"{where} is not laid out as {FOLDER} should be ({problem}); delete it and {COMMAND}"
        ) from None
    return decoded(names, read, found.size), labels


def _listing(found: Spec, part: str, read: Callable[[str], bytes]) -> tuple[list[str], np.ndarray]:
    """Return the names of the images of a part and their labels, from the official lists."""
    *trained, tested = found.images
    ids = sorted(read("wnids.txt").decode().split())
    if len(ids) != found.num_classes or not all(re.fullmatch(r"n\d{8}", one) for one in ids):
        raise ValueError(f"wnids.txt does not list {found.num_classes} WordNet ids")
    if part == "train":
        count = sum(trained) // len(ids)
        names = [f"train/{one}/images/{one}_{i}.JPEG" for one in ids for i in range(count)]
        return names, np.repeat(np.arange(len(ids)), count)
    rows = [line.split("\t")[:2] for line in read("val/val_annotations.txt").decode().splitlines()]
    number = {one: label for label, one in enumerate(ids)}
    good = all(len(row) == 2 and re.fullmatch(r"val_\d+\.JPEG", row[0]) for row in rows)
    if len(rows) != tested or not good or not number.keys() >= {row[1] for row in rows}:
        raise ValueError(f"val/val_annotations.txt does not label {tested} images")
    return [f"val/images/{row[0]}" for row in rows], np.array([number[row[1]] for row in rows])
