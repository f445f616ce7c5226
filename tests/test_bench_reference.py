"""Our objectives against the eager steps of the bench: same weights, images and draws."""

import copy
from functools import partial

import pytest
import torch

from lib import bench_reference, runs
from lib.data import Images
from lib.methods import METHODS
from lib.recipe import Attack, Data, Model, Recipe, Train
from lib.trainers import Trainer
from lib.trainers.objectives import Context, sample_lambdas

EPS, STEPS, SIZE = 8 / 255, 3, 12


def eager(method, model, backbone, width):
    """Return the eager step of a method with the weights of a network."""
    reference = bench_reference.ResNet(method, backbone, width).double()
    state = model.state_dict()
    table = state.pop("encoder.table", None)
    reference.load_state_dict(state, strict=True)
    return bench_reference.Step(method, reference, table, EPS, STEPS)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet34"])
@pytest.mark.parametrize("method", ["plain", "pgd_at", "oat", "float", "smart"])
def test_an_eager_step_of_the_bench_is_ours_with_the_same_weights_images_and_draws(
    method, backbone, monkeypatch
):
    recipe = Recipe(
        Data("cifar10", augment=False),
        Model(backbone, width=4),
        METHODS[method](),
        Train(batch=SIZE),
        Attack(eps=EPS, steps=STEPS),
    )
    draws = torch.Generator().manual_seed(0)
    images = Images(
        torch.randint(256, (SIZE, 3, 32, 32), dtype=torch.uint8, generator=draws),
        torch.randint(10, (SIZE,), generator=draws),
    )
    model = runs.build(recipe).double().train()
    trainer = Trainer(model, recipe, images, "fp32")
    x, y = images.float().double(), images.labels
    step = eager(method, model, backbone, 4)
    before = copy.deepcopy(step.model.state_dict())

    # one draw of noise for every pass of both, the same trade-offs, the same starts of the attack
    if noise := getattr(model, "noise_size", 0):
        drawn = torch.randn(noise, dtype=torch.float64, generator=draws)
        monkeypatch.setattr(type(model), "draw_noise", lambda self, generator=None: drawn.clone())
        monkeypatch.setattr(torch.Tensor, "normal_", lambda self: self.copy_(drawn))
        for name, layer in model.named_modules():
            if getattr(layer, "alpha", None) is not None:
                theirs = step.model.get_submodule(name)
                eta = layer.eta(drawn)
                theirs.draw = lambda theirs=theirs, eta=eta: eta * theirs.weight.std().detach()
    lams = sample_lambdas(bench_reference.LAMBDAS, SIZE, torch.Generator().manual_seed(1))
    monkeypatch.setattr(bench_reference, "sample", lambda batch: lams)
    generator = torch.Generator().manual_seed(2)

    def start(x, eps):
        move = torch.empty(x.shape, dtype=x.dtype)
        return x + move.uniform_(-eps, eps, generator=torch.Generator().manual_seed(2))

    monkeypatch.setattr(bench_reference, "start", start)

    context = Context(partial(trainer._attack, generator), torch.Generator().manual_seed(1))
    ours = trainer.objective(model, x, y, context)
    ours.backward()
    theirs = step(x, y)
    assert ours.item() == pytest.approx(theirs, rel=1e-6)
    gradients = {n: p.grad for n, p in step.model.named_parameters()}
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, gradients[name], rtol=1e-4, atol=1e-7)
    moved = [not torch.equal(before[n], p) for n, p in step.model.named_parameters()]
    assert all(moved)
    for name, buffer in model.named_buffers():
        if "running" in name:
            torch.testing.assert_close(buffer, step.model.get_buffer(name))
