"""How fast trained networks are as wide as their paper's.

Narrow networks leave a machine idle. What was trained is timed with its own shares of channels and
its own numbers of kernels, at the paper's width and with random weights.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn

from lib import anatomy, cost, data, device, networks, runs, timing
from lib.deployment import fastest
from lib.models import compact, freeze
from lib.models.compaction import is_full, live
from lib.models.depthwise import GeneralizedDepthwise, replaced
from lib.recipe import Recipe
from lib.rows import row
from lib.study import Job, Study


def layout(model: nn.Module, whole: nn.Module) -> dict[str, Any]:
    """Return channels of layers, and the kernels of those of GDWS, by name.

    model was made of whole, a plain network. in counts the input channels that reach a layer, live
    those that its weights use.
    """
    layers: dict[str, Any] = {}
    for name, conv in whole.named_modules():
        if isinstance(conv, nn.BatchNorm2d):
            norm: Any = model.get_submodule(name)
            layers[name] = {"out": norm.num_features}
        elif isinstance(conv, nn.Linear):
            linear: Any = model.get_submodule(name)
            layers[name] = {"in": linear.in_features}
        elif is_full(conv):
            layer: Any = model.get_submodule(name)
            gdws = isinstance(layer, GeneralizedDepthwise)
            index = layer.source if gdws else getattr(layer, "index", None)
            inputs = layer.in_channels if index is None else conv.in_channels
            layers[name] = {"out": layer.out_channels, "in": inputs}
            if gdws:
                g = torch.zeros(inputs, dtype=torch.long)
                g[slice(None) if index is None else index.cpu()] = layer.counts.cpu()
                layers[name] |= {"live": int(g.count_nonzero()), "g": g.tolist()}
            else:
                layers[name]["live"] = int(live(layer).sum())
    return {"layers": layers}


@torch.no_grad()
def widened(seen: dict[str, Any], whole: nn.Module, wide: nn.Module, seed: int = 0) -> nn.Module:
    """Return a wide plain network with the shares of channels of what was made of a narrow one.

    seen is the `layout` of that, whole the narrow one; wide is changed. GDWS layers have the same
    kernels for each channel, repeated. Dead channels are drawn from seed and taken out.
    """
    narrow: dict[str, Any] = dict(whole.named_modules())
    order, new = Generator().manual_seed(seed), dict[str, nn.Module]()
    for name, own in seen["layers"].items():
        layer: Any = wide.get_submodule(name)
        if isinstance(layer, nn.BatchNorm2d):
            layer.num_features = _share(own["out"], narrow[name].num_features, layer.num_features)
            for value in (*layer.parameters(), *layer.buffers()):
                value.data = value.data[: layer.num_features] if value.dim() else value.data
            continue
        if isinstance(layer, nn.Linear):
            layer.in_features = _share(own["in"], narrow[name].in_features, layer.in_features)
            layer.weight.data = layer.weight.data[:, : layer.in_features].contiguous()
            continue
        _resize(layer, own, narrow[name], order)
        if "g" in own:
            g = [own["g"][i * own["in"] // layer.in_channels] for i in range(layer.in_channels)]
            pointwise = torch.randn(layer.out_channels, sum(g))
            depthwise = torch.randn(sum(g), *layer.kernel_size)
            new[name] = GeneralizedDepthwise(layer, pointwise, depthwise, g)
    return compact(replaced(wide, new) if new else wide)


def rows(
    study: Study, jobs: Iterable[Job], fitted: Mapping[str, runs.Run], batch: int, *bases: str
) -> list[anatomy.Row]:
    """Return images a second and how many times as many as a base's they are, for metrics.csv.

    Networks of the first seed, bases among them, are timed in one run; rows are of the paper's
    network and images. Where several networks have the label of a base, it is that of the same
    backbone. What is given in intervals is `speed_up`, images a second are a median;
    `macs` are what they compute, before GDWS layers that are slower than dense become so.
    """
    first = [job for job in jobs if job.recipe.seed == study.seeds[0]]
    own = {f"{job.recipe.model.backbone} {job.label}": job for job in first}
    calls, macs = {}, {}
    for name, job in own.items():
        model = as_wide(fitted[job.recipe.key])
        calls[name], macs[name] = _call(model, batch), cost.cost(model)["macs"]
    times = timing.interleaved(calls, study.preset.timing_rounds)
    seconds, found = times.groupby("label")["seconds"].median(), []
    for name, job in own.items():
        at = row(study, _of_paper(_root(job.recipe)), method=job.label, seed=study.seeds[0])
        found.append(at | {"metric": f"fps_{batch}", "value": batch / seconds[name]})
        found.append(at | {"metric": f"macs_{batch}", "value": batch * macs[name]})
        for base in bases:
            named = {of.recipe.model.backbone: n for n, of in own.items() if of.label == base}
            only = next(iter(named.values())) if len(named) == 1 else None
            if (to := named.get(job.recipe.model.backbone, only)) is None:
                continue
            ratio = timing.ratios(times, to).set_index("label").loc[name]
            up = {"value": 1 / ratio["value"], "n": int(ratio["n"])}
            up |= {"ci_low": 1 / ratio["ci_high"], "ci_high": 1 / ratio["ci_low"]}
            found.append(at | {"metric": f"speed_up_{batch}", "detail": base} | up)
    return found


def deployed(run: runs.Run, batch: int, dataset: str = "cifar10") -> Callable[[], Tensor]:
    """Return a pass of a network as it would be used, for so many images: to be timed.

    GDWS layers take the form that is fastest here, dense where that is.
    """
    return _call(as_wide(run, dataset), batch, data.spec(dataset).size)


def as_wide(run: runs.Run, dataset: str = "cifar10") -> nn.Module:
    """Return a plain network with what training left of a run's, as wide as the paper's.

    It is for images of the size of a data set. Dead channels are taken out.
    """
    root = _root(run.recipe)
    both = (root, _of_paper(root, dataset))
    whole, wide = (freeze(networks.fresh(one), 1.0).eval() for one in both)
    seen = anatomy.recorded(run, "layout", lambda m: layout(compact(freeze(m, 1.0)), whole))
    last = torch.channels_last
    return widened(seen, whole, wide).to(device.device()).to(memory_format=last)


@torch.no_grad()
def _call(model: nn.Module, batch: int, size: int = 32) -> Callable[[], Tensor]:
    """Return a pass of a network, its layers in their fastest forms, for images of a size."""
    x = torch.rand(batch, 3, size, size, device=device.device())
    x = x.contiguous(memory_format=torch.channels_last)
    return partial(torch.no_grad()(fastest(model, x)), x)


def _root(recipe: Recipe) -> Recipe:
    """Return the last recipe of a chain that trains a network and does not convert one."""
    while recipe.convert and recipe.start:
        recipe = recipe.start
    return recipe


def _of_paper(recipe: Recipe, dataset: str = "cifar10") -> Recipe:
    """Return a recipe at the paper's width, for images of the size of a data set."""
    return recipe.override({"model.width": 0, "data.dataset": dataset})


def _share(left: int, of: int, wide: int) -> int:
    return round(left * wide / of)


def _resize(conv: nn.Conv2d, own: dict[str, Any], whole: nn.Conv2d, order: Generator) -> None:
    """Give a wide convolution the shares that another has of a whole narrow one."""
    conv.out_channels = _share(own["out"], whole.out_channels, conv.out_channels)
    conv.in_channels = _share(own["in"], whole.in_channels, conv.in_channels)
    conv.weight.data = conv.weight.data[: conv.out_channels, : conv.in_channels].contiguous()
    conv.bias = None if conv.bias is None else nn.Parameter(conv.bias[: conv.out_channels])
    dead = conv.in_channels - _share(own["live"], own["in"], conv.in_channels)
    conv.weight[:, torch.randperm(conv.in_channels, generator=order)[:dead]] = 0
