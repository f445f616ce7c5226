"""JPEG, PNG and the like to uint8 arrays, with a progress bar."""

import io
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from lib.errors import UserError

CHUNK = 512  # images decoded ahead
RESIZED = 256 / 224  # shorter side over crop, as usual for ImageNet
PIXELS = 80_000_000  # of one image, also when it is scaled; below where Pillow begins to warn
UNREADABLE = (OSError, SyntaxError, ValueError, KeyError, NotImplementedError)


def decoded(items: Sequence[str], read: Callable[[str], bytes], size: int) -> Iterator[np.ndarray]:
    """Yield the items, whose bytes read returns, as uint8 (3, size, size), in order."""
    from PIL import Image
    from tqdm.auto import tqdm

    # For the whole process, as filters that come and go are not safe beside threads
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    one = partial(pixels, read=read, size=size)
    # Pillow frees the interpreter lock while it decodes
    with (
        ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool,
        tqdm(total=len(items), desc="decoding", unit="image", leave=False) as bar,
    ):
        for i in range(0, len(items), CHUNK):
            for image in pool.map(one, items[i : i + CHUNK]):
                yield image
                bar.update()


def pixels(item: str, read: Callable[[str], bytes], size: int) -> np.ndarray:
    """Return one image as uint8 (3, size, size): resized, cut from the centre, grey made RGB.

    The shorter side is scaled to size * RESIZED; an image that has this size is left as it is.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(read(item))) as opened:
            scale = size * RESIZED / min(opened.size)
            needed = opened.width * opened.height * max(1, scale) ** 2
            if needed > PIXELS:
                sides = f"{opened.width} x {opened.height}"
                raise ValueError(f"{sides} pixels, or what they are scaled to, exceed {PIXELS:,}")
            image = opened.convert("RGB")
    except (*UNREADABLE, Image.DecompressionBombError) as error:
        reason = re.sub(r" <.*>", "", str(error)) or type(error).__name__  # addresses of objects
        advice = "replace or remove it."
        raise UserError(f"{item} cannot be read as an image ({reason}); {advice}") from None
    if image.size != (size, size):
        width, height = (max(size, round(side * scale)) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        resized = image.resize((width, height), resample=2)  # bilinear, antialiased
        image = resized.crop((left, top, left + size, top + size))
    return np.asarray(image).transpose(2, 0, 1)
