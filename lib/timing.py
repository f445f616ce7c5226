"""What training and inference take in seconds, compared within one run.

Rounds interleave the networks in shuffled order, so that whatever slows the machine for a while
slows all of them; ratios are paired by round. Absolute seconds and intervals alike are of this
machine and this run only.
"""

import time
import timeit
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import astuple
from functools import partial
from itertools import chain, count
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import bdtr
from torch import Tensor, nn

from lib import data, device, runs
from lib.errors import UserError, check_range, choose
from lib.intervals import Estimate, select
from lib.models import classifier, compact, freeze
from lib.recipe import Recipe
from lib.rows import row
from lib.study import Study
from lib.trainers import Trainer, make, pruner

COLUMNS = ["round", "label", "seconds"]
UNCOUNTED = {"cpu": 1, "cuda": 4}  # calls, on a GPU until training steps are recorded
FROZEN = "noise frozen"  # marks a network whose draw of noise is part of its weights


def interleaved(
    calls: Mapping[str, Callable[[], object]], rounds: int, seed: int = 0, seconds: float = 0.0
) -> pd.DataFrame:
    """Time every call once in each round, in an order drawn anew; first calls go uncounted.

    Rounds go on until every call has had so many seconds. Returns the columns round, label and
    seconds; on a GPU until its work is done.
    """
    check_range("rounds", rounds, 2)
    order = np.random.default_rng(seed)
    for call in [*calls.values()] * UNCOUNTED[device.device().type]:
        call()
    labels, rows, spent = list(calls), list[tuple[int, str, float]](), dict.fromkeys(calls, 0.0)
    while len(rows) < rounds * len(labels) or min(spent.values(), default=seconds) < seconds:
        done = len(rows) // len(labels)
        for i in order.permutation(len(labels)):
            taken = _seconds(calls[labels[i]])
            rows.append((done, labels[i], taken))
            spent[labels[i]] += taken
    return pd.DataFrame(rows, columns=COLUMNS)


def training(recipes: Mapping[str, Recipe], rounds: int, seed: int = 0) -> pd.DataFrame:
    """Time real steps of training from the start, attack included, scaled to seconds per epoch."""
    place, parts = device.device(), {recipe.data for recipe in recipes.values()}
    images = {p: data.load(p.dataset, p.split, p.train_images, place) for p in parts}
    trainers = {label: trainer(recipe, images[recipe.data]) for label, recipe in recipes.items()}
    calls = {label: partial(next, endless(one)) for label, one in trainers.items()}
    with _own_randomness():
        times = interleaved(calls, rounds, seed)
    per_epoch = {label: one.steps_per_epoch for label, one in trainers.items()}
    return times.assign(seconds=times["seconds"] * times["label"].map(per_epoch))


