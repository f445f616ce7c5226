"""Networks as they are asked for: sizes, shapes, refusals."""

import pytest
import torch
from torch import nn

from lib.errors import UserError
from lib.models import BACKBONES, create, freeze
from lib.models.variants import Backbone


def million(model):
    return sum(weight.numel() for weight in model.parameters()) / 1e6


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        ("plain", {}, 21_282_122),
        ("pgd_at", {}, 21_282_122),
        ("oat", {"encoding": "none", "dual_bn": False}, 31_403_978),
        ("oat", {}, 33_355_466),
        ("float", {}, 21_299_182),
        ("smart", {}, 21_299_182),
        ("pni", {"noise_fc": False}, 21_282_158),
        ("pni", {}, 21_282_159),
    ],
)
def test_resnet34_has_the_parameters_of_the_ledger(method, options, expected):
    with torch.device("meta"):
        model = create(method, "resnet34", **options)
    assert sum(weight.numel() for weight in model.parameters()) == expected


@pytest.mark.parametrize(
    ("backbone", "plain", "oat"), [("wrn16_8", 10.961, 15.437), ("wrn40_2", 2.244, 3.227)]
)
def test_wide_resnets_have_the_published_sizes(backbone, plain, oat):
    with torch.device("meta"):
        assert million(create("plain", backbone)) == pytest.approx(plain, abs=5e-4)
        model = create("oat", backbone, encoding="none", dual_bn=False)
        assert million(model) == pytest.approx(oat, abs=5e-4)


def test_pni_has_twenty_noisy_layers_and_the_parameters_of_its_code():
    model = create("pni", "resnet20", normalise=((0.5,), (0.25,)))
    assert len(model.noisy) == 20 and sum(p.numel() for p in model.parameters()) == 269_742


def test_resnet20_begins_as_its_authors_had_it_and_has_shortcuts_of_zeros():
    model = create("float_slim", "resnet20", slims=(0.5, 1.0))
    for layer in (model.conv1, model.layer2[0].conv1, model.layer3[2].conv2):
        outputs, _, height, width = layer.weight.shape
        assert float(layer.weight.detach().std()) == pytest.approx(
            (2 / (height * width * outputs)) ** 0.5, rel=0.15
        )
    assert float(model.fc.weight.detach().std()) == pytest.approx((2 / 64) ** 0.5, rel=0.15)
    assert (model.fc.bias == 0).all()
    for channels in (16, 8):  # 8 at half the width
        x = torch.rand(2, channels, 9, 9)
        pooled = nn.functional.avg_pool2d(x, 1, 2)
        expected = torch.cat([pooled, torch.zeros_like(pooled)], 1)
        assert torch.equal(model.layer2[0].downsample(x), expected)
    assert model.layer1[0].downsample is None


