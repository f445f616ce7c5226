"""ImageNet, or any folder with one folder of images per class."""

import hashlib
from pathlib import Path
from stat import S_ISDIR, S_ISREG

import numpy as np

from lib.data.decode import decoded
from lib.data.store import Source
from lib.datasets import Spec, check_name, class_names
from lib.errors import UserError, choose

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def source(found: Spec, part: str, download: bool) -> Source:
    """Return a hash of the files of 'train', 'val' or 'test', and what decodes them.

    Classes are numbered in order of name.
    """
    assert found.folder is not None
    names, labels, origin = _listing(class_names(found.folder / "train"), found.folder / part)
    return origin, lambda: (decoded(names, _bytes, found.size), labels)


def _bytes(name: str) -> bytes:
    return Path(name).read_bytes()


def has_classes(folder: Path) -> bool:
    """Return whether a folder is there and has any class."""
    return folder.is_dir() and any(p.is_dir() and p.name[0] != "." for p in folder.iterdir())


def _listing(known: list[str], root: Path) -> tuple[list[str], np.ndarray, str]:
    """Return the image files of a part, their labels, and a hash that tells when one changes.

    Sizes and times of change may be equal by a copy that keeps them; inode and the time of the last
    change of either (ctime), which nobody sets, are in it as well.
    """
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