def inference(
    recipes: Mapping[str, Recipe],
    batch: int,
    rounds: int,
    seed: int = 0,
    slims: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Time a forward pass at lam = 1 of untrained networks in evaluation mode on random images.

    Weight noise is drawn anew in every pass, as FLOAT and SMART do; a second row of each such
    network, marked FROZEN, has one draw baked into its weights. With slims, the slim factor of
    each, networks are timed as they would be deployed instead. All compute in float32.
    """
    check_range("batch", batch, 1)
    calls: dict[str, Callable[[], object]] = {}
    with torch.no_grad(), _own_randomness():
        for label, recipe in recipes.items():
            x = random_images(recipe.data.dataset, batch)
            if slims:
                calls[label] = partial(deployable(recipe, slims[label]), x)
                continue
            model = runs.build(recipe).eval()
            calls[label] = partial(classifier(model, 1.0), x)
            if getattr(model, "noise_size", 0):
                calls[f"{label}, {FROZEN}"] = partial(freeze(model, 1.0), x)
        return interleaved(calls, rounds, seed)


def random_images(dataset: str, batch: int) -> Tensor:
    """Return images of the size of a data set's, (N, C, H, W), in the layout of networks."""
    spec = data.spec(dataset)
    x = torch.rand((batch, spec.channels, spec.size, spec.size), device=device.device())
    return x.to(memory_format=torch.channels_last)


def deployable(recipe: Recipe, slim: float) -> nn.Module:
    """Return the plain network, in evaluation mode, that serves lam = 1 at a slim factor.

    Masks are those that training starts from. One draw of noise is baked into the weights; dead
    input channels are taken out.
    """
    model = runs.build(recipe).eval()
    pruner(model, recipe).begin()
    return compact(freeze(model, 1.0, slim=slim)).to(memory_format=torch.channels_last)


def ratios(times: pd.DataFrame, base: str) -> pd.DataFrame:
    """Return how many times as long as base every label takes: value, ci_low, ci_high and n.

    value is the median over n rounds of the ratio within a round, with the interval of `centre`:
    what disturbs a few rounds, however much, moves neither.
    """
    labels = list(dict.fromkeys(times["label"]))
    seconds = times.pivot_table("seconds", index="round", columns="label")[labels]
    if len(seconds) < 2 or seconds.isna().any(axis=None):
        raise UserError("Ratios need two rounds or more in which every network was timed.")
    logs = np.log(seconds.div(seconds[choose("timed network", base, labels)], axis=0))
    found = [(n, *np.exp(astuple(centre(logs[n]))[:3]), len(seconds)) for n in labels]
    return pd.DataFrame(found, columns=["label", "value", "ci_low", "ci_high", "n"])


def ratio_rows(study: Study, times: pd.DataFrame, metric: str, base: str) -> list[dict[str, Any]]:
    """Return the ratios of times to base as rows of metrics.csv, one a label; detail is base."""
    rows = []
    for label, value, low, high, n in ratios(times, base).itertuples(index=False):
        own = {"method": label, "value": value, "ci_low": low, "ci_high": high, "n": n}
        recipe = study.timed[label.removesuffix(f", {FROZEN}")]
        rows.append(row(study, recipe, metric=metric, detail=base, **own))
    return rows


def estimate(metrics: pd.DataFrame, method: str, metric: str, base: str) -> Estimate:
    """Return the ratio of a method to a base with its interval, from the rows of metrics.csv."""
    (found,) = select(metrics, method=method, metric=metric, detail=base).itertuples()
    return Estimate(found.value, found.ci_low, found.ci_high, df=found.n - 1)


def centre(values: Iterable[float]) -> Estimate:
    """Return the median in the tightest order statistics that hold it with 95 %, of six or more."""
    n = len(ordered := sorted(map(float, values)))
    rank = max((k for k in range(1, n // 2 + 1) if 2 * bdtr(k - 1, n, 0.5) <= 0.05), default=1)
    return Estimate(float(np.median(ordered)), ordered[rank - 1], ordered[n - rank], df=n - 1)


def of_one_core(call: Callable[[], object], rounds: int = 9) -> Estimate:
    """Return the seconds that a call takes of one core: the median of rounds with its interval."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return centre(timeit.repeat(call, number=1, repeat=rounds, timer=time.process_time))
    finally:
        torch.set_num_threads(threads)


def _seconds(call: Callable[[], object]) -> float:
    """Return what a call takes, with the work of a GPU begun and ended inside."""
    _wait()
    start = time.perf_counter()
    call()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    if device.device().type == "cuda":
        torch.cuda.synchronize()


def _own_randomness() -> AbstractContextManager[None]:
    """Return a context that leaves torch's generators as it found them."""
    place = device.device()
    return torch.random.fork_rng(devices=[place] if place.type == "cuda" else [])


def trainer(recipe: Recipe, images: data.Images) -> Trainer:
    """Return what trains a new network of a recipe, as runs on this machine do."""
    precision = device.used_precision(recipe.train.precision, data.spec(recipe.data.dataset).size)
    return make(recipe, runs.build(recipe), images, precision, device.backend())


def endless(one: Trainer) -> Iterator[Tensor]:
    """Yield the losses of steps in one epoch after the other."""
    return chain.from_iterable(one.steps(epoch) for epoch in count())
