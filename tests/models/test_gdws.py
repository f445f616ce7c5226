"""GDWS: optimal by exhaustive search, exact for every convolution."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune, spectral_norm

from lib.errors import UserError
from lib.models import compact, freeze
from lib.models.depthwise import FORMS, GeneralizedDepthwise, equivalents
from lib.models.gdws import Price, allocate, convert, convertible, lego, mego

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
KINDS = {
    "usual": {"padding": 1},
    "stride": {"padding": 1, "stride": 2},
    "uneven stride": {"padding": (0, 1), "stride": (2, 1)},
    "dilation": {"padding": 2, "dilation": (1, 2)},
    "bias": {"bias": True},
    "same": {"padding": "same", "kernel_size": (2, 4)},
    "valid": {"padding": "valid"},
    "reflect": {"padding": 1, "padding_mode": "reflect"},
    "circular": {"padding": (1, 2), "padding_mode": "circular", "bias": True},
    "replicate": {"padding": 2, "padding_mode": "replicate", "kernel_size": 5, "stride": 2},
    "1x3": {"kernel_size": (1, 3), "padding": (0, 1)},
    "fewer outputs than taps": {"out_channels": 3, "kernel_size": 5},
}


@pytest.fixture(params=KINDS)
def conv(request) -> nn.Conv2d:
    """A convolution of one kind, of which some channels have a lower rank than others."""
    own = {"out_channels": 12, "kernel_size": 3, "bias": False, **KINDS[request.param]}
    layer = nn.Conv2d(4, **own).double()
    with torch.no_grad():
        layer.weight[:, 1] = 0
        layer.weight[:, 2] = layer.weight[:1, 2] * torch.randn(len(layer.weight), 1, 1)
    return layer


def rebuilt(factors, inputs: int) -> torch.Tensor:
    """The weight (M, C, kh, kw) that factors stand for."""
    pointwise, depthwise, g = factors
    weight = torch.zeros(inputs, len(pointwise), *depthwise.shape[1:], dtype=torch.float64)
    channel = [c for c, n in enumerate(g) for _ in range(n)]
    for row, c in enumerate(channel):
        weight[c] += pointwise[:, row, None, None].double() * depthwise[row].double()
    return weight.transpose(0, 1)


def error(weight, alpha, factors) -> float:
    """e^2 of Eq. 5."""
    gap = (weight.double() - rebuilt(factors, weight.shape[1])).square().sum((0, 2, 3))
    return float((gap * alpha).sum())


def every_choice(weight, alpha):
    """G and e^2 of every g, from numpy's singular values."""
    tails = []
    for c, a in enumerate(alpha.tolist()):
        s = np.linalg.svd(weight[:, c].flatten(1).double().numpy(), compute_uv=False)
        tails.append([a * float((s[n:] ** 2).sum()) for n in range(len(s) + 1)])
    for g in product(*(range(len(t)) for t in tails)):
        yield sum(g), sum(t[n] for t, n in zip(tails, g, strict=True)), min(g)


@pytest.mark.parametrize("least", [0, 1])
@pytest.mark.parametrize(("outputs", "size"), [(5, (2, 2)), (3, (1, 3)), (2, (2, 2))])
def test_lego_and_mego_are_as_good_as_any_choice(outputs, size, least):
    weight, alpha = torch.randn(outputs, 3, *size).double(), torch.rand(3).double() + 0.1
    choices = [choice for choice in every_choice(weight, alpha) if choice[2] >= least]
    whole = max(e for _, e, _ in choices)
    for beta in (0.0, 0.02 * whole, 0.1 * whole, 0.4 * whole, 0.9 * whole):
        found = lego(weight, alpha, beta, least=least)
        assert len(found[1]) == min(g for g, e, _ in choices if e <= beta * (1 + 1e-9) + 1e-12)
        assert error(weight, alpha, found) <= beta + 1e-12
    for budget in range(3 * least, 3 * min(outputs, 4) + 2):
        found = mego(weight, alpha, budget, least=least)
        best = min(e for g, e, _ in choices if g <= budget)
        assert error(weight, alpha, found) == pytest.approx(best, rel=1e-9, abs=1e-12)
        assert len(found[1]) <= budget and min(found[2]) >= least


