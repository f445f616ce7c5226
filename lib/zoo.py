"""Trained networks by name, from the weights that are here, with what is known of each."""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from torch import nn

from lib import evaluate, paths, runs, studies, verify
from lib.batch import plan
from lib.errors import UserError, choose
from lib.flags import among, of_job
from lib.intervals import wilson
from lib.protocol import Protocol
from lib.study import Job

FILE = paths.ROOT / "data/networks.csv"  # which plan has a network: label, backbone or lam
PRESETS = {"cifar10": "cifar", "digits": "quick"}  # that trains the networks of a data set
MADE = ("finished", "device", "torch", "precision", "seconds", "commit")
ALSO = ("noise", "slim", "split", "threshold", "weights")  # of protocols that have one name
COLUMNS = ["lam", "attack", "eps, 1/255", "also", "images", "right, %", "low", "high"]


@dataclass(frozen=True)
class Card:
    """What is known of a network: its training, scores with 95 % intervals, and flags.

    The intervals are of the images that were scored, not of other trainings. sha256 is that of the
    weights, flags are what a reader must know before trusting the rest.
    """

    name: str
    training: list[dict[str, Any]]  # recipes without defaults, the first of a chain first
    made: dict[str, Any]
    scores: pd.DataFrame
    flags: list[str]
    sha256: str

    def __str__(self) -> str:
        lines = [f"{self.name}, weights sha256 {self.sha256}"]
        lines += [f"trained with {recipe}" for recipe in self.training]
        lines.append(", ".join(f"{name} {value}" for name, value in self.made.items()))
        lines += [f"flag: {flag}" for flag in self.flags] or ["no flags"]
        return "\n".join([*lines, self.scores.to_string(index=False, float_format="%.1f")])


def names() -> list[str]:
    """Return every name that `load` knows; not all of their weights are in the repository."""
    return [f"{dataset}/{name}" for dataset in PRESETS for name in pd.read_csv(FILE)["name"]]


def job(name: str) -> Job:
    """Return the network of a name as the plans have it, with seed 0."""
    dataset, _, short = choose("network", name, names()).partition("/")
    row = pd.read_csv(FILE, index_col="name").loc[short]
    for one in studies.artifact(row["artifact"])(PRESETS[dataset]).jobs:
        lam, backbone = one.recipe.method.fixed_lam, one.recipe.model.backbone
        if row["network"] in (one.label, f"{one.label}, {backbone}", f"{one.label}, lam {lam}"):
            return one
    raise UserError(f"The plans have no {name} any more; mend {FILE.name}.")


def load(name: str) -> tuple[nn.Module, Card]:
    """Return a trained network in evaluation mode, on the current device, and its card.

    Nothing is downloaded or trained: the weights are those of the repository, or of a run here.
    """
    asked = job(name)
    recipe, run = asked.recipe, runs.find(asked.recipe)
    if run is None or not run.has_weights:
        raise UserError(
            f"The weights of {name} are not here ({plan.look(recipe)[0]}); train it with "
            f"python -m lib train {recipe.key}."
        )
    info, held = run.info, evaluate.held(run)
    trained, measured = verify.stale(run)
    known = {
        "trained by other code than today's, see python -m lib verify": trained,
        f"{len(measured)} of {len(held)} scores are by other code than today's": measured,
        "trained with uncommitted changes in lib": info.get("dirty"),
    }
    flags = [flag for flag, is_so in known.items() if is_so]
    scored = {Protocol(**r["protocol"]): r for r in held.values() if "protocol" in r}
    rows = [score(asked, record) for record in scored.values()]
    rated = {p: scored[p] | {"value": row[5]} for p, row in zip(scored, rows, strict=True)}
    marks = of_job(replace(asked, protocols=tuple(scored)), 1, rated)
    flags += [check.says for check in among(marks.values())]
    scores = pd.DataFrame(rows, columns=COLUMNS).sort_values(COLUMNS[:4], ignore_index=True)
    made = {"run": run.key} | {field: info[field] for field in MADE if field in info}
    chain = [link.to_dict(full=False) | {"start": ""} for link in (*recipe.ancestors, recipe)]
    return run.model(), Card(name, chain, made, scores, flags, run.marks()["weights_sha256"])


def score(asked: Job, record: evaluate.Record) -> tuple[Any, ...]:
    """Return one evaluation as a row of COLUMNS."""
    protocol = Protocol(**record["protocol"])
    right = record["correct"] / (record["n"] * len(record["bits"].split()))
    clean = protocol.attack == "none"
    name, radius = ("clean", 0.0) if clean else (protocol.name, 255 * protocol.eps)
    also = ", ".join(f"{k} {v}" for k, v in protocol.to_dict(full=False).items() if k in ALSO)
    how = (asked.lam(protocol), name, radius, also)
    return *how, record["n"], 100 * right, *wilson(right, record["n"])
