"""The interface of pruners: what the loop asks of them, and what one of one's own needs."""

import pytest
import torch

from lib import data, runs
from lib.errors import UserError
from lib.methods import PgdAt
from lib.models import create
from lib.recipe import SPARSITIES, Attack, Data, Fixed, Model, Recipe, Train
from lib.trainers import PRUNERS, Pruner, Trainer
from tests.trainers.toy import Toy


def trainer(sparsity, epochs=3):
    recipe = Recipe(
        Data("digits", 32),
        Model("resnet20", 4),
        PgdAt(0.5),
        Train(epochs, batch=16),
        Attack(0.25, 1),
        sparsity,
    )
    return Trainer(runs.build(recipe), recipe, data.load("digits", "train", limit=32), "fp32")


def test_every_part_of_a_recipe_has_its_pruner_and_without_one_nothing_is_pruned():
    assert set(PRUNERS) == {"", *SPARSITIES}
    assert type(trainer(None).pruner) is Pruner
    assert trainer(None).epoch().keys() == {"epoch", "lr", "loss", "seconds"}


def test_a_pruner_that_uses_penalty_and_state_continues_bit_for_bit():
    straight, first, second = (trainer(Toy()) for _ in range(3))
    for _ in range(3):
        straight.epoch()
    first.epoch()
    second.restore(first.state())
    assert second.epoch()["active_weights"] > 0
    second.epoch()
    ours, theirs = (t.model.state_dict() for t in (straight, second))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for layer in straight.pruner.layers:  # the last epoch has projected
        share = (layer.weight != 0).double().mean()
        assert 0.25 <= share < 0.25 + 2 / layer.weight.numel()
    stateless = trainer(Toy())
    stateless.restore(first.state() | {"pruner": stateless.pruner.state()})
    stateless.epoch()
    assert stateless.history[1]["loss"] != straight.history[1]["loss"]


def test_the_penalty_is_part_of_the_objective():
    """One step of a quadratic pull moves every weight by lr rho (w - z), beyond the plain step."""
    pulled, free = trainer(Toy(rho=0.5), 1), trainer(Toy(rho=0.0), 1)
    ahead = pulled.pruner.penalty().detach()
    losses = [next(t.steps(0)) for t in (pulled, free)]
    torch.testing.assert_close(losses[0] - losses[1], ahead, rtol=1e-3, atol=1e-5)
    start = trainer(Toy(), 1).pruner
    lr = pulled.optimiser.param_groups[0]["lr"]
    layers = zip(pulled.pruner.layers, free.pruner.layers, start.layers, start.z, strict=True)
    for a, b, w, z in layers:
        moved = lr * 0.5 * (w.weight - z)
        torch.testing.assert_close(b.weight - a.weight, moved, rtol=0, atol=1e-6)


def test_fixed_keeps_masks_and_makes_them_of_zeros_where_there_are_none():
    model = create("plain", "resnet20", in_channels=1, width=4, prunable=True)
    first, second, *rest = [m for m in model.modules() if getattr(m, "mask", None) is not None]
    with torch.no_grad():
        first.mask[0], second.weight[1] = False, 0.0
    fixed = PRUNERS["fixed"](model, Fixed())
    fixed.begin()
    assert not first.weight[0].any() and first.weight[1:].all()
    assert not second.mask[1].any() and second.mask[0].all()
    assert all(layer.mask.all() for layer in rest)
    total = sum(layer.mask.numel() for layer in (first, second, *rest))
    assert fixed.row() == {"active_weights": total - first.mask[0].numel() - second.mask[1].numel()}


@pytest.mark.parametrize("kind", [kind for kind in PRUNERS if kind])
def test_a_network_without_masks_is_refused(kind):
    with pytest.raises(UserError, match="prunable"):
        PRUNERS[kind](create("plain", "resnet18", width=4), SPARSITIES[kind]())
