"""How fast trained networks are as wide as their paper's.

Narrow networks leave a machine idle. What was trained is timed with its own shares of channels and
its own numbers of kernels, at the paper's width and with random weights.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Generator, fx, nn

from lib import anatomy, cost, data, device, evaluate, networks, runs, timing
from lib.conversions import Dense, Gdws
from lib.deployment import fastest, measured_prices
from lib.errors import UserError
from lib.models import compact, freeze
from lib.models.compaction import is_full, live
from lib.models.depthwise import GeneralizedDepthwise, converted, replaced
from lib.models.gdws import Price, allocate, convertible, spectrum
from lib.protocol import Protocol
from lib.recipe import Recipe, Train
from lib.rows import Row, row
from lib.sparsity import FixedRanks
from lib.study import Job, Study

SECONDS = 5.0  # that each network is timed for at least, where a preset is thorough
RELEASED = "released form"  # marks GDWS layers that gather channels, as the released code does


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
    made = of = 1  # channels of the last convolution, and before it was changed
    for name in [name for name in narrow if name in seen["layers"]]:  # records sort their names
        own, layer = seen["layers"][name], cast(Any, wide.get_submodule(name))
        if isinstance(layer, nn.BatchNorm2d):
            layer.num_features = _share(own["out"], narrow[name].num_features, layer.num_features)
            for value in (*layer.parameters(), *layer.buffers()):
                value.data = value.data[: layer.num_features] if value.dim() else value.data
            continue
        if isinstance(layer, nn.Linear):
            if own["in"] < narrow[name].in_features:
                layer.in_features = layer.in_features // of * made
            layer.weight.data = layer.weight.data[:, : layer.in_features].contiguous()
            continue
        of = layer.out_channels
        _resize(layer, own, narrow[name], order)
        made = layer.out_channels
        if "g" in own:
            g = [own["g"][i * own["in"] // layer.in_channels] for i in range(layer.in_channels)]
            pointwise = torch.randn(layer.out_channels, sum(g))
            depthwise = torch.randn(sum(g), *layer.kernel_size)
            new[name] = GeneralizedDepthwise(layer, pointwise, depthwise, g)
    return compact(replaced(wide, new) if new else wide)


def way(batch: int, precision: str = "fp32", compiled: bool = False) -> str:
    """Return a way of running as the names of metrics have it, '64_bf16_compiled'."""
    return "_".join([str(batch), *["bf16"] * (precision == "bf16"), *["compiled"] * compiled])


def judged(rows: Any, labels: Iterable[str], found: Any) -> Any:
    """Return what a claim on GDWS's speed rests on, or that a network has no such layer left."""
    kept = rows[rows["method"].isin([*labels]) & (rows["metric"] == "kept_1")]
    gone = ", ".join(kept.loc[kept["value"] == 0, "backbone"].unique())
    why = f"no layer is faster as GDWS here, so that all stay dense: {gone}"
    return why if gone and found else found


