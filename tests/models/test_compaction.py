"""Networks without dead channels: equal outputs, fewer weights, nothing else touched."""

import pytest
import torch
from torch import nn

from lib.cost import cost
from lib.errors import UserError
from lib.models import channels, compact, create, freeze
from lib.models.compaction import GatheredConv2d
from lib.sparsity import Momentum
from lib.trainers.pruners.momentum import SparseMomentum

BACKBONES = ["resnet18", "resnet50", "preact_resnet50", "wrn16_8", "vgg16", "vgg16_hydra"]


def convs(model: nn.Module) -> dict[str, nn.Conv2d]:
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}


def kill(model: nn.Module, name: str, *dead: int) -> None:
    """Set all weights of these input channels of a convolution to zero."""
    with torch.no_grad():
        convs(model)[name].weight[:, list(dead)] = 0


def kill_at_random(model: nn.Module, share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, conv in convs(model).items():
        dead = torch.rand(conv.in_channels, generator=generator) < share
        kill(model, name, *dead.nonzero().flatten().tolist())


def assert_equal_outputs(narrow: nn.Module, model: nn.Module, images: torch.Tensor) -> None:
    with torch.no_grad():
        expected = model(images.double())
        assert expected.std() > 0
        torch.testing.assert_close(narrow(images.double()), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_outputs_are_equal_and_every_channel_left_is_live(plain, images, backbone, share):
    model = plain(backbone)
    kill_at_random(model, share, seed=len(backbone))
    narrow = compact(model)
    assert_equal_outputs(narrow, model, images)
    before, after = channels(model), channels(narrow)
    assert before.keys() == after.keys()
    for name, (alive, there) in after.items():
        assert there <= max(1, before[name][0])  # no more than were live to begin with
        assert there == max(1, alive)
    assert cost(narrow, size=8)["params"] < cost(model, size=8)["params"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_network_without_dead_channels_comes_back_as_it_was(plain, images, backbone):
    model = plain(backbone)
    with torch.no_grad():
        for conv in convs(model).values():
            conv.weight[:, ::2, 0, 0] = 0  # zeros but, in 3x3 kernels, no dead channel
            conv.weight[0] = 1
    narrow = compact(model)
    assert torch.equal(narrow(images.double()), model(images.double()))
    assert narrow.state_dict().keys() == model.state_dict().keys()
    assert not any(isinstance(layer, GatheredConv2d) for layer in narrow.modules())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_network_without_any_weight_keeps_one_channel_a_layer(plain, images, backbone):
    model = plain(backbone)
    kill_at_random(model, 2.0, seed=0)
    narrow = compact(model)
    torch.testing.assert_close(narrow(images.double()), model(images.double()))
    assert {there for _, there in channels(narrow).values()} == {1}


def test_parameters_and_operations_fall_by_what_was_counted_by_hand(plain):
    model = plain("resnet18", width=8)  # stages of 8, 16, 32 and 64 channels
    before = cost(model, size=32)
    kill(model, "layer1.0.conv2", 0, 3, 7)  # and the 3 filters of conv1 that feed it
    kill(model, "layer1.1.conv1", 1, 2, 4, 5)  # reads the residual stream
    kill(model, "layer2.0.downsample.0", 0, 6)
    after = cost(compact(model), size=32)
    linked, stream, shortcut = 2 * 3 * 8 * 9, 4 * 8 * 9, 2 * 16
    assert before["params"] - after["params"] == linked + 2 * 3 + stream + shortcut
    assert before["macs"] - after["macs"] == (linked + stream) * 32**2 + shortcut * 16**2


def test_pre_activation_blocks_lose_filters_and_the_second_batch_norm(plain):
    model = plain("wrn16_8", width=2)  # layer1 has 16 channels
    before = cost(model, size=32)
    kill(model, "layer1.1.conv2", *range(5))
    narrow = compact(model)
    after = cost(narrow, size=32)
    assert before["params"] - after["params"] == 2 * 5 * 16 * 9 + 2 * 5
    assert before["macs"] - after["macs"] == 2 * 5 * 16 * 9 * 32**2
    assert narrow.layer1[1].bn2.num_features == 11
    assert narrow.layer1[1].bn1.num_features == 16


def test_a_pruned_vgg_keeps_no_filter_that_makes_a_dead_channel(make, images):
    model = make("plain", "vgg16", prunable=True, width=8).double()
    SparseMomentum(model, Momentum(0.3, granularity="channel"), 1).begin()
    narrow = compact(freeze(model, 0.0))
    assert_equal_outputs(narrow, model, images)
    kept = [alive for alive, _ in channels(model).values()]
    assert kept[0] == 3 and sum(kept) < sum(there for _, there in channels(model).values())
    shapes = [tuple(conv.weight.shape[:2]) for conv in convs(narrow).values()]
    assert shapes == list(zip([*kept[1:], 64], kept, strict=True))
    assert not any(isinstance(layer, GatheredConv2d) for layer in narrow.modules())
    assert [len(conv.bias) for conv in convs(narrow).values()] == [*kept[1:], 64]


def test_filters_that_go_take_the_inputs_with_them_that_only_they_read(plain, images):
    model = plain("resnet50")
    kill(model, "layer1.1.conv3", 0)  # so filter 0 of conv2 goes
    with torch.no_grad():
        block = model.layer1[1]
        block.conv2.weight[1:, 2] = 0  # which alone reads channel 2, so filter 2 of conv1 goes
        block.conv1.weight[[0, 1, 3], 5] = 0  # which alone reads channel 5 of the stream
    narrow = compact(model)
    assert_equal_outputs(narrow, model, images)
    small = narrow.layer1[1]
    shapes = [tuple(conv.weight.shape[:2]) for conv in (small.conv1, small.conv2, small.conv3)]
    assert shapes == [(3, 15), (3, 3), (16, 3)]
    assert small.conv1.index.tolist() == [i for i in range(16) if i != 5]


def test_the_network_and_the_random_generator_are_left_alone(plain):
    model = plain("resnet18")
    kill_at_random(model, 0.5, seed=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    narrow = compact(model)
    with torch.no_grad():
        for p in narrow.parameters():
            p.zero_()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_a_compact_network_can_be_pruned_and_compacted_again(plain, images):
    model = plain("resnet18")
    kill(model, "layer1.1.conv1", 0, 2)
    once = compact(model)
    kill(model, "layer1.1.conv1", 1)
    kill(once, "layer1.1.conv1", 0)  # channel 1 of the network as it was
    twice = compact(once)
    assert_equal_outputs(twice, model, images)
    assert twice.layer1[1].conv1.index.tolist() == [3]


def test_training_goes_on_in_a_compact_network(plain, images):
    model = plain("resnet18").train()
    kill_at_random(model, 0.5, seed=2)
    narrow = compact(model)
    assert narrow.training
    x = images.double()
    torch.testing.assert_close(narrow(x), model(x))  # batch statistics
    narrow(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in narrow.parameters())


@pytest.mark.parametrize(
    ("method", "lam", "slim"), [("float", 0.0, 1.0), ("float", 0.7, 1.0), ("float_slim", 0.7, 0.5)]
)
def test_float_pruned_by_channels_can_be_frozen_and_compacted(make, images, method, lam, slim):
    model = make(method, "resnet20", prunable=True, width=8).double()
    sparse = SparseMomentum(model, Momentum(0.3, granularity="channel"), 1)
    sparse.begin()
    frozen = freeze(model, lam, noise=model.draw_noise(), slim=slim)
    assert (channels(model) == channels(frozen)) is (slim == 1)
    kept = sum(
        n * layer.weight[:, 0].numel()
        for layer, (n, _) in zip(sparse.layers, channels(model).values(), strict=True)
    )
    assert kept == sparse.count()
    assert_equal_outputs(compact(frozen), frozen, images)


def test_channels_of_a_path_mask_are_live_if_either_path_reads_them():
    model = create("smart", "resnet20", width=4)
    conv = model.layer3[0].conv2
    conv.mask_clean.zero_()
    conv.mask_adv.zero_()
    conv.mask_clean[0, 3, 1, 1] = True
    conv.mask_adv[2, 5, 0, 0] = True
    assert channels(model)["layer3.0.conv2"] == (2, 16)
    assert channels(model)["layer1.0.conv2"] == (4, 4)  # has no masks


def test_live_channels_of_a_grouped_convolution_are_those_of_its_inputs():
    model = nn.Sequential(nn.Conv2d(6, 4, 3, groups=2))
    kill(model, "0", 1)  # the second channel of both groups: inputs 1 and 4
    assert channels(model) == {"0": (4, 6)}
    with torch.no_grad():
        model[0].weight[:2] = 0  # the whole first group
    assert channels(model) == {"0": (2, 6)}


def test_grouped_convolutions_stay_as_they_are(plain, images):
    model = plain("resnet20")
    block = model.layer1[0]
    block.conv2 = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False).double()
    kill(model, "layer1.0.conv2", 0)
    kill(model, "layer1.0.conv1", 0)
    narrow = compact(model)
    assert_equal_outputs(narrow, model, images)
    assert narrow.layer1[0].conv1.weight.shape[:2] == (4, 3)


@pytest.mark.parametrize("method", ["plain", "float"])
def test_a_network_that_is_not_frozen_is_refused(method):
    with pytest.raises(UserError, match="freeze"):
        compact(create(method, "resnet20", width=4, prunable=True))
