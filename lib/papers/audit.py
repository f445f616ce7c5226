"""Audits that need no training: what the papers' analytic figures come to when recomputed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lib.papers.study import Builder, Study


def published_numbers(
    preset: str = "quick", seeds: Iterable[int] = (0,), overrides: Mapping[str, Any] | None = None
) -> Study:
    """Plan the recomputation of every analytic figure of the SMART and FLOAT papers; no networks."""
    return Builder("audit/published_numbers", preset, seeds, overrides).study()
