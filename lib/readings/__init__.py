"""What every analytic figure of the papers comes to, under its plain reading and others.

The plain reading counts a method whole and like its rivals, in one unit, at the settings that the
papers state. A reading that needs a caveat stands beside it; context is shown but never judged.
"""

from collections.abc import Collection

from lib.readings.converted import ahead, frames, kept, sizes
from lib.readings.counted import noise, operations, sharing, storage
from lib.readings.derived import tables, time, variants
from lib.readings.pruned import densities, gains, pruning
from lib.readings.reading import Reading, gathered

__all__ = ["Reading", "readings"]


def readings(ids: Collection[str] = ()) -> dict[str, Reading]:
    """Return the readings of figures by their ids in data/reference/audit; without ids, of all.

    Networks are counted only as far as the figures asked for need it, so that there may be more.
    """
    found: dict[str, Reading] = {}
    every = (tables, variants, gains, pruning, storage, time, sharing, operations, noise, densities)
    ours = (kept, ahead, frames, sizes)  # of GDWS, whose networks no other reading counts
    for group in ours if ids and all(id.startswith("gdws") for id in ids) else (*every, *ours):
        found |= {id: gathered(numbers) for id, numbers in group().items()}
        if ids and found.keys() >= set(ids):
            break
    return found
