"""The networks of GDWS: their published sizes, and what they compute."""

from functools import partial

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from lib.cost import cost
from lib.errors import UserError
from lib.models import create
from lib.models.layers import conv, norm
from lib.models.robnet import ROBNET_FREE, Cell, Reduced

staged = partial(conv, stage=1)


def filled(model: nn.Module) -> nn.Module:
    """Draw all vectors of a network, that is batch norms and biases, and put it in eval mode."""
    for value in model.state_dict().values():
        if value.dim() == 1:
            value.uniform_(0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize(
    ("backbone", "params", "mib", "mmacs"),
    [
        ("mobilenet_v1", 3_217_226, 12.3, 46.4),
        ("mobilenet_v2", 2_236_682, 8.5, 88.0),
        ("preact_resnet18", 11_172_170, 42.6, 555.4),
        ("preact_resnet18_admm", 11_171_146, 42.6, 555.4),
        ("preact_resnet50", 23_513_162, 89.7, 1297.8),
        ("resnet18", 11_173_962, 42.6, 555.4),
        ("resnet18_dws", 1_437_834, 5.5, 73.0),
        ("resnet20", 269_722, 1.0, 40.6),
        ("resnet20_40", 1_676_530, 6.4, 251.8),
        ("resnet50", 23_520_842, 89.7, 1297.8),
        ("resnet50_imagenet", 25_557_032, 97.5, 4089.2),
        ("robnet_free", 5_439_790, 20.8, 780.2),
        ("vgg16", 14_728_266, 56.2, 313.2),
        ("vgg16_bn", 14_728_266, 56.2, 313.2),
        ("vgg16_hydra", 15_311_818, 58.4, 313.8),
        ("wrn28_4", 5_849_050, 22.3, 845.6),
    ],
)
def test_networks_have_their_published_sizes_and_operations(backbone, params, mib, mmacs):
    large = backbone.endswith("imagenet")
    counts = cost(create("plain", backbone, 1000 if large else 10), size=224 if large else 32)
    assert counts["params"] == params and round(4 * params / 2**20, 1) == mib
    assert round(counts["macs"] / 1e6, 1) == mmacs


def test_backbones_refuse_the_methods_that_they_cannot_be_built_by(refused):
    for backbone, methods in refused.items():
        assert methods
        for method in methods:
            with pytest.raises(UserError, match="choose a method"):
                create(method, backbone, width=4)


def test_the_imagenet_resnet_is_torchvisions():
    theirs = filled(torchvision.models.resnet50())
    ours = create("plain", "resnet50_imagenet", 1000).eval()
    stem = ours.conv1.weight
    assert float(stem.detach().std()) == pytest.approx((2 / (49 * 64)) ** 0.5, rel=0.05)
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 40, 40).double()  # whatever kernels this processor has
    with torch.no_grad():
        torch.testing.assert_close(ours.double()(x), theirs.double()(x))


def test_mobilenet_v2_is_torchvisions_with_two_strides_less():
    theirs = filled(torchvision.models.mobilenet_v2(num_classes=10))
    ours = create("plain", "mobilenet_v2").eval()
    for strided in (theirs.features[0][0], theirs.features[2].conv[1][0]):
        assert strided.stride == (2, 2)
        strided.stride = (1, 1)
    values = theirs.state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))
    x = torch.rand(2, 3, 16, 16).double()
    with torch.no_grad():
        torch.testing.assert_close(ours.double()(x), theirs.double()(x))


def test_mobilenet_v1_halves_the_image_four_times_by_depthwise_convolutions():
    model = create("plain", "mobilenet_v1")
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    strided = [m for m in layers if m.stride == (2, 2)]
    assert [m.groups for m in strided] == [64, 128, 256, 512] and len(layers) == 27
    assert all(m.kernel_size == ((3, 3) if m.groups > 1 else (1, 1)) for m in layers[1:])


def test_a_depthwise_separable_resnet_is_one_of_kernels_that_are_products():
    light = filled(create("plain", "resnet18_dws", width=4))
    state = light.state_dict()
    for name in [name for name in state if name.endswith(("conv1.0.weight", "conv2.0.weight"))]:
        kernels = state.pop(name)
        mixing = name.replace("0.weight", "1.weight")
        state[name.replace("0.weight", "weight")] = state.pop(mixing) * kernels.transpose(0, 1)
    full = create("plain", "preact_resnet18", width=4).eval()
    full.load_state_dict(state)
    x = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(light(x), full(x), rtol=1e-4, atol=1e-5)


