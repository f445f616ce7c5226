"""A study: the recipes and protocols that one figure or table needs, and where its results go."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib import paths
from lib.conversions import Conversion
from lib.errors import UserError
from lib.method import Method
from lib.presets import MAIN, Preset, Setting, preset
from lib.protocol import Protocol
from lib.recipe import Recipe, Train, replace_fields
from lib.sparsity import Sparsity

ONLY_PGD = ("steps", "step", "restarts", "random_start")
EARLY = ("data.", "train.", "attack.")  # overrides of a setting, which a plan derives others from
COMPARED = ("method.", "sparsity.density", "sparsity.granularity", "convert.density")


@dataclass(frozen=True)
class Job:
    """A network under the label its rows carry, and everything measured on it."""

    label: str
    recipe: Recipe
    protocols: tuple[Protocol, ...] = ()
    union: bool = False  # whether images that withstand all attacks are counted, too

    def lam(self, protocol: Protocol) -> float:
        """Return the trade-off that a score stands for: PGD-AT has the one it was trained for."""
        own = self.recipe.method.fixed_lam
        return protocol.lam if own is None else own

    def detail(self, protocol: Protocol) -> str | None:
        """Return what tells a score of another radius than the training's, else None."""
        other = protocol.attack != "none" and protocol.eps != self.recipe.attack.eps
        return f"eps {protocol.eps:.4g}" if other else None


@dataclass(frozen=True)
class Study:
    """What one artifact is made of; jobs may share recipes with those of other artifacts."""

    artifact: str
    preset: Preset
    seeds: tuple[int, ...]
    overrides: Mapping[str, Any]
    jobs: tuple[Job, ...] = ()
    timed: Mapping[str, Recipe] = field(default_factory=dict)  # by label; never trained

    @property
    def paper(self) -> str:
        """Return the folder of the artifact, as 'smart'."""
        return self.artifact.split("/")[0]

    @property
    def name(self) -> str:
        """Return the artifact without its folder, as 'NAME' of 'PAPER/NAME'."""
        return self.artifact.split("/")[1]

    @property
    def results(self) -> str:
        """Return the results folder's name: the preset, marked where fields were overridden."""
        if not self.overrides:
            return self.preset.name
        text = json.dumps(dict(self.overrides), sort_keys=True, default=list)
        return f"{self.preset.name}-custom-{hashlib.sha256(text.encode()).hexdigest()[:6]}"

    @property
    def folder(self) -> Path:
        return paths.artifact(self.results, self.artifact)

    @property
    def altered(self) -> tuple[str, ...]:
        """Return the overridden fields that make the numbers those of no preset any more.

        Other methods and densities are what a reader compares; a verdict on them stands.
        """
        kept = {n for n in self.overrides if n.startswith(COMPARED)} - {"method.clean_epochs"}
        return tuple(sorted(self.overrides.keys() - kept))

    @property
    def judged(self) -> bool:
        return not self.why_not

    @property
    def why_not(self) -> str:
        """Return why nothing that was measured is judged, '' if it is."""
        if self.altered:
            return f"these settings are not the preset's: {', '.join(self.altered)}"
        return "" if self.preset.judge else f"the preset {self.preset.name} is too small"

    @property
    def recipes(self) -> dict[str, Recipe]:
        return {job.recipe.key: job.recipe for job in self.jobs}

    def find(self, label: str, seed: int | None = None) -> Job:
        for job in self.jobs:
            if job.label == label and seed in (None, job.recipe.seed):
                return job
        raise UserError(f"{self.artifact} has no network labelled '{label}'.")