def rows(
    study: Study,
    jobs: Iterable[Job],
    fitted: Mapping[str, runs.Run],
    batch: int,
    *bases: str,
    layouts: Mapping[str, dict[str, Any]] = MappingProxyType({}),
    released: bool = False,
    precision: str = "fp32",
    compiled: bool = False,
) -> list[Row]:
    """Return images a second and how many times as many as a base's they are, for metrics.csv.

    Networks of the first seed, bases among them, are timed in one run; rows are of the paper's
    network and images. A label may have another layout than its run; released asks for GDWS layers
    in the form of the released code, too. Where several networks have the label of a base, it is
    that of the same backbone. What is given in intervals is `speed_up`; images a second are a
    median, `slow` those of the 95th percentile of seconds; `macs` are what they compute and `mib`
    what they hold in 32 bits, before GDWS layers that are slower than dense become so, `kept` how
    many do not. Metrics end in the `way` of running: in bf16 weights and images are 16 bits,
    compiled by torch.compile. Where no GDWS layer is kept, the fitted one it was made of is timed.
    """
    own, calls, counts = dict[str, Job](), {}, {}
    end, rounds = way(batch, precision, compiled), study.preset.timing_rounds
    if compiled and not device.compiles():
        raise UserError("torch.compile does not work here; install a C++ compiler.")
    whole: Any = cache(_compiled) if compiled else lambda model: model
    tries = min(7, max(3, rounds // 3))  # of each form of a layer
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    for job in (job for job in jobs if job.recipe.seed == study.seeds[0]):
        model = as_wide(fitted[job.recipe.key], layouts.get(job.label)).to(dtype)
        x = timing.random_images(_of_paper(job.recipe.trained).data.dataset, batch).to(dtype)
        start = next((fitted[r.key] for r in job.recipe.ancestors[::-1] if r.key in fitted), None)
        asked = released and job.label not in layouts and converted(model)
        for label in [job.label, f"{job.label}, {RELEASED}"][: 2 if asked else 1]:
            name = f"{job.recipe.model.backbone} {label}"
            best = fastest(model, x, None, tries, whole) if label == job.label else model
            own[name], counts[name] = replace(job, label=label), cost.cost(model, size=x.shape[2])
            forms = map(best.get_submodule, layers := converted(model))
            kept = counts[name]["kept"] = sum(not isinstance(form, nn.Conv2d) for form in forms)
            if layers and start and not kept:
                best = as_wide(start).to(dtype)
            calls[name] = partial(torch.no_grad()(whole(best)), x)
    times = timing.interleaved(calls, rounds, seconds=SECONDS * study.preset.thorough)
    seconds, found = times.groupby("label")["seconds"].quantile([0.5, 0.95]).unstack(), []
    for name, job in own.items():
        at = row(study, _of_paper(job.recipe.trained), method=job.label, seed=study.seeds[0])
        values = {"fps": batch / seconds[0.5][name], "slow": batch / seconds[0.95][name]}
        values |= {"macs": batch * counts[name]["macs"], "mib": counts[name]["params"] / 2**18}
        values["kept"] = counts[name]["kept"]
        found += [at | {"metric": f"{m}_{end}", "value": value} for m, value in values.items()]
        for base in bases:
            named = {of.recipe.model.backbone: n for n, of in own.items() if of.label == base}
            only = next(iter(named.values())) if len(named) == 1 else None
            if (to := named.get(job.recipe.model.backbone, only)) is None:
                continue
            ratio = timing.ratios(times, to).set_index("label").loc[name]
            up = {"value": 1 / ratio["value"], "n": int(ratio["n"])}
            up |= {"ci_low": 1 / ratio["ci_high"], "ci_high": 1 / ratio["ci_low"]}
            found.append(at | {"metric": f"speed_up_{end}", "detail": base} | up)
    return found


def _compiled(model: nn.Module) -> Any:
    """Return a compiled network, with a forward pass of its own.

    torch.compile stops compiling a function that it has compiled for eight networks.
    """
    return torch.compile(fx.symbolic_trace(model), dynamic=False, fullgraph=True)


def priced(
    run: runs.Run,
    protocols: Sequence[Protocol],
    batch: int = 1,
    share: float = 0.0,
    train: Train | None = None,
) -> dict[str, Any]:
    """Return what a GDWS network is if its error, as large in all, goes where it saves seconds.

    With share, the error is the least that leaves so much of the seconds of all layers. Seconds are
    those of layers at the paper's width for so many images, where a kernel of a narrow layer stands
    for several. It may be trained on then, each channel with its kernels. Measured once and kept
    beside the run: its `layout` and the evaluations under some protocols.
    """

    def look(model: nn.Module) -> dict[str, Any]:
        part: Any = run.recipe.convert
        known = anatomy.recorded(run, f"prices-{batch}", partial(_prices, run, batch), here)
        prices = {name: Price(*price) for name, price in known["layers"].items()}
        beta = bound(run, prices, share)
        rows = tuple((name, *price) for name, price in prices.items())
        part = Gdws(part.dataset, beta=beta, scope="network", prices=rows)
        recipe = replace(run.recipe, convert=part)
        if train:
            recipe = replace(recipe, start=recipe, convert=Dense())
            longer = replace(recipe, start=recipe, convert=None, sparsity=FixedRanks(), train=train)
            recipe = replace(recipe, start=longer, convert=replace(part, beta=0.0))
        made = runs.fit(recipe)
        scores = {one.key: evaluate.evaluate(made, one) for one in protocols}
        return {"layout": left(made), "evaluations": scores}

    asked, where = [batch, share, train, *(one.key for one in protocols)], device.describe()
    name = f"priced-{hashlib.sha256(str(asked).encode()).hexdigest()[:8]}"
    here = {"machine": f"{where['device']}, {where['threads']} threads"}
    return anatomy.recorded(run, name, look, here)


def _prices(run: runs.Run, batch: int, model: nn.Module) -> dict[str, Any]:
    """Return what `measured_prices` says of each layer at the paper's width, in three digits."""
    root = run.recipe.trained
    whole, wide = _fresh(root), _fresh(_of_paper(root))
    images = timing.random_images(_of_paper(root).data.dataset, batch)
    prices = {}
    for name, (dense, fixed, kernel) in measured_prices(wide, images).items():
        layers: Any = [of.get_submodule(name) for of in (wide, whole)]
        kernel *= layers[0].in_channels / layers[1].in_channels
        prices[name] = [float(f"{price:.3g}") for price in (dense, fixed, kernel)]
    return {"layers": prices}


def bound(run: runs.Run, prices: Mapping[str, Price], share: float = 0.0) -> float:
    """Return the least squared error, in three digits, that leaves a share of all layers' price.

    Where that cannot be left it is the least that saves most, without a share the error that a GDWS
    network has in all.
    """
    start: Any = run.recipe.start
    layers: Any = convertible(runs.fit(start).model())
    values = {n: spectrum(c.weight, getattr(c, "gain", None)).values for n, c in layers.items()}
    if not share:
        kept = {name: sum(layer.g) for name, layer in converted(run.model()).items()}
        lost = (values[n].flatten().sort().values[: values[n].numel() - g] for n, g in kept.items())
        return float(f"{sum(float(errors.sum()) for errors in lost):.3g}")
    goal = (1 - share) * sum(price.dense for price in prices.values())

    def saved(error: float) -> float:
        plan = [(prices[name], g) for name, g in allocate(values, prices, error).items()]
        return sum(price.dense - price.fixed - price.kernel * g for price, g in plan)

    low, high = -12.0, 12.0  # powers of ten
    goal = min(goal, saved(10**high))
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if saved(10**middle) >= goal else (middle, high)
    return float(f"{10**high:.3g}")


def left(run: runs.Run) -> dict[str, Any]:
    """Return the `layout` of what training left of a network."""

    def look(model: nn.Module) -> dict[str, Any]:
        return layout(compact(freeze(model, 1.0)), _fresh(run.recipe.trained))

    return anatomy.recorded(run, "layout", look)


def as_wide(run: runs.Run, seen: dict[str, Any] | None = None) -> nn.Module:
    """Return a plain network with what training left of a run's, as wide as the paper's.

    It is for images of CIFAR-10, or of a folder. Dead channels are taken out. seen is another
    `layout` than its.
    """
    root = run.recipe.trained
    model = widened(seen or left(run), _fresh(root), _fresh(_of_paper(root)))
    return model.to(device.device()).to(memory_format=torch.channels_last)


def _fresh(recipe: Recipe) -> nn.Module:
    """Return the plain network of a recipe, before any training."""
    return freeze(networks.fresh(recipe), 1.0).eval()


def _of_paper(recipe: Recipe) -> Recipe:
    """Return a recipe at the paper's width, for images of CIFAR-10 or of a folder."""
    folder = recipe.data.dataset if data.spec(recipe.data.dataset).folder else ""
    return recipe.override({"model.width": 0, "data.dataset": folder or "cifar10"})


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