@pytest.mark.parametrize("method", ["plain", "pni"])
def test_normalised_networks_take_images_as_they_are(method):
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    bare = create(method, "resnet20", width=4).eval()
    model = create(method, "resnet20", width=4, normalise=(mean, std)).eval()
    missing, unexpected = model.load_state_dict(bare.state_dict(), strict=False)
    assert (missing, unexpected) == (["mean", "std"], [])
    x = torch.rand(4, 3, 8, 8)
    moved = torch.stack([(x[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    call = {"noise": model.draw_noise()} if method == "pni" else {}
    torch.testing.assert_close(model(x, **call), bare(moved, **call))
    torch.testing.assert_close(freeze(model, **call)(x), model(x, **call))


def test_the_same_seed_gives_the_same_weights_with_and_without_noise_and_masks():
    states = []
    for method in ("plain", "pni", "float", "smart"):
        torch.manual_seed(3)
        states.append(create(method, "resnet20", width=4).state_dict())
    for name, value in states[0].items():
        assert all(torch.equal(state[name], value) for state in states[1:])


def test_dropout_acts_in_training_only():
    model = create("float", "wrn16_8", width=2, dropout=0.3)
    x = torch.rand(4, 3, 8, 8)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    one = model(x, 0.0)
    model.load_state_dict(state)
    assert not torch.equal(model(x, 0.0), one)
    model.eval()
    assert torch.equal(model(x, 0.0), model(x, 0.0))


class Depthwise(nn.Module):
    """A backbone that asks for biases, groups, dilation and other batch norms."""

    def __init__(self, groups, width=8, num_classes=10, in_channels=3, *, conv, norm, linear):
        super().__init__()
        where = {"stage": 1, "site": "branch", "bias": True}
        self.conv1 = conv(in_channels, width, 3, padding=1, stage=0, site="stem", bias=True)
        self.conv2 = conv(width, width, 3, groups=groups(width), dilation=2, **where)
        self.bn = norm(width, site="branch", eps=0.1, momentum=0.5)
        self.fc = linear(width, num_classes, bias=False)

    def forward(self, x):
        return self.fc(self.bn(self.conv2(self.conv1(x)).relu()).mean((2, 3)))


@pytest.mark.parametrize(
    ("method", "groups", "slim"),
    [*((m, True, 1.0) for m in ("plain", "pni", "oat", "float", "smart")),
     *((m, False, 0.5) for m in ("float_slim", "oat_slim"))],
)  # fmt: skip
@pytest.mark.parametrize("prunable", [False, True])
def test_layers_have_what_a_backbone_asks_for(monkeypatch, method, groups, slim, prunable):
    def number(width):
        return width if groups else 1

    monkeypatch.setitem(BACKBONES, "own", Backbone(Depthwise, (number,), 8, 1))
    options = {"pattern": "S"} if method == "smart" else {}
    model = create(method, "own", prunable=prunable, **options).eval()
    for name, value in model.state_dict().items():
        if "running" in name or name.endswith("bias"):
            value.uniform_(0.5, 1)
    x = torch.rand(2, 3, 8, 8)
    if method == "plain":
        assert (model.conv2.groups, model.conv2.dilation) == (8, (2, 2))
        assert (model.bn.eps, model.bn.momentum, model.fc.bias) == (0.1, 0.5, None)
        torch.testing.assert_close(freeze(model)(x), model(x))
        return
    noise = model.draw_noise()
    plain = freeze(model, 1.0, noise=noise, slim=slim)
    assert len(plain.conv2.bias) == 8 * slim and (plain.bn.eps, plain.bn.momentum) == (0.1, 0.5)
    torch.testing.assert_close(plain(x), model(x, 1.0, noise=noise, slim=slim))


def test_grouped_convolutions_have_one_width(monkeypatch):
    monkeypatch.setitem(BACKBONES, "own", Backbone(Depthwise, (lambda width: width,), 8, 1))
    with pytest.raises(UserError, match="without slims"):
        create("float_slim", "own")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("flot", "resnet18"), {}, "did you mean 'float'"),
        (("float", "resnet43"), {}, "did you mean 'resnet"),
        (("float", "resnet18"), {"dualbn": True}, "did you mean 'dual_bn'"),
        (("plain", "resnet18"), {"alpha": 0.1}, "option of plain 'alpha'"),
        (("smart", "resnet18"), {"granularity": "row"}, "granularity 'row'"),
        (("oat", "resnet18"), {"encoding": "ortho"}, "did you mean 'orthogonal'"),
        (("plain", "resnet18"), {"width": 0}, "width is 0"),
        (("plain", "resnet18"), {"num_classes": 0}, "num_classes is 0"),
        (("plain", "resnet18"), {"in_channels": 0}, "in_channels is 0"),
        (("plain", "resnet18"), {"dropout": 0.3}, "wide ResNets only"),
        (("plain", "wrn16_8"), {"dropout": 1.3}, "dropout is 1.3"),
    ],
)
def test_impossible_networks_are_refused(arguments, options, message):
    with pytest.raises(UserError, match=message):
        create(*arguments, **options)
