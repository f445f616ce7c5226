"""ImageNet, or any folder with one folder of images per class."""

from __future__ import annotations

import hashlib
from pathlib import Path
from stat import S_ISDIR, S_ISREG

import numpy as np

from lib import paths
from lib.data import store
from lib.data.decode import decoded
from lib.datasets import Spec, check_name, class_names
from lib.errors import UserError, choose

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
HELD_OUT = 0.05  # of each class, where there is no labelled test folder

Listing = tuple[list[str], np.ndarray]


def read(found: Spec, split: str) -> store.Part:
    """Return a part with images uint8 (N, 3, SIZE, SIZE), and which of them are split.

    Classes are numbered in order of name. With class folders in train/, val/ and test/ these are
    the splits. Without the last, as in ImageNet, test is val/ and val is the last 5 % (at least one
    image) of each class of train/.
    """
    assert found.folder is not None
    own_test = _has_classes(found.folder / "test")
    if own_test or split == "test":
        return *_decoded(found, split if own_test else "val"), slice(None)
    images, labels = _decoded(found, "train")
    counts = np.bincount(labels, minlength=found.num_classes)
    place = np.arange(len(labels)) - (np.cumsum(counts) - counts)[labels]
    kept = counts - np.maximum(1, np.round(HELD_OUT * counts).astype(int))
    chosen = place >= kept[labels] if split == "val" else place < kept[labels]
    return images, labels, chosen


def prepare(found: Spec) -> None:
    """Decode all parts that have not been."""
    assert found.folder is not None
    for part in ("train", "val", "test"):
        store.repair(_kept(found), part, found.name)
        if part != "test" or _has_classes(found.folder / part):
            _decoded(found, part)


def _has_classes(folder: Path) -> bool:
    return folder.is_dir() and any(p.is_dir() and p.name[0] != "." for p in folder.iterdir())


def _kept(found: Spec) -> Path:
    """Return where decoded images are kept: never in the folder, which may be read-only."""
    assert found.folder is not None
    digest = hashlib.sha256(f"{found.folder}@{found.size}".encode()).hexdigest()[:8]
    return paths.DATA / "decoded" / f"{found.folder.name[:40]}-{digest}"


def _decoded(found: Spec, part: str) -> store.Arrays:
    """Return a part, decoding it if its files have changed since, or never were."""
    assert found.folder is not None
    root = found.folder / part
    names, labels, origin = _listing(found, root)
    here = (_kept(found), part, found.name)
    kept = store.fetch(*here, origin)
    return kept or decoded(*here, names, labels, _bytes, found.size, origin)


def _bytes(name: str) -> bytes:
    return Path(name).read_bytes()


def _listing(found: Spec, root: Path) -> tuple[list[str], np.ndarray, str]:
    """Return the image files of a part, their labels, and a hash that tells when one changes.

    Sizes and times of change may be equal by a copy that keeps them; inode and the time of the last
    change of either (ctime), which nobody sets, are in it as well.
    """
    assert found.folder is not None
    known = class_names(found.folder / "train")
    digest = hashlib.sha256(b"")
    names: list[str] = []
    labels: list[int] = []
    for folder in class_names(root):
        label = known.index(choose("class folder", folder, known))
        files = [f for f in (root / folder).rglob("*") if f.suffix.lower() in SUFFIXES]
        for file in sorted(files):
            if any(part[0] == "." for part in file.relative_to(root).parts):
                continue  # what systems and editors leave beside files, as ._a.png
            check_name(file)
            try:
                stat = file.stat()
            except OSError as error:
                raise UserError(f"{file} leads nowhere ({error.strerror}); remove it.") from None
            if S_ISDIR(stat.st_mode):
                continue
            if not S_ISREG(stat.st_mode):  # reading a pipe would wait for ever
                raise UserError(f"{file} is no ordinary file; replace or remove it.")
            marks = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
            digest.update(f"{file.relative_to(root).as_posix()}\0{marks}\n".encode())
            names.append(str(file))
            labels.append(label)
        if label not in labels[-1:]:
            raise UserError(f"{root / folder} holds no images; remove it or fill it.")
    return names, np.array(labels, dtype=np.int64), digest.hexdigest()
