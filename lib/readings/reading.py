"""A recomputed figure, and how a printed one is looked up."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lib import published
from lib.intervals import select

# A figure's numbers: 'plain', 'caveat' or 'context', how it is read, what that gives. The plain
# number is None where the paper does not print what it depends on; its name tells what is missing.
Numbers = Iterable[tuple[str, str, float | None]]


@dataclass(frozen=True)
class Reading:
    """A recomputed figure: its plain reading, those that need a caveat, and context."""

    name: str
    value: float | None
    caveats: Mapping[str, float] = field(default_factory=dict)
    context: Mapping[str, float] = field(default_factory=dict)


def gathered(numbers: Numbers) -> Reading:
    """Return the numbers of a figure as one reading."""
    roles: dict[str, dict[str, Any]] = {"plain": {}, "caveat": {}, "context": {}}
    for role, name, value in numbers:
        roles[role][name] = value
    ((name, value),) = roles["plain"].items()
    return Reading(name, value, roles["caveat"], roles["context"])


def printed(table: str, **where: Any) -> float:
    """Return the one number of a published table with these column values."""
    (value,) = select(published.read(table), **where)["value"]
    return float(value)
