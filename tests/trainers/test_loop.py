"""The loop: what an epoch depends on, what it leaves alone, what it refuses."""

import copy
from dataclasses import replace

import pytest
import torch
from torchvision.transforms.functional import pad

from lib import data, runs
from lib.errors import UserError
from lib.methods import METHODS, Float, FloatSlim, Oat, PgdAt, Pni, Smart
from lib.models.standing import Standing
from lib.recipe import Attack, Recipe, Train
from lib.schedules import learning_rate
from lib.sparsity import Momentum
from lib.trainers import Trainer, under_attack
from lib.trainers.loop import parameter_groups
from tests.tiny import digits, trainer


def recipe(method=None, **changes) -> Recipe:
    setting = {"attack": Attack(eps=0.25, steps=2), "epochs": 3, "schedule": "constant"}
    return digits(method or Smart(), "resnet18", **setting).override(changes)


def weights(t: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in t.model.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


SPARSE = [
    (method, Momentum(0.2, granularity=kind))
    for method in (PgdAt(0.5), Float(), FloatSlim())
    for kind in ("weight", "channel")
]


@pytest.mark.parametrize(("method", "sparsity"), [(m(), None) for m in METHODS.values()] + SPARSE)
def test_a_restored_trainer_continues_bit_for_bit_and_within_its_budget(method, sparsity):
    r = replace(recipe(method), sparsity=sparsity)
    straight, first, second = trainer(r), trainer(r), trainer(r)
    states = []
    first.epoch()
    first.epoch(lambda share: states.append(copy.deepcopy(first.state())))
    torch.manual_seed(12345)  # the global generator must not matter
    second.restore(states[0])
    assert (second.epochs_done, second.step) == (1, 1)  # of two steps
    for t, epochs in ((straight, 3), (second, 2)):
        assert_within_budget(t)
        for _ in range(epochs):
            t.epoch()
            assert_within_budget(t)
    assert_same(weights(straight), weights(second))
    ours, theirs = ([row | {"seconds": 0} for row in t.history] for t in (straight, second))
    assert ours == theirs and ("active_weights" in ours[0]) == bool(sparsity)


def assert_within_budget(t: Trainer) -> None:
    """FLOAT Eq. 5: weights meet the density exactly, of channels no further one would fit."""
    if t.recipe.sparsity is None:
        return
    masks = [value for name, value in t.model.state_dict().items() if name.endswith(".mask")]
    spare = t.recipe.sparsity.density * sum(map(torch.numel, masks)) - sum(map(torch.sum, masks))
    if t.recipe.sparsity.granularity == "weight":
        assert abs(spare) <= 0.5
        return
    assert spare >= 0
    live = [mask.any(dim=0).any(dim=-1).any(dim=-1) for mask in masks]
    for mask, on in zip(masks, live, strict=True):
        assert torch.equal(mask, on.view(1, -1, 1, 1).expand_as(mask))
    assert spare < min(m[:, 0].numel() for m, on in zip(masks, live, strict=True) if not on.all())


def test_a_seed_changes_initialisation_and_order():
    a, b = trainer(recipe()), trainer(recipe(seed=1))
    assert not torch.equal(a.model.conv1.weight, b.model.conv1.weight)
    x, _ = next(a._batches(0))
    other, _ = next(b._batches(0))
    assert not torch.equal(x, other)


def test_frozen_masks_stay_frozen():
    t = trainer(recipe())
    before = {name: v for name, v in weights(t).items() if "mask" in name}
    t.epoch()
    assert before
    assert all(torch.equal(weights(t)[name], mask) for name, mask in before.items())


def test_the_attack_leaves_the_network_as_it_was():
    t = trainer(recipe(PgdAt(1.0)))
    t.model.train()
    before = weights(t)
    x, y = next(t._batches(0))
    adversarial = t._attack(torch.Generator(), t.model, x, y)
    assert_same(before, weights(t))
    assert t.model.training
    assert all(p.requires_grad and p.grad is None for p in t.model.parameters())
    assert float((adversarial - x).abs().max()) <= 0.25 + 1e-6


def test_under_attack_restores_after_an_error():
    model = trainer(recipe()).model.train()
    with pytest.raises(ZeroDivisionError), under_attack(model):
        assert not model.training
        raise ZeroDivisionError
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_noise_scales_decay_only_where_asked():
    groups = {}
    for method in (Pni(), Pni(alpha_decay=True)):
        r = recipe(method)
        groups[method.alpha_decay] = parameter_groups(runs.build(r), r)
    free = [g for g in groups[False] if g["weight_decay"] == 0]
    alphas = sum(n.endswith("alpha") for n, _ in runs.build(recipe(Pni())).named_parameters())
    assert len(free) == 1
    assert len(free[0]["params"]) == alphas > 0
    assert all(g["weight_decay"] > 0 for g in groups[True])


def test_schedules_have_their_closed_forms():
    cosine = Train(epochs=10)
    assert learning_rate(cosine, 0.0) == pytest.approx(0.1)
    assert learning_rate(cosine, 5.0) == pytest.approx(0.05)
    assert learning_rate(cosine, 5.9) == learning_rate(cosine, 5.0)
    cycle = Train(epochs=10, schedule="onecycle")
    rates = [learning_rate(cycle, progress) for progress in (0.0, 2.0, 6.0, 10.0)]
    assert rates == pytest.approx([0.01, 0.1, 0.05, 0.0])
    steps = Train(epochs=10, lr=0.4, schedule="milestones", milestones=(3, 7), gamma=0.2)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimiser, [3, 7], gamma=0.2)
    for epoch in range(10):
        rates = [learning_rate(steps, epoch + part) for part in (0.0, 0.5, 0.99)]
        assert rates == pytest.approx(3 * theirs.get_last_lr())
        optimiser.step()
        theirs.step()


