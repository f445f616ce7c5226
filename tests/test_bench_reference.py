"""The eager steps of the bench against ours: same weights, images, draws and starts."""

import copy
from functools import partial

import pytest
import torch

from lib import bench_reference, runs
from lib.data import Images
from lib.methods import METHODS
from lib.recipe import Attack, Data, Model, Recipe, Train
from lib.trainers import Trainer
from lib.trainers.objectives import Context

EPS, STEPS, SIZE = 8 / 255, 3, 12


@pytest.mark.parametrize("method", ["plain", "pgd_at", "oat", "float", "smart"])
def test_an_eager_step_of_the_bench_is_ours(method, monkeypatch):
    kind, parts = METHODS[method](), (Data("cifar10", augment=False), Model("resnet18", width=4))
    recipe = Recipe(*parts, kind, Train(batch=SIZE), Attack(eps=EPS, steps=STEPS))
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (SIZE, 3, 32, 32), dtype=torch.uint8, generator=draws)
    images = Images(pixels, torch.randint(10, (SIZE,), generator=draws))
    ours = runs.build(recipe).double().train()
    if noise := getattr(ours, "noise_size", 0):
        drawn = torch.randn(noise, dtype=torch.float64, generator=draws)
        monkeypatch.setattr(type(ours), "draw_noise", lambda *_: drawn.clone())
        monkeypatch.setattr(torch.Tensor, "normal_", lambda self: self.copy_(drawn))
    theirs = copy.deepcopy(ours).to(memory_format=torch.contiguous_format)
    trainer = Trainer(ours, recipe, images, "fp32")
    x, y = images.float().double(), images.labels
    start = torch.empty(x.shape, dtype=x.dtype)

    def uniform(like):
        generator = torch.Generator().manual_seed(2)
        return (start[: len(like)].uniform_(-EPS, EPS, generator=generator) / EPS + 1) / 2

    monkeypatch.setattr(torch, "rand_like", uniform)
    attack = partial(trainer._attack, torch.Generator().manual_seed(2))
    loss = trainer.objective(ours, x, y, Context(attack, torch.Generator()))
    loss.backward()
    before = {name: p.detach().clone() for name, p in theirs.named_parameters()}
    step = bench_reference.training(method, theirs, EPS, STEPS)
    assert step(x, y) == pytest.approx(loss.item(), rel=1e-6)
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        torch.testing.assert_close(p.grad, gradients[name], rtol=1e-4, atol=1e-7)
    assert not any(torch.equal(before[name], p) for name, p in theirs.named_parameters())
