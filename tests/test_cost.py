"""Counts against the published ledger, torch's own counter and hand-computed layers."""

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lib import cost
from lib.errors import UserError
from lib.models import create

# CIFAR ResNet-34: parameters of convolutions, classifier and one batch norm; operations
CONVS, CLASSIFIER, NORMS = 21_259_968, 5_130, 17_024
MACS = 1_159_402_496
MASKED = 6_782_976 + 12_976_128  # 3x3 weights of modules 3 and 4
MASKED_MACS = 434_110_464 + 207_618_048
FILM_CHANNELS = [64] * 7 + [128] * 8 + [256] * 12 + [512] * 6


FILM_MACS = sum(2 * c + 4 * c * c for c in FILM_CHANNELS)
EXACT = {"exact": True, "mask_seed": 0}


def film(code):
    return sum(2 * c * code + 2 * c + 4 * c * c + 2 * c for c in FILM_CHANNELS)


PLAIN = CONVS + CLASSIFIER + NORMS
PATH = CONVS - MASKED // 2  # weights of one of SMART's paths


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        ("plain", {}, {"params": PLAIN, "macs": MACS, "noise_adds": 0, "bytes_masks": 0}),
        ("plain", {}, {"params_union": 21_282_122, "macs_per_path": MACS, "bytes_8bit": PLAIN}),
        ("oat", {"encoding": "none", "dual_bn": False}, {"params": PLAIN + film(1)}),
        ("oat", {"encoding": "none"}, {"params_union": 31_403_978, "macs": MACS + FILM_MACS}),
        ("oat", {}, {"params": PLAIN + NORMS + film(128), "params_union": PLAIN + film(128)}),
        ("float", {}, {"params": PLAIN + NORMS + 36, "params_union": PLAIN, "noise_adds": CONVS}),
        ("float", {}, {"params_per_path": PLAIN}),
        ("smart", EXACT, {"noise_adds": 11_380_416, "params_per_path": PATH + CLASSIFIER + NORMS}),
        ("smart", EXACT, {"params_union": PLAIN - MASKED // 4, "bytes_masks": MASKED * 2 // 8}),
        ("smart", EXACT, {"macs": MACS, "macs_per_path": MACS - MASKED_MACS // 2}),
    ],
)
def test_resnet34_costs_what_the_ledger_says(method, options, expected):
    got = cost.report(method, "resnet34", options=options)
    assert {name: got[name] for name in expected} == expected


def test_masks_that_are_drawn_cost_what_the_paper_rounds_to():
    torch.manual_seed(0)
    drawn = cost.report("smart", "resnet34")
    names = ("params_per_path", "params_union", "noise_adds")
    assert [round(drawn[name] / 1e6, 2) for name in names] == [11.40, 16.34, 11.38]


def test_width_classes_and_channels_are_those_asked_for():
    narrow = cost.report("plain", "resnet18", width=8, num_classes=100, size=16, in_channels=1)
    model = create("plain", "resnet18", 100, 1, 8)
    assert narrow["params"] == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("method", "backbone", "options"),
    [
        ("plain", "resnet18", {}),
        ("plain", "resnet50", {}),
        ("float", "resnet20", {}),
        ("smart", "wrn16_8", {}),
        ("oat", "resnet18", {}),
        ("oat", "wrn28_4", {"encoding": "none"}),
        ("pni", "wrn40_2", {}),
    ],
)
def test_operations_equal_those_of_torchs_flop_counter(method, backbone, options):
    model = create(method, backbone, width=8, **options).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 16, 16))
    assert 2 * cost.cost(model, size=16)["macs"] == counter.get_total_flops()


def small_net():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=True),
        nn.Conv2d(6, 6, 3, groups=3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )


def test_strides_groups_and_biases_are_counted_as_by_hand():
    first, second, classifier = cost.layer_costs(small_net(), size=8)
    assert first.macs == 3 * 6 * 9 * 16 and first.bias == 6
    assert second.macs == 6 * 2 * 9 * 16 and second.weights == 108
    assert classifier.macs == 24 and classifier.kind == "linear"
    assert cost.cost(small_net(), size=8)["params_union"] == 162 + 6 + 108 + 12 + 24 + 4


def test_pruned_weights_cost_nothing_and_their_mask_its_entropy():
    model = create("plain", "resnet20", width=4, prunable=True)
    dense = cost.cost(model, size=8)
    layer = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    layer.mask[:] = torch.arange(layer.weight.numel()).reshape(layer.weight.shape) % 4 == 0
    pruned = cost.cost(model, size=8)
    removed = layer.weight.numel() * 3 // 4
    assert dense["params_union"] - pruned["params_union"] == removed
    assert dense["macs_per_path"] - pruned["macs_per_path"] == removed * 64
    assert dense["macs"] == pruned["macs"] and dense["bytes_masks"] == 0
    entropy = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert pruned["bytes_masks"] == math.ceil(layer.weight.numel() * entropy / 8)


def test_path_and_pruning_masks_multiply():
    model = create("smart", "resnet20", width=4, prunable=True, mask_seed=1)
    layer = next(m for m in model.modules() if getattr(m, "mask_adv", None) is not None)
    before = cost.cost(model, size=8)
    layer.mask[0] = False
    after = cost.cost(model, size=8)
    assert before["noise_adds"] - after["noise_adds"] == int(layer.mask_adv[0].sum())
    union = layer.mask_adv[0] | layer.mask_clean[0]
    assert before["params_union"] - after["params_union"] == int(union.sum())


def test_counting_leaves_the_network_and_the_random_state_as_they_were():
    model = create("pni", "resnet20", width=4).train()
    next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).eval()
    modes = [m.training for m in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.random.get_rng_state()
    cost.cost(model, size=8)
    assert modes == [m.training for m in model.modules()]
    assert torch.equal(random, torch.random.get_rng_state())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)
    assert not any(m._forward_hooks for m in model.modules())


def test_wrong_images_and_options_are_refused_in_one_sentence():
    model = create("plain", "resnet20", width=4)
    with pytest.raises(UserError, match="does not take images of 1x8x8"):
        cost.cost(model, in_channels=1, size=8)
    assert not any(m._forward_hooks for m in model.modules())
    with pytest.raises(UserError, match="multipliers is 0"):
        cost.delay(9, 1, 0, multipliers=0)
    with pytest.raises(UserError, match="size is 4"):
        cost.report("plain", "resnet34", size=4)
    with pytest.raises(UserError, match="did you mean 'smart'"):
        cost.report("smrt", "resnet34")
    with pytest.raises(UserError, match="did you mean 'density'"):
        cost.report("smart", "resnet34", options={"densty": 0.5})


def test_energy_ratios_of_the_papers():
    assert cost.mac_in_adds("int32") == pytest.approx(32)
    assert cost.mac_in_adds("int8") == pytest.approx(23 / 3)
    assert cost.add_equivalents(3, 5, "int32") == pytest.approx(101)


def test_delays_of_a_layer_small_enough_to_compute_by_hand():
    got = cost.delay(9 * 4 * 8, 16, 2 * 8 + 4 * 64, reads=10, multipliers=100)
    assert got.plain == 29 * 9 + 3 * 16 * 4
    assert got.noise == 29 * 9 + 3 * 17 * 4
    assert got.film == 56 * 9 + 3 * 16 * 4 + 3 * 4
