"""The inside of networks as rows of metrics.csv: what is left, noise scales, batch norms, costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from torch import nn

from lib import cost, data, evaluate, runs, store
from lib.models import effective_weights
from lib.models.compaction import standing
from lib.readings.ledger import published
from lib.recipe import Recipe
from lib.rows import frame, row
from lib.study import Job, Study

Row = dict[str, Any]
COUNTS = ("params", "params_union", "params_per_path", "macs", "macs_per_path", "noise_adds")
PUBLISHED = ("plain", "OAT", "OAT [scalar code]", "FLOAT", "SMART")


def joined(accuracies: pd.DataFrame, *parts: list[Row]) -> pd.DataFrame:
    """Return accuracies and further rows of metrics.csv as one frame."""
    rows = [*accuracies.to_dict("records"), *(one for part in parts for one in part)]
    return frame(rows).astype({"seed": "Int64"})  # whole numbers although costs have no seed


def densities(study: Study, fitted: Mapping[str, runs.Run]) -> list[Row]:
    """Return the share of kept weights, in percent, of every convolution of a study."""
    return _shares(study, fitted, "density", "kept", "weights")


def live_channels(study: Study, fitted: Mapping[str, runs.Run]) -> list[Row]:
    """Return the share of live input channels, in percent, of every convolution of a study."""
    return _shares(study, fitted, "channels", "live", "inputs")


def _shares(
    study: Study, fitted: Mapping[str, runs.Run], name: str, part: str, whole: str
) -> list[Row]:
    rows = []
    for job in study.jobs:
        found = remaining(fitted[job.recipe.key], _slim(job))
        for layer, value in (100 * found[part] / found[whole]).items():
            own = {"metric": name, "detail": layer, "value": value}
            rows.append(row(study, job.recipe, method=job.label, **own))
    return rows


def _slim(job: Job) -> float:
    return next((protocol.slim for protocol in job.protocols), 1.0)


def kept_weights(run: runs.Run) -> pd.DataFrame:
    """Return kept and all weights of every convolution of a run, by layer."""
    return remaining(run)[["kept", "weights"]]


def remaining(run: runs.Run, slim: float = 1.0) -> pd.DataFrame:
    """Return what pruning and slimming left of a run: columns of `layer_remains`, by layer."""
    found = recorded(run, f"remains-{slim:g}", lambda model: layer_remains(model, slim))
    return pd.DataFrame.from_dict(found["layers"], orient="index")


def layer_remains(model: nn.Module, slim: float = 1.0) -> dict[str, Any]:
    """Return kept weights and live input channels of each convolution of the sub-network at slim.

    A weight is kept if a mask of any path leaves it, without masks if it is not zero; a channel is
    live if a weight of it is kept. weights and inputs are all there are in the full network.
    """
    used = effective_weights(model, 0.0, slim=slim)
    layers = {}
    for name, layer in _convolutions(model).items():
        outputs, inputs = used[f"{name}.weight"].shape[:2]
        kept = standing(layer)[:outputs, :inputs]
        layers[name] = {
            "kept": int(kept.sum()),
            "weights": layer.weight.numel(),
            "live": int(kept.transpose(0, 1).flatten(1).any(dim=1).sum()),
            "inputs": layer.weight.shape[1],
        }
    return {"layers": layers}


def _convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}


def noise_scales(study: Study, fitted: Mapping[str, runs.Run]) -> list[Row]:
    """Return the learned scale alpha of every noisy layer, its mean size where there are more."""
    rows = []
    for job in study.jobs:
        if "alpha" in job.recipe.method.options():
            record = recorded(fitted[job.recipe.key], "alphas", layer_alphas)
            rows += [
                row(study, job.recipe, method=job.label, metric="alpha", detail=name, value=value)
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


def recorded(
    run: runs.Run, name: str, look: Callable[[nn.Module], dict[str, Any]]
) -> dict[str, Any]:
    """Return what was seen in a trained network: kept beside the run, or looked up and kept."""
    if record := evaluate.kept(run, name):
        return record
    record = look(run.model()) | evaluate.marks(run)
    store.write_json(store.evaluations(run.recipe.key, name)[0], store.signed(record))
    return record


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
    for label in PUBLISHED:
        rows += counted(start | {"method": label}, published(label).total)
    return rows


def counted(start: Row, counts: Mapping[str, int]) -> list[Row]:
    """Return rows for the counts, and for all operations of a path in additions of 8 bit."""
    rows = [start | {"metric": name, "value": counts[name]} for name in COUNTS]
    for lam, adds in ((0.0, 0), (1.0, counts["noise_adds"])):
        value = cost.add_equivalents(counts["macs_per_path"], adds)
        rows.append(start | {"lam": lam, "metric": "add_equivalents", "value": value})
    return rows
