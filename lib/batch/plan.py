"""What a batch has to do: the runs and evaluations that its artifacts share, and what is there.

Planning reads and changes nothing: a damaged run is named here and set aside by who trains it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lib import evaluate, runs, store, studies
from lib.batch import effort
from lib.protocol import Protocol
from lib.recipe import Recipe
from lib.study import Job, Study

FINISHED = "finished"
UNFINISHED = "unfinished"
MISSING = "missing"
RECORD = "a record without weights"
NOT_HERE = (MISSING, RECORD)  # nothing of it has been trained on this machine


@dataclass
class Need:
    """One network that artifacts share: what it is called, and what is there of it."""

    recipe: Recipe
    label: str
    protocols: dict[str, Protocol] = field(default_factory=dict)
    state: str = MISSING
    stale: bool = False
    lacking: tuple[Protocol, ...] = ()

    @property
    def name(self) -> str:
        """Return what people read: label, trade-off of the training, seed and key."""
        own, seed = self.recipe.method.fixed_lam, self.recipe.seed
        lam = "" if own is None else f" lam {own:g}"
        return f"{self.label}{lam}, seed {seed} ({self.recipe.key})"

    @property
    def trained(self) -> bool:
        return self.state == FINISHED

    @property
    def done(self) -> bool:
        return self.trained and not self.lacking

    @property
    def seconds(self) -> float:
        """Return a first guess at how long what lacks takes."""
        return effort.seconds(self.recipe, not self.trained, self.lacking)

    @property
    def outdated(self) -> int:
        """Return how many evaluations are lacking of which there is a record by other code."""
        run = runs.find(self.recipe)
        return sum(bool(evaluate.find(run, p, any_code=True)) for p in self.lacking) if run else 0

    @property
    def memory(self) -> float:
        return effort.memory(self.recipe, not self.trained, self.lacking)

    def narrowed(self, protocols: dict[str, Protocol]) -> Need:
        """Return the need of fewer evaluations."""
        lacking = tuple(p for p in self.lacking if p.key in protocols)
        return replace(self, protocols=protocols, lacking=lacking)


def undone(needs: Iterable[Need]) -> tuple[int, int]:
    """Return how many networks there are to train and how many evaluations to make."""
    needs = list(needs)
    return sum(not need.trained for need in needs), sum(len(need.lacking) for need in needs)


@dataclass(frozen=True)
class Plan:
    """The chosen artifacts and the networks behind them, each once."""

    studies: dict[str, Study]
    needs: dict[str, Need]

    def of(self, study: Study) -> list[Need]:
        """Return the networks of one artifact, with no more than its own evaluations."""
        own: dict[str, dict[str, Protocol]] = {key: {} for key in study.recipes}
        for job in study.jobs:
            own[job.recipe.key] |= {p.key: p for p in job.protocols}
        return [self.needs[key].narrowed(protocols) for key, protocols in own.items()]

    def with_starts(self, study: Study) -> list[Need]:
        """Return the networks of one artifact after the others that they start from."""
        chains = (recipe.ancestors for recipe in study.recipes.values())
        starts = {start.key: None for chain in chains for start in chain}
        first = [key for key in starts if key in self.needs and key not in study.recipes]
        return [*(self.needs[key].narrowed({}) for key in first), *self.of(study)]

    @property
    def results(self) -> str:
        return next(iter(self.studies.values())).results


def make(
    names: Sequence[str],
    preset: str,
    seeds: Iterable[int],
    overrides: Mapping[str, Any],
    records: bool = False,
    fresh: bool = False,
) -> Plan:
    """Return the plan of some artifacts; whatever is invalid about it is refused here.

    records: a run counts as finished without its weights. fresh: nothing counts as finished.
    """
    seeds = tuple(seeds)
    chosen = {n: studies.artifact(n)(preset, seeds, dict(overrides)) for n in names}
    jobs = [job for study in chosen.values() for job in study.jobs]
    return Plan(chosen, needs_of(jobs, records, fresh))


def needs_of(jobs: Iterable[Job], records: bool = False, fresh: bool = False) -> dict[str, Need]:
    """Return by key the networks of jobs, each once, and those that they have to start from.

    A conversion that nothing measures is left to who starts from it: it takes less than a process.
    """
    needs, asked = dict[str, Need](), list(jobs)
    for job in asked:
        need = needs.setdefault(job.recipe.key, Need(job.recipe, job.label))
        need.protocols |= {p.key: p for p in job.protocols}
    for need in [*needs.values()]:
        _look_at(need, records, fresh)
        child = need
        while child.recipe.start and not child.trained:
            start = Need(child.recipe.start, f"start of {child.label}")
            child = needs.setdefault(start.recipe.key, start)
            _look_at(child, records, fresh)
    measured = {job.recipe.key for job in asked}
    return {k: n for k, n in needs.items() if k in measured or n.recipe.train.epochs}


def _look_at(need: Need, records: bool, fresh: bool) -> None:
    runs.check(need.recipe, need.protocols.values())
    need.state, run = (MISSING, None) if fresh else look(need.recipe, records)
    need.stale = need.trained and run is not None and not runs.is_current(run)
    need.lacking = tuple(
        p
        for p in need.protocols.values()
        if run is None or not need.trained or not evaluate.find(run, p, any_code=records)
    )


def look(recipe: Recipe, records: bool = False) -> tuple[str, runs.Run | None]:
    """Return in a word what is there of a recipe, and its run, which counts if it is FINISHED."""
    if run := runs.find(recipe, records):
        return FINISHED, run
    own, homes = runs.folder(recipe), store.homes(recipe.key)
    if own not in homes and (own / "resume.pt").is_file():
        return UNFINISHED, None
    if not homes:
        return MISSING, None
    run = runs.Run(recipe, homes[0])
    wrong = runs.damage(run)
    return (f"damaged: {wrong}", None) if wrong else (RECORD, run)
