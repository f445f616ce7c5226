"""The interface of pruners: what the loop asks of them, and what one of one's own needs."""

from dataclasses import replace

import pytest
import torch

from lib.errors import UserError
from lib.methods import PgdAt
from lib.models import create
from lib.sparsity import SPARSITIES, Fixed, Lasso
from lib.trainers import PRUNERS, Pruner
from tests import tiny


def trainer(sparsity, epochs=3):
    return tiny.trainer(replace(tiny.digits(PgdAt(0.5), epochs=epochs), sparsity=sparsity))


def test_every_part_of_a_recipe_has_its_pruner_and_without_one_nothing_is_pruned():
    assert set(PRUNERS) == {"", *SPARSITIES}
    assert type(trainer(None).pruner) is Pruner
    assert trainer(None).epoch().keys() == {"epoch", "lr", "loss", "seconds"}


def test_the_penalty_is_part_of_the_objective():
    """One step of the lasso moves every weight by lr c sign(w), beyond the plain step."""
    pulled, free = trainer(Lasso(0.5), 1), trainer(Lasso(0.0), 1)
    ahead, start = pulled.pruner.penalty().detach(), trainer(Lasso(), 1).pruner
    losses = [next(t.steps(0)) for t in (pulled, free)]
    torch.testing.assert_close(losses[0] - losses[1], ahead, rtol=1e-3, atol=1e-5)
    moved = pulled.optimiser.param_groups[0]["lr"] * 0.5
    layers = zip(pulled.pruner.layers, free.pruner.layers, start.layers, strict=True)
    for a, b, w in layers:
        torch.testing.assert_close(b.weight - a.weight, moved * w.weight.sign())


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


def test_fixed_ranks_keep_the_best_kernels_of_each_channel_and_nothing_else_is_touched():
    model = create("plain", "resnet20", in_channels=1, width=8, prunable=True)
    one, other = model.get_submodule("layer1.0.conv1"), model.get_submodule("layer2.0.conv2")
    with torch.no_grad():  # three kernels for each channel, and none for the last
        factors = torch.rand(8, 3, 9), torch.randn(8, 8, 3)
        one.weight.copy_((factors[1] @ factors[0]).transpose(0, 1).view_as(one.weight))
        one.weight[:, -1] = 0
    part = SPARSITIES["fixed_ranks"]()
    fixed = PRUNERS["fixed_ranks"](model, part)
    fixed.begin()
    again = PRUNERS["fixed_ranks"](model, part)
    again.restore(fixed.state())
    before, moved = other.weight.clone(), one.weight + 0.1 * torch.randn_like(one.weight)
    one.weight.data.copy_(moved)
    again.after_step()
    assert torch.equal(other.weight, before)  # of full rank
    for c in range(8):
        left, sigma, right = torch.linalg.svd(moved[:, c].detach().flatten(1).double())
        g = 3 if c < 7 else 0
        best = (left[:, :g] * sigma[:g]) @ right[:g]
        torch.testing.assert_close(one.weight[:, c].flatten(1).double(), best, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [kind for kind in PRUNERS if kind])
def test_a_network_without_masks_is_refused(kind):
    with pytest.raises(UserError, match="prunable"):
        PRUNERS[kind](create("plain", "resnet18", width=4), SPARSITIES[kind]())
