"""DNR, ADMM, the lasso and SNIP against closed forms, brute force and finite differences."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from lib import data, runs
from lib.errors import UserError
from lib.methods import Float, Hybrid, PgdAt
from lib.models import create
from lib.recipe import Model, Train
from lib.sparsity import Admm, Dnr, Lasso, Snip
from lib.trainers import PRUNERS, Trainer
from lib.trainers.pruners.admm import ranked
from lib.trainers.pruners.snip import sensitivities
from lib.trainers.pruners.units import UNITS, allocate
from tests import tiny

DENSE = tiny.digits(Hybrid(clean_epochs=1), "vgg16", epochs=3, lr=0.05)


def trainer(sparsity, **own) -> Trainer:
    return tiny.trainer(replace(DENSE, sparsity=sparsity, **own))


def pruner(sparsity, epochs: int = 3, backbone: str = "resnet20", width: int = 4):
    torch.manual_seed(0)
    model = create("plain", backbone, in_channels=1, width=width, prunable=True)
    made = PRUNERS[sparsity.kind](model, sparsity, epochs, 0)
    made.begin()
    return made


def moved(made, size: float = 0.1) -> None:
    """Take a step in a random direction, as the loop does."""
    with torch.no_grad():
        for layer in made.layers:
            layer.weight.add_(size * torch.randn_like(layer.weight))
    made.after_step()


def copies(made) -> list[torch.Tensor]:
    return [layer.weight.detach().clone() for layer in made.layers]


def equal(ours, theirs) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


# DNR


def test_z_is_taken_after_each_rewiring_and_at_no_other_time():
    made = pruner(Dnr(0.1, clean_epochs=1))
    assert equal(made.z, copies(made))
    for epoch in range(3):
        before = [z.clone() for z in made.z]
        for _ in range(2):
            moved(made)
            made.penalty()
            assert equal(made.z, before)
        made.after_epoch(epoch, torch.randn_like)
        assert equal(made.z, copies(made)) and not equal(made.z, before)
        for layer, z in zip(made.layers, made.z, strict=True):
            assert not z[~layer.mask].any()


def test_the_pull_is_half_rho_times_the_squared_distance_once_clean_epochs_are_over():
    made = pruner(Dnr(0.1, pull=0.3, clean_epochs=2))
    for epoch in range(3):
        moved(made)
        apart = [one.weight * one.mask - z for one, z in zip(made.layers, made.z, strict=True)]
        by_hand = 0.0 if epoch < 2 else 0.15 * sum(float((d.detach() ** 2).sum()) for d in apart)
        assert float(made.penalty()) == pytest.approx(by_hand, rel=1e-5)
        if epoch == 2:
            made.penalty().backward()
            for layer, d in zip(made.layers, apart, strict=True):
                torch.testing.assert_close(layer.weight.grad, 0.3 * d)  # 0 where it is pruned
        made.after_epoch(epoch, torch.randn_like)
    assert pruner(Dnr(pull=0.0, clean_epochs=0)).penalty() == 0


@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_density_is_exact_and_pruned_weights_are_zero_at_every_step_and_after_a_resume(granularity):
    part = Dnr(0.3, granularity=granularity, pull=0.1, clean_epochs=1)
    straight, second = trainer(part), trainer(part)
    target = straight.pruner.target
    sizes = [layer.weight[:, 0].numel() for layer in straight.pruner.layers]

    def look(_=0.0) -> None:
        pruner = straight.pruner
        slack = 0 if granularity == "weight" else max(sizes) - 1
        assert target - slack <= pruner.count() <= target
        assert not any(layer.weight[~layer.mask].any() for layer in pruner.layers)

    straight.epoch(look)
    steps = straight.steps(1, 0)
    next(steps)
    state = copy.deepcopy(straight.state() | {"step": 1})
    steps.close()
    straight.restore(copy.deepcopy(state))
    second.restore(state)
    for one in (straight, second):
        while one.epochs_done < 3:
            assert one.epoch(look)["active_weights"] == one.pruner.count()
    assert equal(straight.model.state_dict().values(), second.model.state_dict().values())
    assert equal(straight.pruner.z, second.pruner.z)


@pytest.mark.parametrize(
    ("total", "shares", "caps", "exact"),
    [
        (10, (3, 3, 1), (10, 10, 10), (30 / 7, 30 / 7, 10 / 7)),
        (11, (0.2, 0.5, 0.9), (11, 11, 11), (1.375, 3.4375, 6.1875)),
        (9, (5, 2, 1), (4, 9, 9), (4, 10 / 3, 5 / 3)),  # what the first cannot take, by shares
        (9, (5, 3, 0), (2, 3, 9), (2, 3, 4)),
        (7, (1, 0, 0), (2, 9, 9), (2, 2.5, 2.5)),
    ],
)
def test_whole_numbers_are_the_nearest_to_exact_shares(total, shares, caps, exact):
    """Largest remainders minimise the squared distance; brute force over all splits."""
    splits = itertools.product(*(range(cap + 1) for cap in caps))

    def far(split) -> float:
        return sum((a - b) ** 2 for a, b in zip(split, exact, strict=True))

    nearest = min(far(split) for split in splits if sum(split) == total)
    assert far(allocate(total, shares, caps)) == pytest.approx(nearest)


# ADMM


@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_the_projection_is_the_nearest_point_within_the_budget(granularity):
    made = pruner(Admm(0.5, granularity=granularity), width=1)
    made.counts = [min(2, unit.total) for unit in made.units]
    values = [torch.randn_like(layer.weight) for layer in made.layers]
    for unit, value, z in zip(made.units, values, made.projected(values), strict=True):
        best = min(
            (
                torch.linalg.vector_norm(value - value * unit.mask(torch.tensor(kept)))
                for kept in itertools.product((False, True), repeat=unit.total)
                if sum(kept) == min(2, unit.total)
            )
            if unit.total < 10
            else [value.abs().flatten().sort().values[:-2].norm()]
        )
        torch.testing.assert_close(torch.linalg.vector_norm(value - z), best)


def test_rho_z_and_u_follow_the_algorithm():
    made = pruner(Admm(0.2, rho=0.5, growth=2.0, every=2), epochs=5)
    w, z, u, rho = copies(made), [t.clone() for t in made.z], [t * 0 for t in made.u], 0.5
    assert equal(z, made.projected(w)) and equal(u, made.u)
    for epoch in range(4):
        moved(made)
        w = copies(made)
        apart = [a - b + c for a, b, c in zip(w, z, u, strict=True)]
        by_hand = rho / 2 * sum(float((d**2).sum()) for d in apart)
        assert float(made.penalty()) == pytest.approx(by_hand, rel=1e-5)
        made.after_epoch(epoch, torch.randn_like)
        if epoch % 2:
            rho *= 2
            z = made.projected([a + b for a, b in zip(w, u, strict=True)])
            u = [a - b + c for a, b, c in zip(w, z, u, strict=True)]
            torch.testing.assert_close(made.u, u)
        assert equal(made.z, z) and made.rho == rho
        assert all(layer.mask.all() for layer in made.layers)
    moved(made)
    expected = made.projected(copies(made))
    made.after_epoch(4, torch.randn_like)
    assert equal(copies(made), expected)
    assert made.count() == sum(made.counts) == round(0.2 * sum(map(torch.numel, expected)))


def test_ratios_are_those_of_one_threshold_or_equal_but_for_the_first_layer():
    made = pruner(Admm(0.3))
    flat = torch.cat([w.abs().flatten() for w in copies(made)])
    cut = flat.sort(descending=True).values[round(0.3 * len(flat)) - 1]
    assert made.counts == [int((w.abs() >= cut).sum()) for w in copies(made)]
    made = pruner(Admm(0.3, ratios="uniform"))
    first, *rest = made.units
    assert made.counts[0] == first.total and sum(made.counts) == round(0.3 * len(flat))
    share = (sum(made.counts) - first.total) / sum(unit.total for unit in rest)
    for unit, count in zip(rest, made.counts[1:], strict=True):
        assert abs(count - share * unit.total) <= 1


def test_no_layer_is_left_without_a_unit():
    made = pruner(Admm(0.3, granularity="channel"), backbone="vgg16")
    with torch.no_grad():
        made.layers[5].weight.mul_(1e-6)
    units = [UNITS["channel"](layer) for layer in made.layers]
    counts = ranked(units, 4_000)
    assert counts[5] == 1 and min(counts) >= 1
    assert sum(n * unit.size for n, unit in zip(counts, units, strict=True)) <= 4_000


def test_admm_continues_bit_for_bit():
    start = replace(DENSE, train=Train(1, batch=16))
    part = Admm(0.2, rho=0.1, every=1)
    recipe = replace(DENSE, sparsity=part, start=start, method=PgdAt(0.5))
    images = data.load("digits", "train", limit=32)

    def made() -> Trainer:
        torch.manual_seed(0)
        model = create("plain", "vgg16", in_channels=1, width=4, prunable=True)
        return Trainer(model, recipe, images, "fp32")

    straight, second = made(), made()
    straight.epoch()
    straight.epoch()
    state = copy.deepcopy(straight.state())
    second.restore(state)
    assert equal(second.pruner.z, straight.pruner.z) and equal(second.pruner.u, straight.pruner.u)
    straight.epoch()
    second.epoch()
    assert equal(straight.model.state_dict().values(), second.model.state_dict().values())


def test_admm_and_fine_tuning_need_a_trained_network():
    with pytest.raises(UserError, match="sparsity 'admm' works on a trained network"):
        replace(DENSE, sparsity=Admm())


# The lasso


def test_the_lasso_adds_the_sum_of_sizes_and_prunes_what_is_near_zero_in_the_end():
    made = pruner(Lasso(coefficient=0.01, threshold=0.05), epochs=2)
    weights = copies(made)
    sizes = sum(float(w.abs().sum()) for w in weights)
    assert float(made.penalty()) == pytest.approx(0.01 * sizes, rel=1e-5)
    made.penalty().backward()
    for layer, w in zip(made.layers, weights, strict=True):
        torch.testing.assert_close(layer.weight.grad, 0.01 * w.sign())
    made.after_epoch(0, torch.randn_like)
    assert equal(copies(made), weights)
    made.after_epoch(1, torch.randn_like)
    for layer, w in zip(made.layers, weights, strict=True):
        kept = w.abs() >= 0.05 * w.abs().max()
        assert torch.equal(layer.mask, kept) and torch.equal(layer.weight, w * kept)
        assert 0 < kept.sum() < kept.numel()


# SNIP


def test_sensitivities_are_the_derivative_by_the_mask():
    model = create("plain", "resnet20", in_channels=1, width=2, prunable=True).double()
    images = torch.rand(8, 1, 8, 8, dtype=torch.float64)
    labels = torch.arange(8)
    before = copy.deepcopy(model.state_dict())
    names = ["conv1", "layer2.0.conv1"]
    found = sensitivities(model, names, (images, labels))
    assert equal(before.values(), model.state_dict().values())  # batch norms, too
    model.train()
    for name, score in zip(names, found, strict=True):
        weight = model.get_submodule(name).weight
        for place in [(0, 0, 1, 1), (1, 0, 0, 2)]:
            value, losses = weight[place].item(), []
            for mask in (1 + 1e-5, 1 - 1e-5):
                with torch.no_grad():
                    weight[place] = value * mask
                    losses.append(float(F.cross_entropy(model(images), labels)))
                    weight[place] = value
            slope = abs(losses[0] - losses[1]) / 2e-5
            assert float(score[place]) == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_snip_draws_dropout_from_the_seed_of_the_recipe_alone():
    part, model = Snip(0.3), Model("wrn16_8", 1, dropout=0.5)
    first, second = (trainer(part, model=model, method=PgdAt(0.5)) for _ in range(2))
    masks = [[layer.mask for layer in one.pruner.layers] for one in (first, second)]
    assert equal(*masks)


def test_snip_is_refused_for_a_network_of_several_losses():
    recipe = replace(DENSE, method=Float(), model=Model("resnet18", 4), sparsity=Snip(0.3))
    with pytest.raises(UserError, match="float has one for each trade-off"):
        runs.check(recipe)


def test_snip_keeps_the_most_sensitive_weights_of_the_whole_network_for_good():
    made = trainer(Snip(0.1))
    fresh = runs.build(made.recipe)
    names = [n for n, m in fresh.named_modules() if getattr(m, "mask", None) is not None]
    scores = sensitivities(fresh, names, next(made._batches(0)))
    flat = torch.cat([s.flatten() for s in scores])
    count = round(0.1 * len(flat))
    cut = flat.sort(descending=True).values[count - 1]
    masks = [layer.mask.clone() for layer in made.pruner.layers]
    assert sum(int(m.sum()) for m in masks) == count == made.pruner.count()
    assert equal(masks, [s >= cut for s in scores])
    made.epoch()
    assert equal(masks, [layer.mask for layer in made.pruner.layers])
    assert not any(layer.weight[~layer.mask].any() for layer in made.pruner.layers)
