"""Sparse momentum learning: the density is exact, regrowth follows the momentum."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import UserError
from lib.models import create
from lib.recipe import Momentum
from lib.trainers import SparseMomentum, allocate


@settings(deadline=None)
@given(
    caps=st.lists(st.integers(0, 50), min_size=1, max_size=8),
    data=st.data(),
)
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


def test_more_than_the_caps_hold_is_an_error():
    with pytest.raises(ValueError, match="do not fit"):
        allocate(5, [1, 1], [2, 2])


def network(density: float = 0.1, rate: float = 0.5, epochs: int = 4) -> SparseMomentum:
    model = create("plain", "resnet18", in_channels=1, width=4, prunable=True)
    sparse = SparseMomentum(model, Momentum(density, rate), epochs)
    sparse.init(torch.Generator().manual_seed(0))
    return sparse


@pytest.mark.parametrize("density", [0.02, 0.1, 0.5, 0.9, 1.0])
def test_density_is_exact_after_the_draw_and_after_every_rewiring(density):
    sparse = network(density)
    expected = round(density * sum(layer.weight.numel() for layer in sparse.layers))
    for epoch in range(4):
        assert sparse.count() == expected
        for layer in sparse.layers:
            assert not (layer.weight[~layer.mask] != 0).any()
            with torch.no_grad():
                layer.weight.add_(torch.randn_like(layer.weight))
        sparse.apply()
        sparse.rewire([torch.randn_like(layer.weight) for layer in sparse.layers], epoch)
    assert sparse.count() == expected


def test_the_smallest_weights_go_and_the_largest_momentum_comes():
    sparse = network(0.3, rate=0.5, epochs=10**9)  # so that the rate stays one half
    weights = [layer.weight.detach().clone() for layer in sparse.layers]
    before = [layer.mask.clone() for layer in sparse.layers]
    momentum = [torch.randn_like(w) for w in weights]
    sparse.rewire(momentum, epoch=0)
    for layer, w, old, v in zip(sparse.layers, weights, before, momentum, strict=True):
        survivors = old & (w.abs() > w[old].abs().median())
        assert layer.mask[survivors].all()
        grown = layer.mask & ~survivors
        passed_over = ~layer.mask
        if grown.any() and passed_over.any():
            assert v[grown].abs().min() >= v[passed_over].abs().max()


def test_regrowth_goes_to_the_layer_of_highest_momentum():
    sparse = network(0.1)
    before = [int(layer.mask.sum()) for layer in sparse.layers]
    momentum = [torch.full_like(layer.weight, 1e-3) for layer in sparse.layers]
    momentum[5].fill_(1.0)
    sparse.rewire(momentum, epoch=0)
    gains = [int(layer.mask.sum()) - b for layer, b in zip(sparse.layers, before, strict=True)]
    assert max(gains) == gains[5] > 0
    assert sum(gains) == 0


def test_rate_falls_linearly_to_zero():
    sparse = network(rate=0.4, epochs=4)
    assert [sparse.rate(e) for e in range(4)] == pytest.approx([0.3, 0.2, 0.1, 0.0])


def test_zero_rate_changes_nothing():
    sparse = network(rate=0.0)
    before = [layer.mask.clone() for layer in sparse.layers]
    sparse.rewire([torch.randn_like(layer.weight) for layer in sparse.layers], 0)
    assert all(torch.equal(layer.mask, b) for layer, b in zip(sparse.layers, before, strict=True))


def test_a_network_without_masks_is_refused():
    with pytest.raises(UserError, match="prunable"):
        SparseMomentum(create("plain", "resnet18", width=4), Momentum(0.1), 1)


def test_gradients_reach_pruned_weights():
    sparse = network(0.1)
    model = create("plain", "resnet18", in_channels=1, width=4, prunable=True)
    sparse = SparseMomentum(model, Momentum(0.1), 1)
    sparse.init(torch.Generator().manual_seed(0))
    model(torch.rand(8, 1, 8, 8)).square().sum().backward()
    assert any((layer.weight.grad[~layer.mask] != 0).any() for layer in sparse.layers)
