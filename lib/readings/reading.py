"""A recomputed figure, and how a printed one is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lib import published
from lib.intervals import select


@dataclass(frozen=True)
class Reading:
    """A recomputed figure; value is None where the paper does not print what it depends on.

    name tells how the value is read, or what is missing.
    """

    name: str
    value: float | None
    caveats: Mapping[str, float] = field(default_factory=dict)
    context: Mapping[str, float] = field(default_factory=dict)


def printed(table: str, **where: Any) -> float:
    """Return the one number of a published table with these column values."""
    (value,) = select(published.read(table), **where)["value"]
    return float(value)