def test_beta_bounds_the_squared_error_or_as_in_theorem_2_the_error():
    weight, alpha = torch.randn(16, 8, 3, 3), torch.rand(8)
    for beta in (0.5, 3.0, 5.0):
        squared, theorem = lego(weight, alpha, beta), lego(weight, alpha, beta, squared=False)
        assert error(weight, alpha, squared) <= beta
        assert error(weight, alpha, theorem) <= beta**2
        assert theorem[2] == lego(weight, alpha, beta**2)[2]
        assert (sum(theorem[2]) < sum(squared[2])) is (beta > 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_g_counts_what_is_there_and_types_stay(dtype):
    weight = torch.randn(20, 6, 3, 3, dtype=dtype)
    for found in (lego(weight, None, 9.0), mego(weight, None, 17), mego(weight, None, 99)):
        pointwise, depthwise, g = found
        assert sum(g) == len(depthwise) == pointwise.shape[1] and len(g) == 6
        assert pointwise.shape[0] == 20 and depthwise.shape[1:] == (3, 3)
        assert pointwise.dtype == depthwise.dtype == dtype
        assert all(type(n) is int for n in g)
    assert len(mego(weight, None, 17)[1]) == 17 and len(mego(weight, None, 99)[1]) == 54


def test_without_an_error_the_rank_of_every_channel_is_found_despite_rounding():
    ranks = [0, 1, 3, 9, 2]
    parts = [torch.randn(32, r) @ torch.randn(r, 9) for r in ranks]  # rounded to float32
    weight = torch.stack(parts, 1).unflatten(2, (3, 3)) * 1e-3
    found = lego(weight, None, 0.0)
    assert found[2] == ranks == mego(weight, None, 40)[2]
    torch.testing.assert_close(rebuilt(found, 5).float(), weight, rtol=1e-5, atol=1e-8)


def test_among_equal_kernels_those_of_the_first_channels_stay():
    weight = torch.eye(4).reshape(4, 1, 2, 2).repeat(1, 3, 1, 1)  # every singular value is 1
    assert mego(weight, None, 6)[2] == [4, 2, 0]
    assert lego(weight, None, 6.0)[2] == [4, 2, 0]
    assert lego(weight, torch.tensor([0.0, 1.0, 1.0]), 0.0)[2] == [0, 4, 4]


def test_a_conversion_without_error_is_exact_for_every_kind(conv):
    x = torch.randn(3, 4, 9, 10).double()
    converted = convert(nn.Sequential(conv), beta=0.0, skip_first=False)
    assert converted[0].g[1:3] == [0, 1]
    torch.testing.assert_close(converted(x), conv(x), rtol=1e-9, atol=1e-9)
    assert convert(conv, beta=0.0, skip_first=False).g == converted[0].g


@pytest.mark.parametrize("form", FORMS)
def test_every_form_equals_the_dense_equivalent(conv, form):
    x = torch.randn(2, 4, 9, 10).double()
    factors = mego(conv.weight, None, 9)
    layer = GeneralizedDepthwise(conv, *factors)
    expected = conv._conv_forward(x, rebuilt(factors, 4), conv.bias)
    for module in (layer.executed(form), equivalents(nn.Sequential(layer), form)):
        torch.testing.assert_close(module(x), expected, rtol=1e-9, atol=1e-9)
        strided = module(x.to(memory_format=torch.channels_last))
        torch.testing.assert_close(strided, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("g", [[2, 2, 2], [1, 1, 1], [3, 0, 0], [0, 2, 1]])
def test_forms_agree_for_even_and_uneven_g(g, form):
    conv = nn.Conv2d(3, 7, 3).double()
    factors = torch.randn(7, sum(g)).double(), torch.randn(sum(g), 3, 3).double(), g
    layer, x = GeneralizedDepthwise(conv, *factors), torch.randn(2, 3, 6, 6).double()
    torch.testing.assert_close(layer.executed(form)(x), layer(x))
    torch.testing.assert_close(layer.dense().weight.detach(), rebuilt(factors, 3))


def test_without_a_kernel_the_bias_is_left(conv):
    x = torch.randn(2, 4, 9, 10).double()
    layer = convert(nn.Sequential(conv), beta=1e9, skip_first=False)[0]
    assert layer.g == [1, 0, 0, 0] and not layer.depthwise.weight.any()
    for module in (layer, layer.dense(), layer.executed("sum")):
        expected = torch.zeros_like(conv(x))
        if conv.bias is not None:
            expected += conv.bias[:, None, None]
        assert torch.equal(module(x), expected)


class Doubled(nn.Conv2d):
    """Computes something else with its weights."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_groups_are_refused_by_the_layer_and_left_by_the_conversion():
    grouped = nn.Conv2d(4, 6, 3, groups=2)
    with pytest.raises(UserError, match="groups"):
        GeneralizedDepthwise(grouped, torch.ones(6, 1), torch.ones(1, 3, 3), [1, 0, 0, 0])
    left = [nn.Conv2d(3, 4, 3), grouped, nn.Conv2d(6, 6, 1), Doubled(6, 6, 1)]
    model = nn.Sequential(*left, nn.Conv2d(6, 6, 3))
    assert list(convertible(model)) == ["4"]
    converted, x = convert(model, budget=1), torch.rand(2, 3, 9, 9)
    assert [type(layer) for layer in converted[:4]] == [type(layer) for layer in left]
    assert sum(converted[4].g) == 1
    torch.testing.assert_close(converted[:4](x), model[:4](x))


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "wrn16_8", "vgg16"])
def test_networks_convert_and_stay_as_they_are(plain, images, backbone):
    model = plain(backbone)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    exact, rough = convert(model, beta=0.0), convert(model, beta=0.3)
    x = images.double()
    torch.testing.assert_close(exact(x), model(x), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(equivalents(rough)(x), rough(x), rtol=1e-7, atol=1e-7)
    assert (rough(x) - model(x)).abs().max() > 1e-4
    assert equivalents(rough).state_dict().keys() == before.keys()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert convertible(rough).keys() == set()  # there is nothing left to convert
    names = {n for n, layer in rough.named_modules() if isinstance(layer, GeneralizedDepthwise)}
    assert names == set(convertible(model))


def test_a_frozen_network_without_its_dead_channels_converts(make, images):
    model = make("float", "resnet20").double()
    with pytest.raises(UserError, match="freeze"):
        convert(model, beta=0.0)
    frozen = freeze(model, 0.7, noise=model.draw_noise())
    with torch.no_grad():
        frozen.layer1[1].conv1.weight[:, 1] = 0
        frozen.layer2[0].conv2.weight[:, 2] = 0
    narrow = compact(frozen)
    for form in FORMS:
        converted = equivalents(convert(narrow, beta=0.0), form)
        torch.testing.assert_close(converted(images.double()), frozen(images.double()))


def test_one_budget_keeps_the_most_important_kernels_of_all_layers(plain):
    model = plain("resnet20")
    alphas = {name: torch.rand(c.in_channels) for name, c in convertible(model).items()}
    shared = convert(model, budget=150, alphas=alphas)
    total = sum(sum(shared.get_submodule(name).g) for name in alphas)
    assert total == 150
    worst = 0.0
    for name, conv in convertible(model).items():
        layer = shared.get_submodule(name)
        assert layer.g == mego(conv.weight, alphas[name], sum(layer.g))[2]
        gap = (conv.weight - layer.dense().weight).detach().square().sum((0, 2, 3))
        worst += float((gap * alphas[name]).sum())
    even = convert(model, beta=worst / len(alphas), alphas=alphas)
    assert sum(sum(even.get_submodule(name).g) for name in alphas) > total


def test_a_priced_bound_is_spent_nearly_as_well_as_it_can_be():
    generator = np.random.default_rng(0)
    for _ in range(30):
        values = {n: torch.tensor(generator.exponential(size=4) ** 3) for n in "abc"}
        prices = {n: Price(float(generator.uniform(2, 6)), 0.5, 1.0) for n in "abc"}
        bound = float(generator.uniform(0, 4))
        options = {n: [(prices[n].dense, 0.0)] for n in "abc"}
        for n, own in values.items():
            tails = [float(own.sort(descending=True).values[g:].sum()) for g in range(5)]
            options[n] += [(0.5 + g, tail) for g, tail in enumerate(tails)]
        plan = allocate(values, prices, bound)
        chosen = [options[n][plan[n] + 1 if n in plan else 0] for n in "abc"]
        paid, spent = (sum(column) for column in zip(*chosen, strict=True))
        every = [
            sum(cost for cost, _ in choice)
            for choice in product(*options.values())
            if sum(gap for _, gap in choice) <= bound
        ]
        assert spent <= bound + 1e-12
        assert min(every) - 1e-12 <= paid <= min(every) + 2


def test_a_price_decides_which_layers_convert():
    ranks = torch.tensor([3.0, 2.0, 0.0, 0.0])
    values = {"cheap": ranks, "dear": ranks}
    prices = {"cheap": Price(9, 1, 1), "dear": Price(3, 1, 1)}
    assert allocate(values, prices, 0) == {"cheap": 2}  # free, and 'dear' would only break even
    assert allocate(values, prices, 2) == {"cheap": 1}
    assert allocate(values, prices, 10) == {"cheap": 0, "dear": 0}
    assert allocate(values, {"cheap": Price(1, 2, 0), "dear": Price(3, 1, 0)}, 0) == {"dear": 2}


def test_a_converted_network_trains_on_and_loads_its_weights(plain, images, loss):
    model, x = plain("resnet20"), images.double()
    converted = convert(model.train(), beta=0.2)
    loss(converted(x)).backward()
    for layer in converted.modules():
        if isinstance(layer, GeneralizedDepthwise) and sum(layer.g):
            assert layer.depthwise.weight.grad.any() and layer.pointwise.weight.grad.any()
    other = convert(model, beta=0.2)
    other.load_state_dict(converted.state_dict())
    torch.testing.assert_close(other.eval()(x), converted.eval()(x))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "beta or budget"),
        ({"beta": 1.0, "budget": 3}, "beta or budget"),
        ({"budget": 3, "prices": {}}, "prices go with beta"),
        ({"beta": 3.0, "prices": {}, "least": 1}, "without least"),
        ({"beta": -1.0}, "beta is -1"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"budget": -1}, "budget is -1"),
        ({"beta": 0.0, "alphas": {}}, "nothing for the convolution '1'"),
        ({"beta": 0.0, "alphas": {"1": torch.ones(5)}}, "4 finite numbers"),
        ({"beta": 0.0, "alphas": {"1": -torch.ones(4)}}, "4 finite numbers"),
        ({"beta": 0.0, "least": 12}, "least is 12"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(options, words):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3))
    with pytest.raises(UserError, match=words):
        convert(model, **options)
    with torch.no_grad():
        model[1].weight[0] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        convert(model, beta=0.0)


@pytest.mark.parametrize(
    "change",
    [
        spectral_norm,
        lambda conv: prune.l1_unstructured(conv, "weight", 0.5),
        lambda conv: conv.register_forward_hook(lambda *_: None),
        lambda conv: conv.to(torch.complex64),
    ],
)
def test_weights_that_are_not_what_a_pass_takes_are_refused(change):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    change(model[1])
    with pytest.raises(UserError, match="convolution '1' has hooks, complex weights or ones"):
        convert(model, beta=0.0)


def test_a_channel_without_weights_keeps_no_kernel():
    weight = torch.rand(4, 3, 3, 3)
    weight[:, 1] = 0
    assert [bool(n) for n in lego(weight, None, 1e3, least=1)[2]] == [True, False, True]
    assert mego(weight, torch.zeros(3), 3, least=1)[2] == [1, 0, 1]
