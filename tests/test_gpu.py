"""One epoch of every trainer on a GPU against the same on the CPU, and everything around it."""

import pytest
import torch

from lib import data, device, runs, scoring
from lib.methods import Float, Oat, PgdAt, Plain, Smart
from lib.protocol import Protocol
from lib.recipe import Attack, Data, Model, Recipe, Train
from lib.trainers import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
METHODS = [Plain(), PgdAt(0.5), Oat(), Float(noise=False), Smart(noise=False)]


def recipe(method) -> Recipe:
    """A recipe whose epoch draws nothing on the device: no weight noise, no random start."""
    attack = Attack(eps=0.25, steps=2, random_start=False)
    train = Train(epochs=1, batch=16, precision="fp32")
    return Recipe(Data("digits", 64), Model("resnet18", 4), method, train, attack)


REAL = device.device


def trainer(r: Recipe, place: str, monkeypatch) -> Trainer:
    REAL()  # sets the GPU up
    monkeypatch.setattr(device, "device", lambda: torch.device(place))
    images = data.load("digits", "train", limit=64, device=torch.device(place))
    return Trainer(runs.build(r), r, images, "fp32")


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.kind)
def test_an_epoch_is_the_same_on_both_devices(method, monkeypatch):
    losses = [trainer(recipe(method), p, monkeypatch).epoch()["loss"] for p in ("cpu", "cuda")]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)


@pytest.mark.parametrize("method", [PgdAt(1.0), Oat(), Float(), Smart()], ids=lambda m: m.kind)
def test_an_epoch_repeats_itself_bit_for_bit_on_a_gpu(method, monkeypatch):
    losses = []
    for _ in range(2):
        t = trainer(recipe(method), "cuda", monkeypatch)
        t.precision = "bf16"
        losses.append(t.epoch()["loss"])
    assert losses[0] == losses[1]


def test_evaluation_agrees_between_devices(monkeypatch):
    r = recipe(Float(noise=False))
    hits = []
    for place in ("cpu", "cuda"):
        t = trainer(r, place, monkeypatch)
        images = data.load("digits", "test", limit=50, device=torch.device(place))
        protocol = Protocol(lam=1.0, attack="pgd", eps=0.1, steps=3, random_start=False)
        hits.append(scoring.correct(t.model, images, protocol))
    assert (hits[0] == hits[1]).double().mean() >= 0.96
