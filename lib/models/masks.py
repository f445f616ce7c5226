"""Masks: random ones for the two paths of SMART, and those of the largest values."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from lib.errors import UserError


def draw(
    shape: Sequence[int],
    density: float,
    overlap: float,
    exact: bool = False,
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Return boolean masks (clean, adv), each with a share density of ones, overlap in both.

    Every position is independently in both masks, in one of them, or in none; with exact the
    number of positions in each of these four states is fixed (largest remainder) instead. Drawn on
    the CPU, so that a seed means the same masks everywhere.
    """
    shape = tuple(shape)
    both, clean, adv = overlap, density - overlap, density - overlap
    if exact:
        total = math.prod(shape)
        both, clean, adv, _ = share_out(total, density, overlap)
        place = torch.randperm(total, generator=generator, device="cpu").view(shape)
    else:
        place = torch.rand(shape, generator=generator, device="cpu")
    only_adv = (place >= both + clean) & (place < both + clean + adv)
    return place < both + clean, (place < both) | only_adv


def share_out(total: int, density: float, overlap: float) -> list[int]:
    """Whole numbers of positions in both, clean only, adv only and no mask, summing to total."""
    one = density - overlap
    shares = [overlap * total, one * total, one * total, (1 - density - one) * total]
    counts = [math.floor(share + 1e-9) for share in shares]
    by_remainder = sorted(range(4), key=lambda state: counts[state] - shares[state])
    for state in by_remainder[: total - sum(counts)]:
        counts[state] += 1
    return counts


def largest(values: Tensor, count: int) -> Tensor:
    """Return which count of the values are the largest, boolean in their shape."""
    kept = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    kept[values.flatten().topk(count).indices] = True
    return kept.view(values.shape)


def parse_pattern(pattern: str | None, stages: int) -> str:
    """Return one letter per stage, D for dense and S for sparse; None: the last two are sparse."""
    example = "D" * (stages - 2) + "SS"
    if pattern is None:
        return example
    letters = "".join(pattern.upper().strip(" []").split())
    if len(letters) != stages or set(letters) - {"D", "S"}:
        raise UserError(
            f"pattern '{pattern}' needs {stages} letters, D (dense) or S (sparse), one for each "
            f"stage of this backbone, for example '{example}'."
        )
    return letters