def test_the_border_of_augmented_images_is_the_recipes():
    """Every image is a crop of itself with the border that torchvision makes of that padding."""
    for padding, mode in (("zero", "constant"), ("reflect", "reflect")):
        t = trainer(recipe(**{"data.padding": padding}))
        t.spec = replace(t.spec, pad=2)  # as digits have no border of their own
        x, _ = next(t._batches(0))
        padded = [pad(image, 2, padding_mode=mode) for image in t.images.float()]
        crops = {
            image[:, i : i + 8, j : j + 8].numpy().tobytes()
            for image in padded
            for i in range(5)
            for j in range(5)
        }
        assert all(image.contiguous().numpy().tobytes() in crops for image in x)


def test_divergence_stops_the_run():
    with pytest.raises(UserError, match="diverged"):
        t = trainer(recipe(PgdAt(0.0), **{"train.lr": 1e30}))
        t.epoch()
        t.epoch()


def test_training_lowers_the_loss():
    """At this rate rounding cannot decide: over five seeds the share that is left was 0.29 to 0.47.

    At 0.1 a change of the weights by 1e-7, as another processor makes, moves it from 0.53 to 0.79.
    """
    changes = {"data.train_images": 128, "train.epochs": 6, "train.lr": 0.02}
    t = trainer(recipe(PgdAt(0.0), **changes))
    rows = [t.epoch() for _ in range(6)]
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]


def test_oat_trains_without_an_attackable_image():
    assert trainer(recipe(Oat(lambdas=(0.0,)))).epoch()["loss"] > 0


STANDING = [(METHODS[name](), None) for name in METHODS if name != "plain"] + SPARSE[:2]


@pytest.mark.parametrize(("method", "sparsity"), STANDING)
def test_attacks_on_the_standing_network_train_as_on_the_network(method, sparsity, monkeypatch):
    """Rounding turns the sign of a few gradients near 0, so a few pixels differ by a step.

    At a rate of 0.1 that has once made a second epoch's loss differ by 8 %, see above.
    """
    r = replace(recipe(method, **{"train.lr": 0.02}), sparsity=sparsity)
    losses = []
    for still in (Standing.still, lambda standing, f: None):
        monkeypatch.setattr(Standing, "still", still)
        t = trainer(r)
        losses.append([t.epoch()["loss"] for _ in range(2)])
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


@pytest.mark.parametrize("method", [PgdAt(0.5), Oat(), Smart()], ids=lambda m: m.kind)
def test_a_compiled_trainer_trains_the_same_network(method):
    """By a backend that compiles nothing, but traces and guards as every backend does."""
    r = recipe(method)
    images = data.load("digits", "train", limit=r.data.train_images)
    losses = []
    for backend in ("", "eager"):
        t = Trainer(runs.build(r), r, images, "fp32", backend)
        losses.append([t.epoch()["loss"] for _ in range(2)])
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
