"""What would settle the claims that recorded results leave open, and what to train first.

Beside an open claim stands in claims.csv how many seeds, or images, would settle it if the
difference stayed as it was. Here that gets its price, and an order: most claims for least time.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import Any, NamedTuple

from lib import artifacts, claims, datasets, paths, store, studies
from lib.batch import display, effort, plan
from lib.errors import UserError
from lib.presets import preset
from lib.protocol import Protocol
from lib.recipe import Recipe

NEEDS = re.compile(r"(?:(\d+) seeds)?(?:, )?(?:([\d,]+) images)?")  # as the judge writes it
Way = tuple[str, tuple[int, ...], int]  # an artifact, seeds, and images, 0: those of the preset


class Open(NamedTuple):
    """A claim that is not judged; without seeds, no number of them and of images settles it."""

    artifact: str
    id: str
    difference: str
    needs: str  # or why that is not told
    seeds: int
    images: int

    def by(self, way: Way) -> bool:
        enough = 0 < self.seeds <= len(way[1]) and self.images <= way[2]
        return self.artifact == way[0] and enough


class Recorded:
    """The measured claims of some artifacts at a preset, and what more of them would cost."""

    def __init__(self, name: str, chosen: Sequence[str]) -> None:
        self.preset, self.measured, self.open = preset(name).name, 0, list[Open]()
        self.seeds: dict[str, tuple[int, ...]] = {}  # by artifact
        self.known: dict[tuple[str, int, int], dict[str, float]] = {}
        for artifact in (a for a in chosen if (paths.RESULTS / name / a / "claims.csv").is_file()):
            home = paths.RESULTS / name / artifact
            seeds = tuple(store.read_json(home / "run.json").get("seeds") or [0])
            table, self.seeds[artifact] = claims.read(home / "claims.csv"), seeds
            table = table[table["kind"] == "measured"]
            self.measured += len(table)
            jobs = studies.artifact(artifact)(name).jobs
            sets = [datasets.spec(job.recipe.data.dataset) for job in jobs]
            most = max((spec.count("test") for spec in sets), default=0)
            for row in table[table["verdict"] == claims.NOT_JUDGED].to_dict("records"):
                told = (artifact, row["id"], row["difference"], row["needs"] or row["why"])
                match = NEEDS.fullmatch(row["needs"] or "none")
                images = int(match[2].replace(",", "")) if match and match[2] else 0
                wanted = int(match[1] or len(seeds)) if match and images <= most else 0
                self.open.append(Open(*told, wanted, images))
        if not self.seeds:
            raise UserError(f"Nothing of that is recorded of preset {name}; run it with --record.")

    def steps(self) -> Iterator[dict[str, Any]]:
        """Yield what to do, the least time for a claim first; judged counts all claims after it."""
        left, done = [claim for claim in self.open if claim.seeds], set[str]()
        have: dict[str, Way] = {name: (name, seeds, 0) for name, seeds in self.seeds.items()}
        judged = self.measured - len(self.open)
        while left:
            ways = [_more(have[claim.artifact], claim) for claim in left]
            way = min(ways, key=lambda w: self.minutes(w, done) / sum(c.by(w) for c in left))
            settled, minutes = [c.id for c in left if c.by(way)], self.minutes(way, done)
            judged, have[way[0]] = judged + len(settled), way
            left, done = [claim for claim in left if not claim.by(way)], done | {*self.pieces(way)}
            do = f"{artifacts.command(way[0], self.preset, way[1])} --record"
            do = f"with {way[2]:,} images in lib/presets.py: {do}" if way[2] else do
            yield {"do": do, "minutes": minutes, "settles": settled, "judged": judged}

    def minutes(self, way: Way, done: set[str] | None = None) -> float:
        """Return the minutes of one process that a way takes here, beside what is done.

        Records without weights are trained anew, as by the command.
        """
        return sum(s for piece, s in self.pieces(way).items() if piece not in (done or ())) / 60

    def pieces(self, way: Way) -> dict[str, float]:
        """Return the seconds of each training and evaluation that lacks, by key."""
        name, seeds, images = way
        for one in ((name, seed, images) for seed in seeds):
            self.known[one] = self.known.get(one) or dict(self._lacking(*one))
        return {k: s for seed in seeds for k, s in self.known[name, seed, images].items()}

    def _lacking(self, artifact: str, seed: int, images: int) -> Iterator[tuple[str, float]]:
        jobs, recorded = studies.artifact(artifact)(self.preset, (seed,)).jobs, self.seeds[artifact]
        asked = sorted((p for job in jobs for p in job.protocols), key=lambda p: p.images)
        was = {_on(p, images): p for p in asked}  # of several the one on most images
        grown = ({_on(p, images): 0 for p in job.protocols} for job in jobs)
        jobs = tuple(replace(j, protocols=tuple(ps)) for j, ps in zip(jobs, grown, strict=True))
        for need in plan.needs_of(jobs).values():
            if not need.trained:
                yield need.recipe.key, _took(need.recipe, None, recorded)
            for p in need.lacking:
                times = p.images / (was[p].images or 1) if p.images else 1.0
                yield f"{need.recipe.key} {p.key}", times * _took(need.recipe, was[p], recorded)


def _on(protocol: Protocol, images: int) -> Protocol:
    return replace(protocol, images=max(images, protocol.images) if protocol.images else 0)


def _more(way: Way, claim: Open) -> Way:
    """Return a way with the first other seeds, and images, as many as a claim wants."""
    others = (seed for seed in count() if seed not in way[1])
    added = islice(others, max(0, claim.seeds - len(way[1])))
    return way[0], (*way[1], *added), max(way[2], claim.images)


def _took(recipe: Recipe, protocol: Protocol | None, seeds: Sequence[int]) -> float:
    """Return the seconds of a training or an evaluation: as measured at a seed, or a guess."""
    for seed in seeds:
        links = range(1 + len(recipe.ancestors))
        twin = recipe.override({"start." * link + "seed": seed for link in links})
        took = (store.read_json(home / "run.json") for home in store.homes(twin.key))
        if protocol:
            took = (o for h in store.places(twin.key) for _, o in store.measured(h, protocol.key))
        for one in took:
            if isinstance(seconds := one.get("seconds"), int | float):
                return float(seconds)
    return effort.seconds(recipe, protocol is None, [protocol] if protocol else [])


def show(name: str, chosen: Sequence[str], as_json: bool) -> int:
    """Print the open claims, those that cost least to settle first, and the steps that do it."""
    found, rows = Recorded(name, chosen), []
    for claim in (claim for claim in found.open if claim.seeds):
        way = _more((claim.artifact, found.seeds[claim.artifact], 0), claim)
        minutes = found.minutes(way)
        a_claim = minutes / sum(one.by(way) for one in found.open)
        rows.append(claim._asdict() | {"minutes": minutes, "a claim": a_claim})
    rows.sort(key=lambda row: row["a claim"])
    never, steps = [claim._asdict() for claim in found.open if not claim.seeds], [*found.steps()]
    told = {"measured": found.measured, "judged": found.measured - len(found.open)}
    if as_json:
        print(json.dumps(told | {"claims": rows, "never": never, "steps": steps}))
        return 0
    head = ("artifact", "id", "difference", "needs", "minutes", "a claim")
    cells = [[f"{v:,.1f}" if isinstance(v := r[h], float) else v for h in head] for r in rows]
    print(display.table(head, cells))
    print("\nWithout a price: no number of seeds, or of the images there are, settles these, or")
    print("none is told, as where a second seed must show first how far trainings spread:")
    print(display.table((*head[:3], "why"), [[row[h] for h in head[:4]] for row in never]))
    print("\nIf differences stay as they are, by minutes of one process:")
    for step in [told | {"do": "", "minutes": 0.0, "settles": []}, *steps]:
        share = f"{step['judged'] / max(1, found.measured):.1%} of {found.measured} judged"
        print(f"{step['minutes']:,.1f} min settle {len(step['settles'])}: {share}  {step['do']}")
    return 0
