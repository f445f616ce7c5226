"""The inside of networks as rows of metrics.csv: what is left, noise scales, costs."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd
from torch import nn

from lib import cost, data, evaluate, networks, runs, store
from lib.models import effective_weights
from lib.models.compaction import standing
from lib.models.depthwise import converted
from lib.readings.ledger import published
from lib.rows import Row, frame, row
from lib.study import Study

COUNTS = ("params", "params_union", "params_per_path", "macs", "macs_per_path", "noise_adds")
PUBLISHED = ("plain", "OAT", "OAT [scalar code]", "FLOAT", "SMART")


def joined(accuracies: pd.DataFrame, *parts: list[Row]) -> pd.DataFrame:
    """Return accuracies and further rows of metrics.csv as one frame."""
    rows = [*accuracies.to_dict("records"), *(one for part in parts for one in part)]
    return frame(rows).astype({"seed": "Int64"})  # whole numbers although costs have no seed


def shares(study: Study, fitted: Mapping[str, runs.Run], metric: str) -> list[Row]:
    """Return the share in percent of what is left of every convolution of a study, by its jobs.

    metric is 'density', of kept weights, or 'channels', of live input channels.
    """
    part, whole = {"density": ("kept", "weights"), "channels": ("live", "inputs")}[metric]
    rows = []
    for job in study.jobs:
        slim = next((protocol.slim for protocol in job.protocols), 1.0)
        found = remaining(fitted[job.recipe.key], slim)
        for layer, value in (100 * found[part] / found[whole]).items():
            own = {"metric": metric, "detail": layer, "value": value}
            rows.append(row(study, job.recipe, method=job.label, **own))
    return rows


def remaining(run: runs.Run, slim: float = 1.0) -> pd.DataFrame:
    """Return what pruning and slimming left of a run: columns of `layer_remains`, by layer."""
    found = recorded(run, f"remains-{slim:g}", lambda model: layer_remains(model, slim))
    return pd.DataFrame.from_dict(found["layers"], orient="index")


def compression(run: runs.Run) -> float:
    """Return all weights over those left; the classifier counts in both, though never pruned."""
    left, layers = remaining(run).sum(), networks.fresh(run.recipe).modules()
    dense = sum(layer.weight.numel() for layer in layers if isinstance(layer, nn.Linear))
    return float((left["weights"] + dense) / (left["kept"] + dense))


def layer_remains(model: nn.Module, slim: float = 1.0) -> dict[str, Any]:
    """Return kept weights and live input channels of each convolution of the sub-network at slim.

    A weight is kept if a mask of any path leaves it, without masks if it is not zero; a channel is
    live if a weight of it is kept. weights and inputs are all there are in the full network.
    """
    used = effective_weights(model, 0.0, slim=slim)
    layers = {}
    for name, layer in ((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)):
        outputs, inputs = used[f"{name}.weight"].shape[:2]
        kept = standing(layer)[:outputs, :inputs]
        layers[name] = {
            "kept": int(kept.sum()),
            "weights": layer.weight.numel(),
            "live": int(kept.transpose(0, 1).flatten(1).any(dim=1).sum()),
            "inputs": layer.weight.shape[1],
        }
    return {"layers": layers}


def sizes(run: runs.Run) -> Row:
    """Return what `network_sizes` finds in a run."""
    spec = data.spec(run.recipe.data.dataset)
    look = partial(network_sizes, in_channels=spec.channels, size=spec.size)
    return recorded(run, "sizes", look)


def network_sizes(model: nn.Module, in_channels: int, size: int) -> Row:
    """Return parameters, those that are not zero, operations, MiB, and kernels of GDWS layers.

    MiB are of parameters in float32 alone, without statistics of batch norms and, where zeros do
    not count, without what says where they are. Operations count every weight.
    """
    found = cost.cost(model, in_channels, size)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    left = [standing(m) if isinstance(m, nn.Conv2d) else m.weight != 0 for m in layers]
    zeros = sum(mask.numel() - int(mask.sum()) for mask in left)
    nonzero = found["params"] - zeros
    kernels = sum(sum(layer.g) for layer in converted(model).values())
    mib = {"mib": found["params"] / 2**18, "mib_nonzero": nonzero / 2**18}
    counts = {"params": found["params"], "nonzero": nonzero, "macs": found["macs"]}
    return {**counts, "kernels": kernels, **mib}


def noise_scales(study: Study, fitted: Mapping[str, runs.Run]) -> list[Row]:
    """Return the learned scale alpha of every noisy layer, its mean size where there are more."""
    rows = []
    for job in study.jobs:
        if "alpha" in job.recipe.method.options():
            record = recorded(fitted[job.recipe.key], "alphas", layer_alphas)
            for name, value in record["layers"].items():
                own = {"metric": "alpha", "detail": name, "value": value}
                rows.append(row(study, job.recipe, method=job.label, **own))
    return rows


def layer_alphas(model: nn.Module) -> dict[str, Any]:
    """Return the mean absolute alpha of each layer that has one."""
    alphas = {name: getattr(layer, "alpha", None) for name, layer in model.named_modules()}
    found = {name: float(a.detach().abs().mean()) for name, a in alphas.items() if a is not None}
    return {"layers": {name: round(value, 6) for name, value in found.items()}}


def recorded(
    run: runs.Run, name: str, look: Callable[[nn.Module], Row], here: dict[str, str] | None = None
) -> Row:
    """Return what was seen in a trained network: kept beside the run, or looked up and kept.

    A record holds for what here says, as the machine, unless figures are redrawn from records.
    """
    record, here = next(evaluate.kept(run, name), None), here or {}
    if record and (store.redrawing() or here.items() <= record.items()):
        return record
    record = look(run.model()) | here | run.marks()
    store.write_signed(runs.folder(run.recipe) / f"evaluations/{name}.json", record)
    return record


def published_costs(study: Study) -> list[Row]:
    """Return the cost of the papers' network, a ResNet-34 of full width on 32x32 images.

    OAT stands there twice: as it is trained, and as the papers count it.
    """
    start = row(study) | {"dataset": "cifar10", "backbone": "resnet34"}
    costs = {label: published(label).total for label in PUBLISHED}
    return [one for name, of in costs.items() for one in counted(start | {"method": name}, of)]


def counted(start: Row, counts: Mapping[str, int]) -> list[Row]:
    """Return rows for the counts, and for all operations of a path in additions of 8 bit."""
    rows = [start | {"metric": name, "value": counts[name]} for name in COUNTS]
    for lam, adds in ((0.0, 0), (1.0, counts["noise_adds"])):
        value = cost.add_equivalents(counts["macs_per_path"], adds)
        rows.append(start | {"lam": lam, "metric": "add_equivalents", "value": value})
    return rows