@dataclass
class Builder:
    """Collects the jobs of one study under a preset, seeds and overrides."""

    artifact: str
    preset_name: str
    seeds: Iterable[int] = (0,)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    timed: dict[str, Recipe] = field(default_factory=dict)  # by the label of their rows
    used: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.preset = preset(self.preset_name)
        self.seeds = tuple(self.seeds)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError("Seeds must be at least one whole number and none twice.")
        for path in self.overrides:
            if "." not in path:
                raise UserError(f"'{path}' cannot be set; use a field such as 'train.epochs'.")
        self.refuse("evaluation.attack", "evaluation.lam")

    def refuse(self, *names: str) -> None:
        """Refuse overrides of what a plan sets or compares itself, in any link of a chain."""
        for path in self.overrides:
            if path.rpartition("start.")[2] in names:
                raise UserError(f"'{path}' is up to {self.artifact} itself and cannot be set.")

    def settings(
        self,
        roles: Sequence[str] = (MAIN,),
        change: Callable[[Setting], Setting] = lambda s: s,
        paper: str = "",
    ) -> Iterator[tuple[Setting, int]]:
        """Yield the settings of the roles that the preset has, with each seed.

        They are those for the artifact's own paper, or another. Overrides come after change. Where
        they name a data set there is the main setting only.
        """
        early = {path: value for path, value in self.overrides.items() if path.startswith(EARLY)}
        self.used |= early.keys()
        if "data.dataset" in early:
            roles = (MAIN,)
        for setting in self.preset.roles(roles, paper or self.artifact.split("/")[0]):
            for seed in self.seeds:
                yield replace_fields(change(setting), early), seed

    def recipe(
        self,
        setting: Setting,
        seed: int,
        method: Method,
        *,
        backbone: str = "",
        sparsity: Sparsity | None = None,
        start: Recipe | None = None,
        convert: Conversion | None = None,
    ) -> Recipe:
        """Return the recipe of a method in a setting, with the overrides that `settings` leaves.

        They change every link of a chain; `start.FIELD` changes those that others start from alone.
        """
        model = dataclasses.replace(setting.model, backbone=backbone or setting.model.backbone)
        parts = (setting.data, model, method, Train(), setting.attack, sparsity, seed)
        recipe = Recipe(*parts, start=start, convert=convert)  # its training is judged at the end
        early = (*EARLY, "evaluation.")
        late = {path: value for path, value in self.overrides.items() if not path.startswith(early)}
        changes = {path: value for path, value in late.items() if not recipe.lacks(path)}
        self.used |= changes.keys()
        return dataclasses.replace(recipe.override(changes), train=setting.train)

    def add(
        self,
        label: str,
        recipe: Recipe,
        lams: Sequence[float],
        attacks: Sequence[Mapping[str, Any]],
        union: bool = False,
        **scoring: Any,
    ) -> None:
        """Add a network with one clean and some attacked measurements per trade-off.

        scoring are fields of the protocol that hold for all of them, as slim or threshold. Attacks
        that average gradients over draws are for networks that draw noise. union asks for the share
        of images, too, that withstand all of the attacks.
        """
        if not recipe.method.conditional:
            lams = (0.0,)
        usual, a = {"images": self.preset.images} | scoring, recipe.attack
        attacked = usual | {"eps": a.eps, "step": a.step, "norm": a.norm}
        fields = [usual, *({**attacked, **attack} for attack in attacks)]
        made = [Protocol(lam=lam, **field) for lam in lams for field in fields]
        made = [p for p in made if p.eot == 1 or p.attack != "pgd" or p.draws(recipe.method) > 1]
        protocols = [self._overridden(protocol) for protocol in made]
        if not recipe.train.epochs and any(p.weights == "best" for p in protocols):
            raise UserError(f"'{label}' trains no epochs; leave evaluation.weights at 'last'.")
        if len(set(protocols)) < len(protocols):
            raise UserError(
                f"These settings make two attacks of {self.artifact} the same; leave out those of "
                "the evaluation that it compares, such as 'evaluation.steps'."
            )
        self.jobs.append(Job(label, recipe, tuple(protocols), union))

    def images(self, setting: Setting) -> int:
        return setting.images or self.preset.images

    def slow(self, attack: Mapping[str, Any]) -> dict[str, Any]:
        """Return an attack of many steps, on fewer images where the preset has fewer for it."""
        return {**attack, "images": self.preset.slow_images or self.preset.images}

    def swept(self, values: Sequence[Any]) -> Sequence[Any]:
        """Return the values of a sweep that the preset has trainings for."""
        return values[: self.preset.points]

    def strong(self, lam: float, noisy: bool) -> list[dict[str, Any]]:
        """Return AutoAttack as hard as the preset has it, the version meant for the network first.

        Standard where no noise is; else 'rand' with the stricter count. Above lam = 0 a network
        without noise meets 'rand', too, of which no gradient is averaged.
        """
        hard = self.preset.strong
        fields = dataclasses.asdict(hard) | {"attack": "autoattack"}
        fields |= {"images": hard.images or self.preset.images}
        others = ["rand", "rand-all"] if noisy else ["standard", "rand"]
        versions = others if lam > 0 else ["standard"]
        fields["eot"] = hard.eot if noisy and lam > 0 else 1
        return [fields | {"version": version} for version in versions]

    def _overridden(self, protocol: Protocol) -> Protocol:
        changes = {}
        for path, value in self.overrides.items():
            top, _, rest = path.partition(".")
            if top == "evaluation" and (rest not in ONLY_PGD or protocol.attack == "pgd"):
                changes[rest] = value
                self.used.add(path)
        return replace_fields(protocol, changes)

    def study(self) -> Study:
        """Return the finished study; an override that nothing could take is refused."""
        unused = set(self.overrides) - self.used
        if unused and (self.jobs or self.timed):
            raise UserError(
                f"'{min(unused)}' names no field of any network of {self.artifact}; "
                f"use a field such as 'train.epochs' or 'evaluation.images'."
            )
        seeds, jobs = tuple(self.seeds), tuple(self.jobs)
        return Study(self.artifact, self.preset, seeds, self.overrides, jobs, self.timed)


Plan = Callable[..., Study]  # of a preset, seeds and overrides
ARTIFACTS: dict[str, Plan] = {}


def plan(artifact: str) -> Callable[[Callable[[Builder], None]], Plan]:
    """Return a decorator that makes a function that fills a builder the plan of an artifact.

    The plan takes preset, seeds and overrides, and returns the Study.
    """

    def named(fill: Callable[[Builder], None]) -> Plan:
        @functools.wraps(fill)
        def study(
            preset: str = "quick",
            seeds: Iterable[int] = (0,),
            overrides: Mapping[str, Any] | None = None,
        ) -> Study:
            builder = Builder(artifact, preset, seeds, dict(overrides or {}))
            fill(builder)
            return builder.study()

        return ARTIFACTS.setdefault(artifact, study)

    return named
