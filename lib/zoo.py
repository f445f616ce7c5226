"""Trained networks by name, from the weights that are here, with what is known of each."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from torch import nn

from lib import evaluate, runs, verify
from lib.batch import plan
from lib.errors import UserError, choose
from lib.intervals import wilson
from lib.protocol import Protocol
from lib.recipe import Recipe
from lib.studies.headline import NETWORKS, network
from lib.study import Job

PRESETS = {"cifar10": "cifar", "digits": "quick"}  # that trains the networks of a data set
COLUMNS = ["lam", "attack", "eps, 1/255", "also", "images", "right, %", "low", "high"]
ALSO = ("noise", "slim", "split", "threshold", "weights")  # fields that tell rows of a name apart


@dataclass(frozen=True)
class Card:
    """What is known of a network: its training, its scores with 95 % intervals, its flags.

    An interval is one of the images that were scored, not of other trainings. sha256 is that of the
    file of weights, flags are what a reader must know before trusting the rest.
    """

    name: str
    recipe: Recipe
    made: str
    scores: pd.DataFrame
    flags: tuple[str, ...]
    sha256: str

    def __str__(self) -> str:
        flags = [f"flag: {flag}" for flag in self.flags] or ["no flags"]
        links = [*self.recipe.ancestors, self.recipe]
        trained = [f"trained: {_fields(link)}" for link in links]
        head = [f"{self.name}, run {self.recipe.key}", *trained, self.made]
        told = self.scores.to_string(index=False, float_format="{:.1f}".format)
        return "\n".join([*head, f"weights: sha256 {self.sha256}", *flags, told])


def names() -> list[str]:
    """Return every name that `load` knows; not all of their weights are in the repository."""
    return [f"{dataset}/{name}" for dataset in PRESETS for name in NETWORKS]


def load(name: str) -> tuple[nn.Module, Card]:
    """Return a trained network in evaluation mode, on the current device, and its card.

    Nothing is downloaded or trained: the weights are those of the repository or of a run here.
    """
    dataset, _, short = choose("network", name, names()).partition("/")
    job = network(short, PRESETS[dataset])
    recipe, run = job.recipe, runs.find(job.recipe)
    if run is None or not run.has_weights:
        raise UserError(
            f"The weights of {name} are not here ({plan.look(recipe)[0]}); train it with "
            f"python -m lib train {recipe.key}, which keeps them in results/runs."
        )
    return run.model(), _card(name, job, run)


def _fields(recipe: Recipe) -> str:
    """Return the fields of a recipe that are not their defaults, as `--set` takes them."""
    tree = recipe.to_dict(full=False)
    parts = {part: of for part, of in tree.items() if isinstance(of, dict) and part != "start"}
    return ", ".join(f"{part}.{k}={v}" for part, of in parts.items() for k, v in of.items())


def _card(name: str, job: Job, run: runs.Run) -> Card:
    info, held = run.info, evaluate.held(run)
    trained, measured = verify.stale(run)
    known = {
        f"trained by other code than today's; python -m lib verify {run.key} tells whether that "
        "matters": trained,
        f"{len(measured)} of {len(held)} scores are by other code than today's": measured,
        "trained with uncommitted changes in lib": info.get("dirty"),
    }
    flags = [flag for flag, is_so in known.items() if is_so]
    flags += sorted({str(flag) for record in held.values() for flag in record.get("flags", ())})
    made = ", ".join(f"{k} {info[k]}" for k in ("finished", "device", "torch", "commit"))
    made += f", {info['seconds']:.0f} seconds in {info['precision']}"
    rows = [_score(job, record) for record in held.values() if "protocol" in record]
    scores = pd.DataFrame(rows, columns=COLUMNS).sort_values(COLUMNS[:4], ignore_index=True)
    sha256 = run.marks()["weights_sha256"]
    return Card(name, run.recipe, f"made: {made}", scores, tuple(flags), sha256)


def _score(job: Job, record: evaluate.Record) -> tuple[float | str, ...]:
    """Return one evaluation as a row of COLUMNS."""
    protocol = Protocol(**record["protocol"])
    right = record["correct"] / (record["n"] * len(record["bits"].split()))
    name, radius = protocol.name, 255 * protocol.eps
    if protocol.attack == "none":
        name, radius = "clean", 0.0
    also = ", ".join(f"{k} {v}" for k, v in protocol.to_dict(full=False).items() if k in ALSO)
    how = (job.lam(protocol), name, radius, also)
    return *how, record["n"], 100 * right, *wilson(right, record["n"])
