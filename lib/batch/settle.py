"""What would settle the claims that recorded results leave open, and what to train first.

Beside an open claim stands in claims.csv how many seeds, or images, would settle it if the
difference stayed as it was. Here that gets its price, and an order: most claims for least time.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count, islice
from typing import Any

from lib import artifacts, claims, datasets, paths, store, studies
from lib.batch import display, effort, plan
from lib.errors import UserError
from lib.presets import preset
from lib.protocol import Protocol
from lib.recipe import Recipe

NEEDS = re.compile(r"(?:(\d+) seeds)?(?:, )?(?:([\d,]+) images)?")  # as the judge writes it
TOLD = ("id", "claim", "difference", "why", "needs")


@dataclass(frozen=True)
class Open:
    """A claim that is not judged, and with how many seeds and images it would be.

    Without seeds no number of them does, or none is told. Without images those there are suffice.
    """

    artifact: str
    id: str
    claim: str
    difference: str
    why: str
    needs: str
    seeds: int = 0
    images: int = 0

    def by(self, artifact: str, seeds: Sequence[int], images: int) -> bool:
        """Return whether so much of an artifact settles it."""
        enough = 0 < self.seeds <= len(seeds) and self.images <= images
        return self.artifact == artifact and enough


@dataclass(frozen=True)
class Step:
    """More of an artifact, and which claims that settles; judged counts all claims after it."""

    artifact: str
    seeds: tuple[int, ...]
    images: int
    seconds: float  # of one process, beyond the steps before
    settles: tuple[str, ...]
    judged: int

    def command(self, preset: str) -> str:
        first = f"with {self.images:,} images in lib/presets.py: " if self.images else ""
        return f"{first}{artifacts.command(self.artifact, preset, self.seeds)} --record"


@dataclass
class Recorded:
    """The measured claims of some artifacts at a preset, and what more of them would cost."""

    preset: str
    measured: int = 0
    open: list[Open] = field(default_factory=list)
    seeds: dict[str, tuple[int, ...]] = field(default_factory=dict)  # by artifact
    known: dict[tuple[str, int, int], dict[str, float]] = field(default_factory=dict)

    def steps(self) -> Iterator[Step]:
        """Yield what to do, the least time for a claim that it settles first."""
        left, done = [claim for claim in self.open if claim.seeds], set[str]()
        have, judged = {name: (seeds, 0) for name, seeds in self.seeds.items()}, self.measured
        judged -= len(self.open)
        while left:
            ways = []
            for a, n, images in dict.fromkeys((c.artifact, c.seeds, c.images) for c in left):
                way = a, more(have[a][0], n), max(images, have[a][1])
                ids = tuple(claim.id for claim in left if claim.by(*way))
                ways.append((self.price(*way, done), ids, way))
            seconds, ids, way = min(ways, key=lambda one: one[0] / len(one[1]))
            have[way[0]] = way[1:]
            done |= self._pieces(*way).keys()
            left, judged = [claim for claim in left if not claim.by(*way)], judged + len(ids)
            yield Step(*way, seconds, ids, judged)

    def price(
        self, artifact: str, seeds: Sequence[int], images: int, done: set[str] | None = None
    ) -> float:
        """Return the seconds of one process that so much of an artifact takes, beside what is done.

        That is what lacks on this machine: records without weights are trained anew.
        """
        pieces = self._pieces(artifact, seeds, images)
        return sum(seconds for piece, seconds in pieces.items() if piece not in (done or ()))

    def _pieces(self, artifact: str, seeds: Sequence[int], images: int) -> dict[str, float]:
        """Return the seconds of each training and evaluation that lacks, by key."""
        out: dict[str, float] = {}
        for seed in seeds:
            if (one := (artifact, seed, images)) not in self.known:
                self.known[one] = dict(self._lacking(*one))
            out |= self.known[one]
        return out

    def _lacking(self, artifact: str, seed: int, images: int) -> Iterator[tuple[str, float]]:
        jobs = studies.artifact(artifact)(self.preset, (seed,)).jobs
        grown = {p: _on(p, images) for job in jobs for p in job.protocols}
        was = {new: old for old, new in grown.items()}
        jobs = tuple(replace(j, protocols=tuple({grown[p]: 0 for p in j.protocols})) for j in jobs)
        for need in plan.needs_of(jobs).values():
            recorded = self.seeds[artifact]
            if not need.trained:
                yield need.recipe.key, _took(need.recipe, None, recorded)
            for p in need.lacking:
                times = p.images / was[p].images if was[p].images else 1.0
                seconds = times * _took(need.recipe, was[p], recorded)
                yield f"{need.recipe.key} {p.key}", seconds


def _on(protocol: Protocol, images: int) -> Protocol:
    """Return a protocol on at least so many images."""
    least = max(images, protocol.images) if protocol.images else 0
    return replace(protocol, images=least)


def _took(recipe: Recipe, protocol: Protocol | None, seeds: Sequence[int]) -> float:
    """Return the seconds of a training or an evaluation: as measured at a seed, or a guess."""
    for seed in seeds:
        links = range(1 + len(recipe.ancestors))
        twin = recipe.override({"start." * link + "seed": seed for link in links})
        files = [home / "run.json" for home in store.homes(twin.key)]
        for path in store.evaluations(twin.key, protocol.key) if protocol else files:
            if isinstance(seconds := store.read_json(path).get("seconds"), int | float):
                return float(seconds)
    return effort.seconds(recipe, protocol is None, [protocol] if protocol else [])


def more(seeds: tuple[int, ...], wanted: int) -> tuple[int, ...]:
    """Return seeds and the first others, as many as are wanted."""
    others = (seed for seed in count() if seed not in seeds)
    return *seeds, *islice(others, max(0, wanted - len(seeds)))


def read(name: str, chosen: Sequence[str]) -> Recorded:
    """Return what the recorded results of a preset say of the claims on artifacts."""
    found = Recorded(preset(name).name)
    for artifact in chosen:
        home = paths.RESULTS / name / artifact
        if not (home / "claims.csv").is_file():
            continue
        found.seeds[artifact] = tuple(store.read_json(home / "run.json").get("seeds") or (0,))
        table = claims.read(home / "claims.csv")
        table = table[table["kind"] == "measured"]
        found.measured += len(table)
        for row in table[table["verdict"] == claims.NOT_JUDGED].to_dict("records"):
            told: dict[str, Any] = {name: row.get(name, "") for name in TOLD}
            seeds, images = _needed(artifact, found, told["needs"])
            found.open.append(Open(artifact, **told, seeds=seeds, images=images))
    if not found.seeds:
        raise UserError(f"Nothing of that is recorded of preset {name}; run it with --record.")
    return found


def _needed(artifact: str, found: Recorded, needs: str) -> tuple[int, int]:
    """Return how many seeds and images the judge asks for; 0, 0 where there are not as many."""
    if not needs or not (match := NEEDS.fullmatch(needs)):
        return 0, 0
    images = int((match[2] or "0").replace(",", ""))
    jobs = studies.artifact(artifact)(found.preset).jobs if images else ()
    sets = [datasets.spec(job.recipe.data.dataset).count("test") for job in jobs]
    seeds = int(match[1] or len(found.seeds[artifact]))
    return (0, 0) if images > max(sets, default=0) else (seeds, images)


def show(name: str, chosen: Sequence[str], as_json: bool) -> int:
    """Print the open claims, those that cost least to settle first, and the steps that do it."""
    found, rows = read(name, chosen), []
    for claim in (claim for claim in found.open if claim.seeds):
        way = claim.artifact, more(found.seeds[claim.artifact], claim.seeds), claim.images
        minutes = found.price(*way) / 60
        rows.append((claim, minutes, minutes / sum(one.by(*way) for one in found.open)))
    rows.sort(key=lambda row: row[2])
    never, steps = [claim for claim in found.open if not claim.seeds], [*found.steps()]
    judged = found.measured - len(found.open)
    if as_json:
        told: dict[str, Any] = {"preset": name, "measured": found.measured, "judged": judged}
        priced = [asdict(claim) | {"minutes": m, "a_claim": a} for claim, m, a in rows]
        told |= {"claims": priced, "never": [asdict(claim) for claim in never]}
        print(json.dumps(told | {"steps": [asdict(s) | {"do": s.command(name)} for s in steps]}))
        return 0
    head = ("artifact", "claim", "difference")
    lines = [(*_named(c), c.needs, f"{m:,.1f}", f"{a:,.1f}") for c, m, a in rows]
    print(display.table((*head, "needs", "minutes", "a claim"), lines))
    print("\nNo number of seeds or images settles these, or none is told:")
    print(display.table((*head, "why"), [(*_named(c), _never(c)) for c in never]))
    print(f"\nJudged now {_share(judged, found.measured)}. If differences stay as they are:")
    for number, s in enumerate(steps, 1):
        then = f"{number}. {s.seconds / 60:,.1f} min settle {len(s.settles)}: "
        print(f"{then}{_share(s.judged, found.measured)}\n   {s.command(name)}")
    return 0


def _never(claim: Open) -> str:
    """Return why no seeds and images settle a claim."""
    counted = claim.needs and NEEDS.fullmatch(claim.needs)
    return f"{claim.needs}, more than there are" if counted else claim.needs or claim.why


def _named(claim: Open) -> tuple[str, str, str]:
    return claim.artifact, claim.id, claim.difference


def _share(judged: int, measured: int) -> str:
    return f"{judged} of {measured} measured claims ({judged / max(1, measured):.1%})"
