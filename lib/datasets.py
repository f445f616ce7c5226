"""What every data set is: classes, sizes, splits and its usual augmentation (no torch here)."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.errors import UserError, check_range, choose

SPLITS = ("train", "val", "test")
WHOLE = "all"  # train and val together


@dataclass(frozen=True)
class Spec:
    """One data set; images is how many there are in train, val and test (0: counted on loading).

    pad and flip are the augmentation of the training split: a crop of the padded image and a
    horizontal mirror image. mean and std are of each channel, or one for all, in [0, 1]: what PNI
    normalises images by.
    """

    name: str
    num_classes: int
    channels: int
    size: int
    images: tuple[int, int, int]
    pad: int = 0
    flip: bool = False
    folder: Path | None = None
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    def count(self, split: str) -> int:
        """Return how many images a split has, 0 where they are counted on loading."""
        if split == WHOLE:
            return sum(self.images[:2])
        return self.images[SPLITS.index(split)]

    def check_limit(self, split: str, limit: int, available: int = 0) -> None:
        """Refuse a subset larger than the split, of which this many images are available."""
        check_range("limit", limit, 0)
        available = available or self.count(split)
        if available and limit > available:
            raise UserError(
                f"{limit} images were asked for but {self.name} has {available} in '{split}'; "
                "use 0 for all of them."
            )


_AUGMENTED: dict[str, Any] = {"pad": 4, "flip": True}


def _of_255(**values: tuple[float, ...]) -> dict[str, Any]:
    return {name: tuple(value / 255 for value in of) for name, of in values.items()}


# As in the PNI code, which has 0.5 for SVHN and MNIST
_CIFAR10 = _of_255(mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7))
_CIFAR100 = _of_255(mean=(129.3, 124.1, 112.4), std=(68.2, 65.4, 70.4))
_SPECS = {
    one.name: one
    for one in (
        # Alpaydin and Kaynak 1998 (UCI), ships with scikit-learn; a fixed stratified split
        Spec("digits", 10, 1, 8, (1_097, 100, 600)),
        # Krizhevsky 2009; val is the last 5,000 training images, as in the OAT code
        Spec("cifar10", 10, 3, 32, (45_000, 5_000, 10_000), **_AUGMENTED, **_CIFAR10),
        Spec("cifar100", 100, 3, 32, (45_000, 5_000, 10_000), **_AUGMENTED, **_CIFAR100),
        # Netzer et al. 2011; val is the last 5,000 training images, 'extra' is unused, as there
        Spec("svhn", 10, 3, 32, (68_257, 5_000, 26_032)),
        # Coates et al. 2011; val is the last 500 labelled images, the papers select on test
        Spec("stl10", 10, 3, 96, (4_500, 500, 8_000), **_AUGMENTED),
        # Le and Yang 2015; test is the official val, val the last 5 % of each training class
        Spec("tiny_imagenet", 200, 3, 64, (95_000, 5_000, 10_000), **_AUGMENTED),
    )
}

_FOLDER = "imagefolder:"


def names() -> list[str]:
    """Return the names of all data sets that are not folders of your own."""
    return sorted(_SPECS)


def spec(name: str) -> Spec:
    """Return the spec of a named data set or of 'imagefolder:PATH' or 'imagefolder:PATH@SIZE'.

    PATH holds train/CLASS/* and val/CLASS/*, as ImageNet does; SIZE is in pixels, 64 if absent.
    """
    if name.startswith(_FOLDER):
        return _folder_spec(absolute(name))
    return _SPECS[choose("data set", name, [*_SPECS, f"{_FOLDER}PATH"])]


def absolute(name: str) -> str:
    """Return the name of a data set that means the same in every folder and process."""
    path = name.removeprefix(_FOLDER)
    if not name.startswith(_FOLDER) or path.startswith(("/", "@")) or not path:
        return name
    # not Path.resolve: a link keeps its name
    return f"{_FOLDER}{os.path.abspath(Path(path).expanduser())}"  # noqa: PTH100


def _folder_spec(name: str) -> Spec:
    whole = name.removeprefix(_FOLDER)
    path, at, digits = whole.rpartition("@")
    if not at or "/" in digits:
        path, digits = whole, "64"
    if not re.fullmatch("[0-9]{1,4}", digits) or not 8 <= int(digits) <= 1024:
        raise UserError(f"'{name}' must end in a size from 8 to 1024 pixels, as in '{path}@64'.")
    if not path:
        raise UserError(f"'{name}' names no folder; write 'imagefolder:PATH@{digits}'.")
    folder = Path(os.path.realpath(path))  # a loop of links is left as it is, not an error
    classes = class_names(folder / "train")
    size = int(digits)
    return Spec(name, len(classes), 3, size, (0, 0, 0), pad=size // 8, flip=True, folder=folder)


def class_names(folder: Path) -> list[str]:
    """Return the sorted names of the class folders in folder."""
    try:
        found = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    except OSError:
        found = []
    for name in found:
        check_name(folder / name)
    if len(found) < 2:
        raise UserError(
            f"{folder} must hold one folder of images per class, two or more of them; "
            "point imagefolder:PATH at the folder that contains train/ and val/."
        )
    return found


def check_name(path: Path) -> None:
    """Refuse a path that is not UTF-8, which no record could name."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"The name {str(path)!a} is not UTF-8; rename it.") from None
