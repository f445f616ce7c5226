"""Nothing piles up: a training of many epochs and a run of many evaluations hold what few do."""

import gc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psutil
import pytest
import torch

from lib import paths, runs
from lib.evaluate import evaluate
from lib.methods import FloatSlim, Smart
from lib.protocol import Protocol
from lib.recipe import Attack, Data, Model, Recipe, Train
from lib.sparsity import Momentum

FIRST, SETTLED, TIMES = 1, 10, 50  # by the tenth, everything that is made once is there
LOOKS = (FIRST, SETTLED, TIMES)  # the first for what looking itself makes


def alone(look_at, *words, results):
    """Return what a function sees in a process of its own: what other tests loaded grows, too."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_in, results, look_at, *words).result()


def _in(results, look_at, *words):
    torch.set_num_threads(1)
    paths.RESULTS = results
    return look_at(*words)


def held() -> tuple[int, int, int]:
    """Return what this process holds: bytes of tensors, objects of Python, resident bytes."""
    gc.collect()
    everything = gc.get_objects()
    tensors = (o for o in everything if issubclass(type(o), torch.Tensor))
    stores = {(s := t.untyped_storage())._cdata: s.nbytes() for t in tensors}
    return sum(stores.values()), len(everything), psutil.Process().memory_info().rss


def assert_level(early: tuple[int, int, int], late: tuple[int, int, int]) -> None:
    """A tensor that stays, or some objects a time, would show; of pages the allocator decides."""
    tensors, objects, resident = (b - a for a, b in zip(early, late, strict=True))
    assert tensors == 0
    assert objects < 10 * (TIMES - SETTLED)
    assert resident < 30e6


@pytest.mark.parametrize(
    ("method", "sparsity"),
    [(Smart(), None), (FloatSlim(), Momentum(0.3))],
    ids=["smart", "pruned and slim"],
)
def test_fifty_epochs_hold_no_more_than_ten(method, sparsity, tmp_path):
    seen = alone(fifty_epochs, method, sparsity, results=tmp_path)
    assert_level(seen[SETTLED], seen[TIMES])


def fifty_epochs(method, sparsity):
    part, attack = Data("digits", train_images=16), Attack(eps=0.25, steps=1)
    train = Train(epochs=TIMES, batch=16)  # of one step
    seen = {}

    def look(done: float) -> None:
        if (epoch := round(done * TIMES)) in LOOKS and epoch not in seen:
            seen[epoch] = held()

    runs.fit(Recipe(part, Model("resnet18", 4), method, train, attack, sparsity), look)
    return seen


@pytest.mark.parametrize("attack", ["pgd", "autoattack"])
def test_fifty_evaluations_hold_no_more_than_ten(attack, tmp_path):
    seen = alone(fifty_evaluations, attack, results=tmp_path)
    assert_level(seen[SETTLED], seen[TIMES])


def fifty_evaluations(attack):
    part = Data("digits", train_images=16)
    run = runs.fit(Recipe(part, Model("resnet18", 4), Smart(), Train(epochs=1, batch=16)))
    how = {"version": "rand", "eot": 1} if attack == "autoattack" else {}
    seen = {}
    for number in range(1, TIMES + 1):
        protocol = Protocol(lam=1.0, attack=attack, steps=2, images=8, seed=number, **how)
        evaluate(run, protocol)
        if number in LOOKS:
            seen[number] = held()
    return seen
