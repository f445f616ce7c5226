"""Faults of every kind while the suite works, in temporary folders, and what it makes of them.

`./run_all.sh --python -m tests.faults` takes some minutes: kills at random times and before random
changes of files, full disks, folders that are closed, damage of every kind of stored file in every
region, two commands at once, numbers that are none.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from lib import device, paths, store
from lib.progress import span
from lib.training import NEXT_BEST, NEXT_MANIFEST
from tests.faults import tries
from tests.faults.process import Skip
from tests.faults.works import PROTOCOLS, Work, works

KILLS = {"training": 11, "ADMM chain": 8, "HYDRA chain": 8, "GDWS conversion": 8, "evaluation": 11}
KILLS |= {"batch": 4}  # of 50
CLEAN, PGD = (protocol.key for protocol in PROTOCOLS[:2])
FILES = {  # by the work whose command meets their damage
    "training": (*tries.SEALED, f"{CLEAN}.json", "resume.pt", NEXT_BEST, NEXT_MANIFEST),
    "evaluation": (f"{PGD}.partial.json",),
    "anatomy": ("sizes.json",),
    "proof": ("verified.json",),
}
# a fault, what it meets, the work that does, one try of it, how many tries
Row = tuple[str, str, str, Callable[..., str], int]


def plan(kills: int) -> Iterator[Row]:
    shares = [kills * sum([*KILLS.values()][:n]) // 50 for n in range(len(KILLS) + 1)]
    for name, upto, behind in zip(KILLS, shares[1:], shares, strict=False):
        yield "SIGKILL", name, name, tries.killed, upto - behind
    for name in KILLS:
        few = name == "batch"  # which takes a minute
        yield "full disk", name, name, tries.full, 1 if few else 4
        yield "closed folder", name, name, tries.closed, 1 if few else 3
        yield "two at once", name, name, tries.both, 1 if few else 2
    yield "NaN in a step", "training", "training", tries.diverged, 15
    for name in ("GDWS conversion", "evaluation"):
        yield "NaN in weights", name, name, tries.spoilt, 4
    for name, files in FILES.items():
        for file in files:
            told = file.replace(CLEAN, "evaluations/KEY").replace(PGD, "evaluations/KEY")
            yield "damaged file", told, name, partial(tries.damaged, file=file), 6
    yield "damaged file", "records/KEY/evaluations.json", "evaluation", tries.shelved, 6
    yield "damaged results", "batch", "batch", tries.edited, 1


def short(rows: list[Row]) -> list[Row]:
    """Return one try of every fault, of kills and damage each kind; no batches."""
    all_of, firsts = ("SIGKILL", "damaged file"), {row[0]: row for row in reversed(rows)}.values()
    return [(*r[:4], 1) for r in rows if r[2] != "batch" and (r[0] in all_of or r in firsts)]


def run(rows: list[Row], made: dict[str, Work], files: list[Path], shift: int) -> int:
    """Make all tries, telling after each row what came out and how long the rest may take."""
    total, done, found, began = sum(row[-1] for row in rows), 0, list[dict](), time.monotonic()
    for offset, (fault, met, name, one, times) in enumerate(rows):
        said, skipped = [], ""
        for number in range(times):
            try:
                said.append(one(made[name], number + offset * shift))
            except Skip as reason:
                skipped = f", then skipped: {reason}"
                break
        done, wrong = done + times, list(filter(None, said))
        rest = span((time.monotonic() - began) / done * (total - done))
        passed = len(said) - len(wrong)
        print(f"{done:4}/{total}, {rest} left  {fault}, {met}: {passed} of {len(said)}{skipped}")
        print(*(f"    {one}\n" for one in wrong), sep="", end="", flush=True)
        found += [{"fault": fault, "work": met, "tries": len(said), "passed": passed}]
        for path in files:
            store.write_json(path, {"machine": device.describe(), "faults": found})
    return int(any(row["passed"] < row["tries"] for row in found))


def main() -> int:
    words = argparse.ArgumentParser("python -m tests.faults", description=__doc__)
    words.add_argument("--kills", type=int, default=50, help="how many, over all kinds of work")
    words.add_argument("--short", action="store_true", help="no batches, of other faults one try")
    words.add_argument("--only", default="", help="the rows whose line holds this")
    words.add_argument("--seed", type=int, default=0, help="of all that is random but for times")
    words.add_argument("--json", type=Path, help="write what came out to a file")
    words.add_argument("--record", action="store_true", help="and to where the repository keeps it")
    asked = words.parse_args()
    random.seed(asked.seed)
    rows = [row for row in plan(asked.kills) if row[-1] and asked.only in f"{row[0]}, {row[1]}"]
    rows = short(rows) if asked.short else rows
    files = [asked.json] * bool(asked.json)
    files += [paths.RESULTS / "bench" / "faults.json"] * asked.record
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as room:
        return run(rows, works(Path(room)), files, shift=asked.short)


if __name__ == "__main__":
    sys.exit(main())
