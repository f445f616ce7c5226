"""What training and inference take in seconds, compared within one run.

Rounds interleave the networks in shuffled order, so that whatever slows the machine for a while
slows all of them; ratios are paired by round. Absolute seconds and intervals alike are of this
machine and this run only.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain, count
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import stdtrit
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
    calls: Mapping[str, Callable[[], object]], rounds: int, seed: int = 0
) -> pd.DataFrame:
    """Time every call once in each round, in an order drawn anew; first calls go uncounted.

    Returns the columns round, label and seconds; on a GPU until its work is done.
    """
    check_range("rounds", rounds, 2)
    order = np.random.default_rng(seed)
    for call in [*calls.values()] * UNCOUNTED[device.device().type]:
        call()
    labels, rows = list(calls), []
    for number in range(rounds):
        for i in order.permutation(len(labels)):
            rows.append((number, labels[i], _seconds(calls[labels[i]])))
    return pd.DataFrame(rows, columns=COLUMNS)


def training(recipes: Mapping[str, Recipe], rounds: int, seed: int = 0) -> pd.DataFrame:
    """Time real steps of training from the start, attack included, scaled to seconds per epoch."""
    images = {recipe.data: _images(recipe) for recipe in recipes.values()}
    trainers = {label: _trainer(recipe, images[recipe.data]) for label, recipe in recipes.items()}
    calls = {label: partial(next, endless(trainer)) for label, trainer in trainers.items()}
    with _own_randomness():
        times = interleaved(calls, rounds, seed)
    per_epoch = {label: trainer.steps_per_epoch for label, trainer in trainers.items()}
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

    value is the geometric mean over n rounds, the interval Student's t of the paired log ratios.
    """
    labels = list(dict.fromkeys(times["label"]))
    logs = np.log(times.pivot_table("seconds", index="round", columns="label")[labels])
    logs = logs.sub(logs[choose("timed network", base, labels)], axis=0)
    rounds = len(logs)
    if rounds < 2 or logs.isna().any(axis=None):
        raise UserError("Ratios need two rounds or more in which every network was timed.")
    middle = logs.mean()
    half = float(stdtrit(rounds - 1, 0.975)) * logs.std() / math.sqrt(rounds)
    bounds = {"value": middle, "ci_low": middle - half, "ci_high": middle + half}
    return np.exp(pd.DataFrame(bounds)).assign(n=rounds).rename_axis("label").reset_index()


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


def _images(recipe: Recipe) -> data.Images:
    part = recipe.data
    return data.load(part.dataset, part.split, part.train_images, device.device())


def _trainer(recipe: Recipe, images: data.Images) -> Trainer:
    precision = device.used_precision(recipe.train.precision, data.spec(recipe.data.dataset).size)
    return make(recipe, runs.build(recipe), images, precision, device.backend())


def endless(trainer: Trainer) -> Iterator[Tensor]:
    """Yield the losses of steps in one epoch after the other."""
    return chain.from_iterable(trainer.steps(epoch) for epoch in count())
