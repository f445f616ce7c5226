"""Sparse momentum learning: the density is exact, regrowth follows the momentum."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import UserError
from lib.models import create
from lib.sparsity import Momentum
from lib.trainers.pruners.momentum import SparseMomentum
from lib.trainers.pruners.units import Channels, allocate, grow, prune, whole_units


@settings(deadline=None)
@given(caps=st.lists(st.integers(0, 50), min_size=1, max_size=8), data=st.data())
def test_allocation_is_whole_complete_and_below_the_caps(caps, data):
    total = data.draw(st.integers(0, sum(caps)))
    positive = st.floats(0, 1e3)
    shares = data.draw(st.lists(positive, min_size=len(caps), max_size=len(caps)))
    parts = allocate(total, shares, caps)
    assert sum(parts) == total
    assert all(0 <= part <= cap for part, cap in zip(parts, caps, strict=True))


def test_allocation_is_proportional_where_no_cap_binds():
    assert allocate(10, [1, 2, 2], [99, 99, 99]) == [2, 4, 4]
    assert allocate(10, [1, 1, 1], [99, 99, 99]) in ([4, 3, 3], [3, 4, 3], [3, 3, 4])
    assert allocate(10, [1, 1], [2, 99]) == [2, 8]
    with pytest.raises(ValueError, match="do not fit"):
        allocate(5, [1, 1], [2, 2])


def network(
    density: float = 0.1,
    rate: float = 0.5,
    epochs: int = 4,
    granularity: str = "weight",
    backbone: str = "resnet18",
    seed: int = 0,
) -> SparseMomentum:
    model = create("plain", backbone, in_channels=1, width=4, prunable=True)
    sparse = SparseMomentum(model, Momentum(density, rate, granularity), epochs, seed)
    sparse.begin()
    return sparse


def walk(sparse: SparseMomentum, check: Callable[[SparseMomentum], None]) -> None:
    """Check a network at the draw, and after each of four rewirings between random steps."""
    for epoch in range(4):
        check(sparse)
        for layer in sparse.layers:
            assert not (layer.weight[~layer.mask] != 0).any()
            with torch.no_grad():
                layer.weight.add_(torch.randn_like(layer.weight))
        sparse.after_step()
        layers = zip(torch.rand(len(sparse.layers)).exp(), sparse.layers, strict=True)
        sparse.rewire([s * torch.randn_like(layer.weight) for s, layer in layers], epoch)
    check(sparse)


@pytest.mark.parametrize("density", [0.02, 0.1, 0.5, 0.9, 1.0])
def test_density_is_exact_after_the_draw_and_after_every_rewiring(density):
    sparse = network(density)
    expected = round(density * sum(layer.weight.numel() for layer in sparse.layers))
    counts: list[int] = []
    walk(sparse, lambda sparse: counts.append(sparse.count()))
    assert counts == [expected] * 5


def test_the_smallest_weights_go_and_the_largest_momentum_comes():
    sparse = network(0.3, rate=0.5, epochs=10**9)  # so that the rate stays one half
    weights = [layer.weight.detach().clone() for layer in sparse.layers]
    before = [layer.mask.clone() for layer in sparse.layers]
    momentum = [torch.randn_like(w) for w in weights]
    sparse.rewire([v.clone() for v in momentum], epoch=0)
    for layer, w, old, v in zip(sparse.layers, weights, before, momentum, strict=True):
        survivors = old & (w.abs() > w[old].abs().median())
        assert layer.mask[survivors].all()
        grown = layer.mask & ~survivors
        passed_over = ~layer.mask
        if grown.any() and passed_over.any():
            assert v[grown].abs().min() >= v[passed_over].abs().max()


@pytest.mark.parametrize(("density", "kind", "layer"), [(0.1, "weight", 5), (0.4, "channel", 11)])
def test_what_is_freed_goes_to_the_layer_of_highest_momentum(density, kind, layer):
    sparse = network(density, granularity=kind)
    before = [int(unit.kept().sum()) for unit in sparse.units]
    momentum = [torch.full_like(layer.weight, 1e-3) for layer in sparse.layers]
    momentum[layer].fill_(1.0)
    sparse.rewire(momentum, epoch=0)
    gains = [int(unit.kept().sum()) - n for unit, n in zip(sparse.units, before, strict=True)]
    assert max(gains) == gains[layer] > 0
    assert kind == "channel" or sum(gains) == 0


def test_a_regrown_weight_starts_from_zero_and_from_rest():
    sparse = network(0.3, rate=0.5, epochs=10**9)
    weights = [layer.weight.detach().clone() for layer in sparse.layers]
    before = [layer.mask.clone() for layer in sparse.layers]
    momentum = [torch.randn_like(w) for w in weights]
    kept = [v.clone() for v in momentum]
    sparse.rewire(momentum, epoch=0)
    for layer, old, w, v, u in zip(sparse.layers, before, weights, momentum, kept, strict=True):
        regrown = layer.mask & ~old
        assert regrown.any() and not layer.weight[regrown].any() and not v[regrown].any()
        assert torch.equal(v[~regrown], u[~regrown])
        assert torch.equal(layer.weight[layer.mask & old], w[layer.mask & old])


def test_rate_falls_linearly_to_zero():
    sparse = network(rate=0.4, epochs=4)
    assert [sparse.rate(e) for e in range(4)] == pytest.approx([0.3, 0.2, 0.1, 0.0])


def test_zero_rate_changes_nothing():
    sparse = network(rate=0.0)
    before = [layer.mask.clone() for layer in sparse.layers]
    sparse.rewire([torch.randn_like(layer.weight) for layer in sparse.layers], 0)
    assert all(torch.equal(layer.mask, b) for layer, b in zip(sparse.layers, before, strict=True))


def test_gradients_reach_pruned_weights():
    sparse = network(0.1)
    sparse.model(torch.rand(8, 1, 8, 8)).square().sum().backward()
    assert any((layer.weight.grad[~layer.mask] != 0).any() for layer in sparse.layers)


def channels_of(layer) -> torch.Tensor:
    """The active input channels of a mask that holds whole ones only."""
    on = layer.mask.any(dim=0).any(dim=-1).any(dim=-1)
    assert torch.equal(layer.mask, on.view(1, -1, 1, 1).expand_as(layer.mask))
    return on


def assert_within_budget(sparse: SparseMomentum, density: float) -> None:
    """FLOAT Eq. 5, whole channels, none of them free that would still fit, a dense stem."""
    total = sum(layer.weight.numel() for layer in sparse.layers)
    spare = density * total - sum(int(layer.mask.sum()) for layer in sparse.layers)
    assert spare >= 0
    assert sparse.layers[0].mask.all()
    for layer in sparse.layers:
        on = channels_of(layer)
        assert on.any()
        assert on.all() or spare < layer.weight[:, 0].numel()


@settings(deadline=None, max_examples=15)
@given(
    density=st.floats(0.15, 1.0),
    rate=st.floats(0, 1),
    backbone=st.sampled_from(["resnet20", "resnet50", "wrn16_8"]),
    seed=st.integers(0, 2**31),
)
def test_whole_channels_fill_the_budget_at_draw_and_every_rewiring(density, rate, backbone, seed):
    torch.manual_seed(seed)
    sparse = network(density, rate, 4, "channel", backbone, seed)
    walk(sparse, lambda sparse: assert_within_budget(sparse, density))


@settings(deadline=None)
@given(data=st.data())
def test_whole_units_never_overspend_and_leave_nothing_that_fits(data):
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    caps = [data.draw(st.integers(0, 8)) for _ in sizes]
    parts = [data.draw(st.integers(0, n * size)) for n, size in zip(caps, sizes, strict=True)]
    units = whole_units(parts, sizes, caps)
    left = sum(parts) - sum(n * size for n, size in zip(units, sizes, strict=True))
    assert left >= 0
    for n, cap, size, part in zip(units, caps, sizes, parts, strict=True):
        assert part // size <= n <= cap
        assert n == cap or left < size


def test_what_rounding_frees_goes_to_the_layer_furthest_behind():
    assert whole_units([3, 0, 5], [1, 1, 1], [9, 9, 9]) == [3, 0, 5]
    # 7 of 4 and 5 of 4 make 1 unit each; of the 4 weights left, the first lacks 0.75 of a unit
    assert whole_units([7, 5], [4, 4], [9, 9]) == [2, 1]


def test_the_channel_of_smallest_norm_goes_and_the_one_of_largest_momentum_comes():
    layer = network(1.0, granularity="channel").layers[1]  # 4 input channels of 4 x 3 x 3 weights
    unit = Channels(layer)
    unit.keep(torch.tensor([True, True, True, False]))
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0] = 2.0  # 9 weights: squared norm 36
        layer.weight[:, 1] = 0.9  # 36 weights: 29.16, though the sum of |w| is larger
        layer.weight[0, 2] = 3.0  # 81
    assert unit.importance(layer.weight).tolist() == pytest.approx([36, 29.16, 81, 0])
    prune(unit, unit.to_prune(0.5))  # half of three channels is one
    assert channels_of(layer).tolist() == [True, False, True, False]
    momentum = torch.zeros_like(layer.weight)
    momentum[0, 1] = 1.0  # squared norm 9
    momentum[:, 3] = 0.6  # 12.96
    grow(unit, unit.importance(momentum), 1)
    assert channels_of(layer).tolist() == [True, False, True, True]


def test_the_larger_half_of_the_channels_survives_and_none_is_passed_over():
    sparse = network(0.4, rate=1.0, epochs=2, granularity="channel")  # one half after one epoch
    weights = [layer.weight.detach().clone() for layer in sparse.layers]
    before = [channels_of(layer) for layer in sparse.layers]
    momentum = [torch.randn_like(w) for w in weights]
    sparse.rewire([v.clone() for v in momentum], epoch=0)
    rows = list(zip(sparse.layers, weights, before, momentum, strict=True))[1:]  # not the stem
    for layer, w, old, v in rows:
        norm, drive = (torch.linalg.vector_norm(t, dim=(0, 2, 3)) for t in (w, v))
        ranks = norm[old].argsort(descending=True)
        kept = old.nonzero().flatten()[ranks[: math.ceil(len(ranks) / 2)]]
        survivors = torch.zeros_like(old).scatter(0, kept, True)
        on = channels_of(layer)
        assert on[survivors].all()
        grown, passed_over = on & ~survivors, ~on
        if grown.any() and passed_over.any():
            assert drive[grown].min() >= drive[passed_over].max()
    assert any((channels_of(layer) != old).any() for layer, _, old, _ in rows)


@pytest.mark.parametrize("backbone", ["resnet18", "wrn16_8"])
def test_a_density_below_the_stem_and_one_channel_a_layer_is_refused(backbone):
    layers = network(1.0, backbone=backbone).layers
    total = sum(layer.weight.numel() for layer in layers)
    least = layers[0].weight.numel() + sum(layer.weight[:, 0].numel() for layer in layers[1:])
    with pytest.raises(UserError, match=r"sparsity\.density .* stem and one channel"):
        network((least - 1) / total, granularity="channel", backbone=backbone)
    density = math.nextafter(least / total, 1)
    sparse = network(density, granularity="channel", backbone=backbone)
    assert sparse.count() == least
    assert_within_budget(sparse, density)
