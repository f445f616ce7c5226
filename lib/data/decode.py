"""JPEG, PNG and the like to uint8 arrays, in chunks, with a progress bar."""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from lib.data.store import CHUNK, Arrays, fetch, write
from lib.errors import UserError

RESIZED = 256 / 224  # shorter side over crop, as usual for ImageNet
PIXELS = 80_000_000  # of one image, also when it is scaled; below where Pillow begins to warn
UNREADABLE = (OSError, SyntaxError, ValueError, KeyError, NotImplementedError)


def decoded(
    folder: Path,
    part: str,
    name: str,
    items: Sequence[str],
    labels: np.ndarray,
    read: Callable[[str], bytes],
    size: int,
    origin: str = "",
) -> Arrays:
    """Decode the items of a part, whose bytes read returns, and return them as they are kept."""
    write(folder, part, (len(items), 3, size, size), _chunks(items, read, size), labels, origin)
    arrays = fetch(folder, part, name, origin)
    assert arrays is not None
    return arrays


def _chunks(items: Sequence[str], read: Callable[[str], bytes], size: int) -> Iterator[np.ndarray]:
    """Yield chunks (<= CHUNK, 3, size, size) of decoded items, in order."""
    from PIL import Image
    from tqdm.auto import tqdm

    # Pillow frees the interpreter lock while it decodes
    with (
        warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
        ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool,
        tqdm(total=len(items), desc="decoding", unit="image", leave=False) as bar,
    ):
        for i in range(0, len(items), CHUNK):
            chunk = items[i : i + CHUNK]
            yield np.stack(list(pool.map(lambda item: pixels(item, read, size), chunk)))
            bar.update(len(chunk))


def pixels(item: str, read: Callable[[str], bytes], size: int) -> np.ndarray:
    """Return one image as uint8 (3, size, size): resized, cut from the centre, grey made RGB.

    An image that already has this size is left as it is.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(read(item))) as opened:
            needed = opened.width * opened.height * max(1, _scale(opened.size, size)) ** 2
            if needed > PIXELS:
                sides = f"{opened.width} x {opened.height}"
                raise ValueError(f"{sides} pixels, or what they are scaled to, exceed {PIXELS:,}")
            image = opened.convert("RGB")
    except (*UNREADABLE, Image.DecompressionBombError) as error:
        reason = re.sub(r" <.*>", "", str(error)) or type(error).__name__  # addresses of objects
        raise UserError(
            f"{item} cannot be read as an image ({reason}); replace or remove it."
        ) from None
    if image.size != (size, size):
        image = _centre(image, size)
    return np.asarray(image).transpose(2, 0, 1)


def _scale(sides: tuple[int, int], size: int) -> float:
    """Return the factor that makes the shorter side RESIZED times the crop."""
    return size * RESIZED / min(sides)


def _centre(image, size: int):  # type: ignore[no-untyped-def]  # Pillow is imported lazily
    """Scale the shorter side to size * RESIZED, keep the central square of size."""
    scale = _scale(image.size, size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), resample=2)  # bilinear, antialiased
    return resized.crop((left, top, left + size, top + size))