def through_block(block: nn.Module, x: torch.Tensor, stride: int) -> torch.Tensor:
    """Norm, ReLU and convolution two or three times; the last but one has the stride."""
    weights = [getattr(block, f"conv{n}").weight for n in (1, 2, 3) if hasattr(block, f"conv{n}")]
    out, active = x, F.relu(block.bn1(x))
    for n, weight in enumerate(weights, start=1):
        own = stride if n == len(weights) - 1 else 1
        out = F.relu(getattr(block, f"bn{n}")(out))
        out = F.conv2d(out, weight, stride=own, padding=weight.shape[-1] // 2)
    if out.shape == x.shape:
        return out + x
    return out + F.conv2d(active, block.downsample[0].weight, stride=stride)


@pytest.mark.parametrize("backbone", ["preact_resnet18", "preact_resnet50", "preact_resnet18_admm"])
def test_pre_activation_resnets_are_what_their_authors_describe(backbone):
    model, images = filled(create("plain", backbone, width=4)), torch.rand(2, 3, 16, 16)
    x = F.conv2d(images, model.conv1.weight, padding=1)
    for stage in (1, 2, 3, 4):
        for index, block in enumerate(getattr(model, f"layer{stage}")):
            x = through_block(block, x, 2 if stage > 1 and index == 0 else 1)
    if backbone.endswith("admm"):
        assert model.bn is None
    else:
        x = F.relu(model.bn(x))
    torch.testing.assert_close(model(images), model.fc(x.mean((2, 3))), rtol=1e-4, atol=1e-5)


def test_vggs_begin_as_their_authors_had_them():
    names = ("vgg16", "vgg16_bn", "vgg16_hydra")
    dnr, torchs, hydra = (create("plain", name, width=16) for name in names)
    assert dnr.state_dict().keys() == torchs.state_dict().keys()
    for net, scale in ((dnr, 0.5), (torchs, 1), (hydra, 1)):
        norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
        assert len(norms) == 13 and all((m.weight == scale).all() for m in norms)
    last = torchs.layer5[2].conv
    bound = (9 * 128) ** -0.5  # torch draws uniformly
    assert bound * 0.99 < float(last.weight.detach().abs().max()) <= bound
    assert float(last.bias.detach().abs().max()) > 0
    last = hydra.layer5[2].conv
    assert last.bias is None and not any(name.endswith("conv.bias") for name in hydra.state_dict())
    assert float(last.weight.detach().std()) == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.05)
    for layer in (hydra.hidden1, hydra.hidden2, hydra.fc):
        assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.1)  # 0.01 at 64
        assert (layer.bias == 0).all()


@pytest.mark.parametrize(("size", "last"), [(8, 1), (32, 1), (64, 2)])
def test_images_of_any_size_are_pooled_five_times_at_most_to_a_pixel(size, last):
    model, sizes = create("plain", "vgg16", width=2, num_classes=7).eval(), []
    model.layer5.register_forward_hook(lambda *call: sizes.append(call[2].shape[-1]))
    assert model(torch.rand(2, 3, size, size)).shape == (2, 7)
    assert sizes == [max(1, size // 16)] and -(-sizes[0] // 2) == last


@pytest.mark.parametrize("size", [8, 32, 64])
def test_hydras_vgg_pools_four_times_and_keeps_quarters(size):
    model, seen = filled(create("plain", "vgg16_hydra", width=2)), {}
    model.layer5.register_forward_hook(lambda *call: seen.update(out=call[2]))
    model.hidden1.register_forward_hook(lambda *call: seen.update(inputs=call[1][0]))
    logits = model(torch.rand(2, 3, size, size))
    assert seen["out"].shape == (2, 16, max(1, size // 16), max(1, size // 16))
    quarters = F.adaptive_avg_pool2d(seen["out"], 2).flatten(1)
    torch.testing.assert_close(seen["inputs"], quarters)
    hidden = F.relu(model.hidden2(F.relu(model.hidden1(quarters))))
    torch.testing.assert_close(logits, model.fc(hidden))


@pytest.mark.parametrize("size", [8, 7])
def test_a_reduction_reads_even_and_odd_pixels(size):
    layer = filled(Reduced(3, 4, staged, norm))
    x = torch.randn(2, 3, size, size)
    even, odd = layer.even[0].weight, layer.odd[0].weight
    padded = F.pad(F.relu(x), (0, size % 2, 0, size % 2))
    found = [F.conv2d(padded[:, :, i:, i:], w, stride=2) for i, w in ((0, even), (1, odd))]
    torch.testing.assert_close(layer(x), layer.bn(torch.cat(found, dim=1)))


def test_the_cells_of_robnet_are_four_steps_that_all_read_something():
    assert len(ROBNET_FREE) == 20
    for words in map(str.split, ROBNET_FREE):
        assert [len(word) for word in words] == [2, 3, 4, 5]
        assert all(set(word) <= set("SIRZ") and word.strip("Z") for word in words)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_cell_adds_up_what_its_letters_say(stride):
    cell = filled(Cell("IS RZI", (3, 5), 4, stride, False, staged, norm))
    before, last = torch.randn(2, 3, 8, 8), torch.randn(2, 5, 8, 8)

    def separable(way: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
        for start, step in ((0, stride), (4, 1)):
            depthwise, pointwise, scaled = way[start + 1 : start + 4]
            x = F.conv2d(F.relu(x), depthwise.weight, stride=step, padding=1, groups=4)
            x = scaled(F.conv2d(x, pointwise.weight))
        return x

    a, b = cell.before(before), cell.last(last)
    first, second = cell.steps
    assert list(first) == ["0", "1"] and list(second) == ["0", "2"]
    assert isinstance(first["0"][0], nn.Identity if stride == 1 else Reduced)
    one = first["0"][0](a) + separable(first["1"][0], b)
    two = separable(second["0"][0], a) + second["0"][1](a) + one
    torch.testing.assert_close(cell(before, last), torch.cat([one, two], 1))


def test_robnet_reads_the_two_cells_before_and_halves_twice():
    model, shapes = create("plain", "robnet_free", width=2).eval(), []
    for cell in model.cells:
        cell.register_forward_hook(lambda _, inputs, out: shapes.append((inputs, out)))
    model(torch.rand(2, 3, 8, 8))
    outputs = [out for _, out in shapes]
    assert [out.shape[1:] for out in outputs] == [
        *[(8, 8, 8)] * 6, *[(16, 4, 4)] * 7, *[(32, 2, 2)] * 7
    ]  # fmt: skip
    for index, ((before, last), _) in enumerate(shapes[2:]):
        assert before is outputs[index] and last is outputs[index + 1]
