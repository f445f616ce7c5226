"""What every analytic figure of SMART and FLOAT comes to, under its plain reading and others.

The plain reading counts a method whole and like its rivals, in one unit, at the settings that the
papers state. A reading that needs a caveat stands beside it; context is shown but never judged.
"""

from lib.published.counted import noise, operations, sharing, storage
from lib.published.derived import tables, time, variants
from lib.published.reading import Reading

__all__ = ["Reading", "readings"]


def readings() -> dict[str, Reading]:
    """Return the readings of every figure by its id in data/reference/audit."""
    return storage() | sharing() | operations() | noise() | time() | variants() | tables()
