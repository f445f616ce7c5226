"""What holds for every backbone and every method."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lib.methods import METHODS
from lib.models import BACKBONES, Conditional, classifier, create, freeze

CONDITIONED = sorted(name for name, method in METHODS.items() if method.conditional)
every_backbone = pytest.mark.parametrize("backbone", sorted(BACKBONES))
every_method = pytest.mark.parametrize("method", CONDITIONED)


@every_backbone
@pytest.mark.parametrize("method", ["plain", "pgd_at"])
def test_plain_networks_consist_of_torch_layers(make, backbone, method):
    model = make(method, backbone)
    assert not isinstance(model, Conditional)
    leaves = [layer for layer in model.modules() if not list(layer.children())]
    assert all(type(layer).__module__.startswith("torch.nn") for layer in leaves)


@every_backbone
@every_method
def test_a_plain_checkpoint_loads_into_every_method(make, backbone, method):
    plain, model = make("plain", backbone), make(method, backbone)
    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    own = ("alpha", "mask_clean", "mask_adv", ".adv.", ".film.", "encoder.", ".slims.")
    assert not unexpected
    assert all(any(part in key for part in own) for key in missing)
    ours, theirs = (next(n.parameters()) for n in (model, plain))
    torch.testing.assert_close(ours, theirs)


@every_backbone
@pytest.mark.parametrize("method", ["plain", "pni", "float", "float_slim", "smart"])
def test_without_noise_and_masks_it_is_bit_equal_to_a_plain_network(make, images, backbone, method):
    options = {"pattern": "D" * BACKBONES[backbone].stages} if method == "smart" else {}
    plain, model = make("plain", backbone), make(method, backbone, prunable=True, **options)
    model.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(classifier(model, 0.0)(images), plain(images))


@every_backbone
@pytest.mark.parametrize("lam", [0.0, 0.2, 1.0])
@every_method
def test_a_call_is_that_of_plain_weights_made_by_hand(make, oracle, images, backbone, method, lam):
    model = make(method, backbone)
    noise = model.draw_noise()
    expected = oracle(model, method, backbone, images, lam, noise)
    got = model(images, lam, noise=noise)
    assert got.std() > 0
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@every_backbone
@every_method
def test_a_frozen_network_equals_the_model_and_leaves_it_alone(make, images, backbone, method):
    model = make(method, backbone)
    before = copy.deepcopy(model.state_dict())
    noise = model.draw_noise()
    for lam in (0.0, 0.7):
        plain = freeze(model, lam, noise=noise)
        assert type(plain) is BACKBONES[backbone].build
        assert plain.state_dict().keys() == create("plain", backbone, width=4).state_dict().keys()
        leaves = [layer for layer in plain.modules() if not list(layer.children())]
        assert all(type(layer).__module__.startswith("torch.nn") for layer in leaves)
        expected = model(images, lam, noise=noise)
        torch.testing.assert_close(plain(images), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@every_backbone
@every_method
def test_every_parameter_of_the_adversarial_path_learns(make, images, loss, backbone, method):
    model = make(method, backbone).train()
    for slim in model.slims:
        loss(model(images, lam=1.0, split=3, slim=slim)).backward()
    still = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert still == []


@every_method
def test_nothing_of_a_call_is_left_for_the_next(make, images, method):
    model = make(method)
    fresh = model(images, 0.0)
    for slim in model.slims:
        model(images, 1.0, slim=slim)
        assert model.condition == type(model.condition)()  # which holds no tensor
        assert torch.equal(model(images, 0.0), fresh)
        with pytest.raises(RuntimeError):
            model(images[:, :2], 1.0, slim=slim)
        assert torch.equal(model(images, 0.0), fresh)


def test_two_networks_do_not_disturb_each_other(make, images):
    one, other = make("smart"), make("float")
    alone = one(images, 0.0), other(images, 0.0)

    class Nested(nn.Module):
        def forward(self, x):
            other(images, 1.0)
            return x

    one.layer2.append(Nested())
    assert torch.equal(one(images, 0.0), alone[0])
    assert torch.equal(other(images, 0.0), alone[1])


def test_two_calls_followed_by_one_backward_give_both_gradients(make, images, loss):
    model = make("smart")
    noise, weight = model.draw_noise(), model.layer3[0].conv1.weight
    losses = [loss(model(images, lam, noise=noise)) for lam in (0.0, 1.0)]
    apart = [torch.autograd.grad(one, weight)[0] for one in losses]
    both = loss(model(images, 0.0)) + loss(model(images, 1.0, noise=noise))
    torch.testing.assert_close(torch.autograd.grad(both, weight)[0], apart[0] + apart[1])


@every_method
def test_a_copy_is_equal_and_independent(make, images, method):
    model = make(method)
    twin = copy.deepcopy(model)
    noise = model.draw_noise()
    conditions = {id(m.condition) for m in twin.modules() if hasattr(m, "condition")}
    assert len(conditions) == 1 and id(model.condition) not in conditions
    assert torch.equal(twin(images, 0.7, noise=noise), model(images, 0.7, noise=noise))
    before = model(images, 0.7, noise=noise)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    assert torch.equal(model(images, 0.7, noise=noise), before)


@every_method
def test_a_saved_network_loads_again(make, images, method, tmp_path):
    torch.manual_seed(5)
    model = make(method)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(6)
    other = make(method)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    noise = model.draw_noise()
    for lam in (0.0, 0.7):
        got = other.eval()(images, lam, noise=noise)
        assert torch.equal(got, model(images, lam, noise=noise))


@pytest.mark.parametrize(
    ("method", "lam", "train"),
    [
        ("float", 0.0, True),
        ("smart", 1.0, True),
        ("smart", 0.0, False),
        ("oat", 0.2, False),
        ("oat_slim", 0.2, False),
    ],
)
def test_it_compiles_without_graph_breaks(make, images, method, lam, train):
    torch.compiler.reset()
    film = method.startswith("oat")
    model = make(method, "wrn16_8" if film else "resnet20").train(train)
    twin = copy.deepcopy(model)
    fast = torch.compile(model, fullgraph=True, backend="eager")
    noise = model.draw_noise()
    for value, slim in ((lam, model.slims[0]), (0.7 if film else 1.0 - lam, 1.0)):
        got = fast(images, value, noise=noise, slim=slim)
        torch.testing.assert_close(got, twin(images, value, noise=noise, slim=slim))
    fast(images, lam)
    assert model.condition == type(model.condition)()


@every_backbone
@pytest.mark.parametrize("method", ["plain", "float", "smart"])
@pytest.mark.parametrize(("width", "size", "channels"), [(1, 8, 1), (3, 13, 2)])
def test_any_width_and_image_size_works(backbone, method, width, size, channels):
    model = create(method, backbone, 5, channels, width).eval()
    logits = classifier(model, 1.0)(torch.rand(2, channels, size, size))
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()


@pytest.mark.parametrize(("method", "slim"), [("smart", 1.0), ("float_slim", 0.5)])
def test_channels_last_and_contiguous_networks_are_the_same_function(make, images, method, slim):
    model = make(method)
    call = {"noise": model.draw_noise(), "slim": slim}
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    last.set_condition(1.0, **call)
    weight = last.layer3[0].conv1.effective_weight()
    assert weight.is_contiguous(memory_format=torch.channels_last)
    want = model(images, 1.0, **call)
    torch.testing.assert_close(last(images, 1.0, **call), want, rtol=1e-4, atol=1e-5)


@every_method
def test_weights_stay_in_single_precision_under_autocast(make, images, method):
    model = make(method).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.set_condition(1.0)
        weights = [layer.effective_weight() for layer in model.noisy]
        logits = model(images, 1.0)
    assert {weight.dtype for weight in weights} <= {torch.float32}
    assert logits.isfinite().all()
