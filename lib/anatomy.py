"""The inside of networks as rows of metrics.csv: densities, noise scales, batch norms, costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from torch import nn

from lib import cost, data, runs, store
from lib.errors import UserError
from lib.papers import Study
from lib.published.ledger import count
from lib.recipe import Plain, Recipe
from lib.rows import frame, row

Row = dict[str, Any]
COUNTS = ("params", "params_union", "params_per_path", "macs", "macs_per_path", "noise_adds")
PUBLISHED = {  # labels of metrics.csv to networks of the ledger
    "plain": "plain",
    "OAT": "oat",
    "OAT [scalar code]": "oat scalar",
    "FLOAT": "float",
    "SMART": "smart",
}


def joined(accuracies: pd.DataFrame, *parts: list[Row]) -> pd.DataFrame:
    """Return accuracies and further rows of metrics.csv as one frame."""
    rows = [*accuracies.to_dict("records"), *(one for part in parts for one in part)]
    return frame(rows).astype({"seed": "Int64"})  # whole numbers although costs have no seed


def densities(study: Study, fitted: Mapping[str, runs.Run]) -> list[Row]:
    """Return the share of non-zero weights, in percent, of every pruned convolution of a study."""
    rows = []
    for job in study.jobs:
        for layer in kept_weights(fitted[job.recipe.key]).itertuples():
            value = 100 * layer.kept / layer.weights
            metric = f"density:{layer.Index}"
            rows.append(row(study, job.recipe, method=job.label, metric=metric, value=value))
    return rows


def kept_weights(run: runs.Run) -> pd.DataFrame:
    """Return kept and all weights of every pruned convolution of a run, by layer."""
    layers = recorded(run, "densities", layer_densities)["layers"]
    return pd.DataFrame.from_dict(layers, orient="index").loc[:, ["kept", "weights"]]


def layer_densities(model: nn.Module) -> dict[str, Any]:
    """Return kept and all weights of each convolution with a pruning mask."""
    layers = {}
    for name, layer in model.named_modules():
        mask = getattr(layer, "mask", None)
        if mask is not None:
            layers[name] = {"kept": int(mask.sum()), "weights": mask.numel()}
    return {"layers": layers}


def noise_scales(study: Study, fitted: Mapping[str, runs.Run]) -> list[Row]:
    """Return the learned scale alpha of every noisy layer, its mean size where there are more."""
    rows = []
    for job in study.jobs:
        if "alpha" in job.recipe.method.arch:
            record = recorded(fitted[job.recipe.key], "alphas", layer_alphas)
            rows += [
                row(study, job.recipe, method=job.label, metric=f"alpha:{name}", value=value)
                for name, value in record["layers"].items()
            ]
    return rows


def layer_alphas(model: nn.Module) -> dict[str, Any]:
    """Return the mean absolute alpha of each layer that has one."""
    layers = {}
    for name, layer in model.named_modules():
        alpha = getattr(layer, "alpha", None)
        if alpha is not None:
            layers[name] = round(float(alpha.detach().abs().mean()), 6)
    return {"layers": layers}


def norm_statistics(study: Study, fitted: Mapping[str, runs.Run], block: int) -> list[Row]:
    """Return running mean and variance per channel of both batch norms after a block.

    The norm is the block's second; blocks are counted from 1 over the whole network.
    """
    rows = []
    for job in study.jobs:
        run = fitted[job.recipe.key]
        record = recorded(run, f"norms-{block}", lambda model: second_norms(model, block))
        for path, statistics in record["paths"].items():
            for name, values in statistics.items():
                for channel, value in enumerate(values):
                    metric = f"{name}:{path}:{channel}"
                    rows.append(
                        row(study, job.recipe, method=job.label, metric=metric, value=value)
                    )
    return rows


def second_norms(model: nn.Module, block: int) -> dict[str, Any]:
    """Return the running statistics of the dual batch norm that ends a block, by path."""
    blocks = [(name, layer) for name, layer in model.named_modules() if hasattr(layer, "conv2")]
    if not 1 <= block <= len(blocks):
        raise UserError(f"This network has {len(blocks)} blocks; choose one of them, not {block}.")
    name, layer = blocks[block - 1]
    norm = layer.bn2
    if getattr(norm, "adv", None) is None:
        raise UserError("Only a network with a batch norm for each path has two to compare.")
    paths = {
        path: {
            "running_mean": [round(v, 6) for v in one.running_mean.tolist()],
            "running_var": [round(v, 6) for v in one.running_var.tolist()],
        }
        for path, one in (("clean", norm), ("adversarial", norm.adv))
    }
    return {"layer": f"{name}.bn2", "paths": paths}


def recorded(
    run: runs.Run, name: str, look: Callable[[nn.Module], dict[str, Any]]
) -> dict[str, Any]:
    """Return what was seen in a trained network: from the run's folder, or looked up and kept."""
    path = run.folder / "evaluations" / f"{name}.json"
    if record := store.read_signed(path):
        return record
    record = look(run.model())
    store.write_json(path, store.signed(record))
    return record


def trained_costs(study: Study) -> list[Row]:
    """Return what the networks of a study cost, and the plain one beside them."""
    rows: list[Row] = []
    seen = set()
    for job in study.jobs:
        if job.label in seen:
            continue
        seen.add(job.label)
        if not rows:
            rows += cost_rows(study, "plain", _plain(job.recipe))
        rows += cost_rows(study, job.label, job.recipe)
    return rows


def _plain(recipe: Recipe) -> Recipe:
    return Recipe(recipe.data, recipe.model, Plain(), recipe.train, recipe.attack)


def cost_rows(study: Study, label: str, recipe: Recipe) -> list[Row]:
    """Return the cost of one network for one image of its data set."""
    spec = data.spec(recipe.data.dataset)
    counts = cost.cost(runs.build(recipe), spec.channels, spec.size)
    start = row(study, recipe, method=label) | {"seed": None}
    return counted(start, counts)


def published_costs(study: Study) -> list[Row]:
    """Return the cost of the papers' network, a ResNet-34 of full width on 32x32 images.

    OAT stands there twice: as it is trained, and as the papers count it.
    """
    start = row(study) | {"dataset": "cifar10", "backbone": "resnet34"}
    rows = []
    for label, name in PUBLISHED.items():
        rows += counted(start | {"method": label}, count(name).total)
    return rows


def counted(start: Row, counts: Mapping[str, int]) -> list[Row]:
    """Return rows for the counts, and for all operations of a path in additions of 8 bit."""
    rows = [start | {"metric": name, "value": counts[name]} for name in COUNTS]
    for lam, adds in ((0.0, 0), (1.0, counts["noise_adds"])):
        value = cost.add_equivalents(counts["macs_per_path"], adds)
        rows.append(start | {"lam": lam, "metric": "add_equivalents", "value": value})
    return rows
