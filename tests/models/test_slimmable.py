"""Sub-networks of slimmable networks: what they compute, share, learn and refuse."""

import copy

import pytest
import torch
from torch import nn

from lib import cost
from lib.errors import UserError
from lib.models import BACKBONES, classifier, create, effective_weights, freeze

SLIM = ["float_slim", "oat_slim"]
every_slim_method = pytest.mark.parametrize("method", SLIM)
every_backbone = pytest.mark.parametrize("backbone", sorted(BACKBONES))


def own_network(model: nn.Module, method: str, backbone: str) -> nn.Module:
    """A network of half the width whose state is cut out of the full one by index lists."""
    options = {"code_dim": model.encoder.code_dim} if model.encoder else {"noise": False}
    narrow = create(method.removesuffix("_slim"), backbone, width=2, **options).eval()
    full, state = model.state_dict(), {}
    for name, value in narrow.state_dict().items():
        layer, _, leaf = name.rpartition(".")
        site = layer.removesuffix(".adv")
        if ".film.linear2" in name:  # rows: first the scales, then the shifts
            channels = len(full[name]) // 2
            half = list(range(channels // 2))
            rows = full[name][half + [channels + row for row in half]]
            state[name] = rows if leaf == "bias" else rows[:, : value.shape[1]]
        elif isinstance(model.get_submodule(site), nn.BatchNorm2d):
            state[name] = full[f"{site}.slims.0_5{layer.removeprefix(site)}.{leaf}"]
        else:
            state[name] = full[name][tuple(slice(size) for size in value.shape)]
    narrow.load_state_dict(state)
    return narrow


@every_backbone
@every_slim_method
@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_a_sub_network_is_bit_equal_to_a_narrow_network_of_the_sliced_state(
    make, images, backbone, method, lam
):
    model = make(method, backbone, **{"noise": False} if method == "float_slim" else {})
    narrow = own_network(model, method, backbone)
    got = model(images, lam, slim=0.5)
    assert torch.equal(got, narrow(images, lam))
    assert not torch.allclose(got, model(images, lam))


@every_backbone
@every_slim_method
@pytest.mark.parametrize(("lam", "threshold"), [(0.0, 0.0), (1.0, 0.0), (0.2, 0.5)])
def test_a_frozen_sub_network_is_plain_and_narrow(make, images, backbone, method, lam, threshold):
    model = make(method, backbone)
    call = {"noise": model.draw_noise(), "slim": 0.5}
    if method == "float_slim":
        call["threshold"] = threshold
    plain = create("plain", backbone, width=2).eval()
    plain.load_state_dict(freeze(model, lam, **call).state_dict())
    got = model(images, lam, **call)
    if method == "float_slim":
        assert torch.equal(plain(images), got)
    else:  # FiLM's scale and shift are folded into the batch norm, which rounds differently
        torch.testing.assert_close(plain(images), got, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("granularity", ["layer", "channel", "element"])
def test_a_narrow_weight_is_the_leading_slice_of_the_noisy_masked_full_weight(
    make, weights_by_hand, granularity
):
    model = make("float_slim", granularity=granularity, noise_fc=True, prunable=True)
    for layer in model.modules():
        if getattr(layer, "mask", None) is not None:
            layer.mask.copy_(torch.rand(layer.mask.shape) < 0.5)
    noise = model.draw_noise()
    full = weights_by_hand(model, 0.7, noise)
    narrow = effective_weights(model, 0.7, noise=noise, slim=0.5)
    shapes = create("plain", "resnet20", width=2).state_dict()
    assert narrow.keys() == full.keys()
    for name, weight in narrow.items():
        expected = full[name]
        mask = getattr(model.get_submodule(name.removesuffix(".weight")), "mask", None)
        expected = expected if mask is None else expected * mask
        out, inputs = shapes[name].shape[:2]
        torch.testing.assert_close(weight, expected[:out, :inputs])


@every_slim_method
def test_at_full_width_it_is_bit_equal_to_the_network_of_one_width(make, images, method):
    names, fresh = (method, method.removesuffix("_slim")), []
    for name in names:
        torch.manual_seed(3)
        fresh.append(dict(create(name, "resnet20", width=4).state_dict()))
    shared = {name: value for name, value in fresh[0].items() if ".slims.0_5." not in name}
    torch.testing.assert_close(shared, fresh[1], rtol=0, atol=0)
    model, single = map(make, names)
    model.load_state_dict(single.state_dict(), strict=False)
    noise = model.draw_noise()
    for lam in (0.0, 0.7):
        assert torch.equal(model(images, lam, noise=noise), single(images, lam, noise=noise))


@every_slim_method
def test_a_width_depends_on_the_weights_inside_its_slice_alone(make, images, method):
    model = make(method)
    narrow, full = model(images, 0.0, slim=0.5), model(images, 0.0)
    weight = model.layer2[0].conv2.weight
    with torch.no_grad():
        weight[4:] += 1
        weight[:, 4:] += 1
        assert torch.equal(model(images, 0.0, slim=0.5), narrow)
        assert not torch.equal(model(images, 0.0), full)
        weight[0, 3] += 1
        assert not torch.equal(model(images, 0.0, slim=0.5), narrow)


def test_a_width_of_film_depends_on_its_own_scales_and_shifts_alone(make, images):
    model = make("oat_slim")
    narrow = model(images, 0.0, slim=0.5)
    film = model.bn1.film  # of 4 channels: rows 0 to 3 are scales, 4 to 7 shifts
    with torch.no_grad():
        film.linear1.bias[4:] += 1
        film.linear2.bias[[2, 3, 6, 7]] += 1
        film.linear2.weight[:, 4:] += 1
        assert torch.equal(model(images, 0.0, slim=0.5), narrow)
        film.linear2.bias[5] += 1
        assert not torch.equal(model(images, 0.0, slim=0.5), narrow)


@every_slim_method
def test_training_a_width_moves_the_statistics_of_that_width_and_path_alone(make, images, method):
    model = make(method).train()
    before = copy.deepcopy(model.state_dict())
    model(images, 1.0, slim=0.5)
    moved = {
        name
        for name, value in model.state_dict().items()
        if "running_mean" in name and not torch.equal(value, before[name])
    }
    norms = {name for name in before if "running_mean" in name}
    assert moved == {name for name in norms if ".slims.0_5.adv." in name}


def test_a_width_learns_inside_its_slice_alone(make, images, loss):
    model = make("float_slim").train()
    loss(model(images, 1.0, slim=0.5)).backward()
    gradient = model.layer2[0].conv2.weight.grad
    assert (gradient[:4, :4] != 0).any()
    assert (gradient[4:] == 0).all() and (gradient[:, 4:] == 0).all()
    assert model.bn1.weight.grad is None
    assert model.conv1.weight.grad[:, 2].abs().sum() > 0  # the image keeps its channels


@every_slim_method
def test_costs_are_those_of_one_width_and_of_the_frozen_sub_network(make, method):
    single = cost.cost(make(method.removesuffix("_slim")))
    model = make(method)
    got = cost.cost(model)
    own_norms = sum(value.numel() for name, value in model.named_parameters() if "slims" in name)
    assert got.pop("params") == single.pop("params") + own_norms
    assert got == single
    narrow = cost.cost(freeze(model, 0.0, slim=0.5))
    assert narrow == cost.cost(create("plain", "resnet20", width=2))


def test_any_factors_will_do_that_leave_whole_channels(images):
    model = create("float_slim", "resnet20", width=12, slims=(1.0, 1 / 3, 0.75)).eval()
    assert "bn1.slims.0_75.adv.weight" in model.state_dict()
    for slim, width in ((1 / 3, 4), (0.75, 9)):
        assert freeze(model, 1.0, slim=slim).fc.in_features == 4 * width
        assert model(images, 1.0, slim=slim).isfinite().all()


def test_the_full_width_alone_is_the_network_of_one_width():
    model = create("float_slim", "resnet20", width=1, slims=(1.0,))
    assert model.state_dict().keys() == create("float", "resnet20", width=1).state_dict().keys()


@pytest.mark.parametrize(
    ("method", "slim", "message"),
    [
        ("float_slim", 0.25, r"slim is 0.25 but this network was built for slims 0\.5, 1 only"),
        ("oat_slim", float("nan"), "slim is nan"),
        ("float", 0.5, "this FLOAT network has one width; leave it at 1"),
        ("smart", 0.5, "this SMART network has one width; .* create one with slims"),
    ],
)
def test_widths_that_were_not_built_are_refused(make, images, method, slim, message):
    model = make(method)
    for call in (model, lambda x, lam, slim: freeze(model, lam, slim=slim)):
        with pytest.raises(UserError, match=message):
            call(images, 0.0, slim=slim)
    assert model(images, 0.0).isfinite().all()


def test_a_plain_network_refuses_a_width_instead_of_ignoring_it(make):
    for use in (classifier, effective_weights, freeze):
        with pytest.raises(UserError, match="plain network has one width"):
            use(make("plain"), 0.0, slim=0.5)


@pytest.mark.parametrize(
    ("width", "slims", "message"),
    [
        (1, (0.5, 1.0), "slim 0.5 leaves 0.5 of 1 channels"),
        (4, (0.3, 1.0), "slim 0.3 leaves 1.2 of 4 channels"),
    ],
)
@every_slim_method
def test_impossible_widths_are_refused_at_creation(method, width, slims, message):
    with pytest.raises(UserError, match=message):
        create(method, "resnet20", width=width, slims=slims)
