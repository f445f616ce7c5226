"""Batches with augmentation, computed on the device for a whole batch at once."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from lib.data.images import Images, to_float
from lib.errors import UserError, check_range, choose

PAD_MODES = ("reflect", "zero")


def batches(
    images: Images,
    batch: int,
    *,
    seed: int,
    epoch: int,
    first: int = 0,
    pad: int = 0,
    flip: bool = False,
    pad_mode: str = "zero",
) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate once over images in random order as (x, y), x float32 (B, C, H, W) in [0, 1].

    With pad each image is a random crop of itself with a border of pad pixels, with flip it is
    mirrored with probability 1/2. Order, crop and mirroring are drawn for every image of the epoch
    from (seed, epoch) alone, so that they do not depend on batch size, order, workers or device.
    What does not fill a batch is left out, and so are the batches before the first that is wanted.
    """
    check_range("batch", batch, 1)
    check_range("pad", pad, 0, images.images.shape[-1] - 1)
    choose("pad_mode", pad_mode, PAD_MODES)
    if batch > len(images):
        raise UserError(
            f"A batch of {batch} is larger than the {len(images)} training images; "
            "use a smaller batch or more images."
        )
    drawn = (t.to(images.images.device) for t in draws(len(images), seed, epoch, pad))
    order, corner, mirror = drawn

    def one(start: int) -> tuple[Tensor, Tensor]:
        chosen = order[start : start + batch]
        x = images.images[chosen]
        if pad or flip:
            x = crop_and_flip(x, corner[chosen], mirror[chosen] & flip, pad, pad_mode)
        return to_float(x), images.labels[chosen]

    return (one(start) for start in range(first * batch, len(images) - batch + 1, batch))


def in_order(images: Images, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over all images as they are, as (x, y), x float32 in [0, 1]."""
    check_range("batch", batch, 1)
    return (
        (images.float(slice(i, i + batch)), images.labels[i : i + batch])
        for i in range(0, len(images), batch)
    )


def draws(total: int, seed: int, epoch: int, pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the order (N,), and for each image its crop corner (N, 2) and whether to mirror (N,).

    All on the CPU, in a fixed sequence; corners are in 0..2 pad, row first.
    """
    digest = hashlib.sha256(f"batches {seed} {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    order = torch.randperm(total, generator=generator)
    mirror = torch.rand(total, generator=generator) < 0.5
    corner = torch.randint(0, 2 * pad + 1, (total, 2), generator=generator)
    return order, corner, mirror


def crop_and_flip(x: Tensor, corner: Tensor, mirror: Tensor, pad: int, pad_mode: str) -> Tensor:
    """Return for each image its crop at corner (B, 2) of the padded image, mirrored if mirror (B,).

    One gather for the batch; the border is arithmetic on indices and is never built.
    """
    height, width = x.shape[-2:]
    rows = corner[:, :1] + torch.arange(height, device=x.device) - pad  # (B, H)
    columns = corner[:, 1:] + torch.arange(width, device=x.device) - pad  # (B, W)
    columns = torch.where(mirror[:, None], columns.flip(1), columns)
    image = torch.arange(len(x), device=x.device)[:, None, None]
    row, column = _inside(rows, height, pad_mode), _inside(columns, width, pad_mode)
    pixels = x[image, :, row[:, :, None], column[:, None, :]]  # (B, H, W, C)
    if pad and pad_mode == "zero":
        seen = (rows == row)[:, :, None] & (columns == column)[:, None, :]
        pixels = pixels * seen[..., None]
    return pixels.permute(0, 3, 1, 2)


def _inside(index: Tensor, size: int, pad_mode: str) -> Tensor:
    """Map indices outside 0..size-1 to the pixel that a border of pad_mode would repeat."""
    if pad_mode == "reflect":
        return (size - 1) - ((size - 1) - index.abs()).abs()
    return index.clamp(0, size - 1)
