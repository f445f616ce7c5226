"""The kinds of work that meet faults: a command, what it finds, and what it makes undisturbed."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from lib import anatomy, artifacts, runs, scoring, store
from lib.conversions import Gdws, Weighed
from lib.methods import Float, PgdAt, Smart
from lib.protocol import Protocol
from lib.recipe import Recipe, Train
from lib.sparsity import Admm, Dnr, Fixed, FixedAll, Hydra
from tests.faults.process import Command, Ended, Meet, Try, at_change
from tests.tiny import digits

DENSE = digits(PgdAt(0.5), images=64, precision="fp32")
SMART = replace(DENSE, method=Smart(pattern="DSS"), sparsity=Dnr(0.3))
TRAINED = SMART.override({"train.validate_every": 1})
NOISY = replace(DENSE, method=Float())
PRUNED = {Fixed(): Admm(0.3, rho=0.01, every=1), FixedAll(): Hydra(0.3)}
ADMM, HYDRA = (
    replace(DENSE, sparsity=tuning, start=replace(DENSE, sparsity=pruning, start=DENSE))
    for tuning, pruning in PRUNED.items()
)
WEIGHED = replace(DENSE, start=DENSE, train=Train(epochs=0), convert=Weighed("digits", images=64))
GDWS = replace(WEIGHED, start=WEIGHED, convert=Gdws("digits", points=1.0, least=1))
AUTO = {"attack": "autoattack", "steps": 3, "eps": 0.1, "images": 200}
PROTOCOLS = (
    Protocol(images=200),
    Protocol(lam=1.0, attack="pgd", eps=0.25, images=300),
    Protocol(lam=1.0, version="rand", eot=2, **AUTO),
    Protocol(queries=30, noise="frozen", **AUTO),
)
BATCH = ("./run_all.sh", "smart/fig5_fgsm", "--preset", "ci")
TIMES = {"seconds", "finished", "written", "peak_memory_bytes", "sha256"}  # and what is of them
UNCOUNTED = re.compile(r"\.damaged-|\.lock$|/\.(logs|jobs)/")
DATED = (".ipynb", "index.html", "RESULTS.md")


@dataclass
class Work:
    """A command, a room for its results folders, and what is trained there before."""

    room: Path
    recipe: Recipe
    protocols: tuple[Protocol, ...] = ()
    given: tuple[Recipe, ...] = ()
    call: Callable[[Recipe], Command] | None = None

    @property
    def command(self) -> Command:
        return self.call(self.recipe) if self.call else self.train(self.recipe, *self.protocols)

    @property
    def is_batch(self) -> bool:
        return self.command == BATCH

    @property
    def home(self) -> Path:
        return self.room / "home"

    def train(self, recipe: Recipe, *protocols: Protocol) -> list[str]:
        asked = {"recipe": recipe.to_dict(), "protocols": [p.to_dict() for p in protocols]}
        store.write_json(path := self.room / f"{recipe.key}.json", asked)
        return ["train", str(path)]

    @cached_property
    def twin(self) -> "Work":
        recipe = replace(self.recipe, seed=9)
        given = (recipe,) * len(self.given)
        return replace(self, room=self.room / "twin", recipe=recipe, given=given)

    @cached_property
    def start(self) -> Path:
        (home := self.room / "start").mkdir(parents=True)
        for recipe in self.given:
            assert not (wrong := Try(self.train(recipe), home).end().failed()), wrong
        return home

    @cached_property
    def undisturbed(self) -> Ended:
        """Return how the command ends; what it makes is then in `whole`."""
        found = self.run(at_change(self.home, 0, lambda event: print("\nchanged", flush=True)))
        assert not found.failed(), found.failed()
        shutil.copytree(self.home, self.room / "whole", symlinks=True)
        return found

    @property
    def changes(self) -> int:
        return self.undisturbed.said.count("changed")

    @property
    def whole(self) -> Path:
        return self.room / "whole" if self.undisturbed else self.home

    def put(self, source: Path) -> Path:
        shutil.rmtree(self.home, ignore_errors=True)
        return Path(shutil.copytree(source, self.home, symlinks=True))

    def begin(self, *meet: Meet) -> Try:
        return Try(self.command, self.home, *meet)

    def run(self, *meet: Meet) -> Ended:
        self.put(self.start)
        return self.begin(*meet).end()

    def recovers(self, wrong: str = "") -> str:
        """Return '' if the command now completes to the same files, else what is wrong."""
        if wrong := wrong or self.begin().end().failed():
            return wrong
        now, then = outcome(self.home), outcome(self.whole)
        other = sorted(name for name in now | then if now.get(name) != then.get(name))
        return f"other files than undisturbed: {', '.join(other)}" if other else ""


def works(room: Path) -> dict[str, Work]:
    """Return one of each kind, by name."""
    for recipe in (TRAINED, ADMM, HYDRA, GDWS, NOISY):  # else each copy of this process would
        runs.code_fingerprint(recipe)
        _ = [scoring.code_fingerprint(recipe, p) for p in PROTOCOLS if recipe in (TRAINED, NOISY)]
    kinds: dict[str, tuple[Any, ...]] = {
        "training": (TRAINED, PROTOCOLS[:1]),
        "ADMM chain": (ADMM,),
        "HYDRA chain": (HYDRA,),
        "GDWS conversion": (GDWS, (), (DENSE,)),
        "evaluation": (NOISY, PROTOCOLS, (NOISY,)),
        "batch": (DENSE, (), (), lambda recipe: BATCH),
        "anatomy": (DENSE, (), (DENSE,), lambda r: lambda: not anatomy.sizes(runs.load(r))),
        "proof": (DENSE, (), (DENSE,), lambda r: ("verify", r.key)),
    }
    return {name: Work(room / name, *of) for name, of in kinds.items()}


def outcome(home: Path) -> dict[str, Any]:
    """Return what the files of a results folder hold but for times, by name.

    What was set aside does not count, nor do logs and locks.
    """
    names = {path.relative_to(home).as_posix(): path for path in home.rglob("*") if path.is_file()}
    return {name: _content(path) for name, path in names.items() if not UNCOUNTED.search(name)}


def _content(path: Path) -> Any:
    if path.name == store.MANIFEST:
        return store.damage(path.parent)
    if path.name == artifacts.INPUTS:
        return artifacts.recorded(path.parent) == artifacts.outputs(path.parent)
    if path.suffix == ".json":
        steady = lambda d: {name: d[name] for name in d if name not in TIMES}  # noqa: E731
        return json.loads(path.read_text(), object_hook=steady)
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype=str).drop(columns="seconds", errors="ignore").to_csv()
    return "" if path.name.endswith(DATED) else path.read_bytes()
