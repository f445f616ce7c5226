"""Noise, batch-norm routing, gradients: what the conditional layers do."""

import copy

import pytest
import torch

from lib.errors import UserError
from lib.models import classifier, create, effective_weights


@pytest.mark.parametrize(
    ("method", "lam", "expected"),
    [("float", None, False), ("float", 0.3, True), ("pni", None, True), ("pni", 0.0, False)],
)
def test_noise_is_fresh_in_every_call_of_a_noisy_path(make, images, method, lam, expected):
    model = make(method)
    assert torch.equal(model(images, lam), model(images, lam)) is not expected


def test_the_clean_path_draws_no_random_numbers(make, images):
    model = make("smart")
    state = torch.get_rng_state()
    model(images, 0.0)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_generator_fixes_the_noise():
    model = create("float", "resnet20", width=4)
    one, other, third = (model.draw_noise(torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one, other) and not torch.equal(one, third)


@pytest.mark.parametrize("granularity", ["layer", "channel", "element"])
def test_alpha_and_weight_get_analytic_gradients_at_fixed_sigma(make, images, loss, granularity):
    model = make("pni", granularity=granularity).double()
    layer = model.layer2[0].conv1
    noise = model.draw_noise()
    eta = layer.eta(noise)
    upstream = []
    original = layer.effective_weight

    def watched():
        weight = original()
        weight.register_hook(upstream.append)
        return weight

    layer.effective_weight = watched
    loss(model(images.double(), 0.6, noise=noise)).backward()
    sigma = layer.weight.detach().std()
    torch.testing.assert_close(layer.weight.grad, upstream[0])
    pull = (upstream[0] * 0.6 * sigma * eta).sum_to_size(layer.alpha.shape)
    if granularity == "layer":
        pull = (upstream[0] * 0.6 * sigma * eta).sum().reshape(1)
    torch.testing.assert_close(layer.alpha.grad, pull)


def test_weights_outside_their_path_get_no_gradient(make, images, loss):
    model = make("smart")
    layer = model.layer3[1].conv1
    for lam, mask in ((0.0, layer.mask_clean), (1.0, layer.mask_adv)):
        layer.weight.grad = None
        loss(model(images, lam)).backward()
        assert (layer.weight.grad[~mask] == 0).all()
        assert (layer.weight.grad[mask] != 0).any()


@pytest.mark.parametrize("method", ["plain", "float", "smart"])
def test_pruned_weights_are_silent_but_still_get_their_gradient(make, images, loss, method):
    model = make(method, prunable=True)
    layer = model.layer1[0].conv1
    layer.mask[:, 0] = False
    assert (effective_weights(model, 1.0)["layer1.0.conv1.weight"][:, 0] == 0).all()
    loss(classifier(model, 1.0)(images)).backward()
    assert (layer.weight.grad[:, 0] != 0).any()


@pytest.mark.parametrize("method", ["float", "smart", "oat"])
@pytest.mark.parametrize("split", [0, 2, 6])
def test_a_split_batch_feeds_each_batch_norm_its_own_samples(make, images, method, split):
    model = make(method).train()
    norm = model.bn1
    clean, adv = norm.running_mean.clone(), norm.adv.running_mean.clone()
    model(images, lam=0.0, split=split)
    features = torch.nn.functional.conv2d(images, model.conv1.weight, padding=1)
    for part, before, now in (
        (features[:split], clean, norm.running_mean),
        (features[split:], adv, norm.adv.running_mean),
    ):
        expected = 0.9 * before + 0.1 * part.mean((0, 2, 3)) if len(part) else before
        torch.testing.assert_close(now, expected, atol=1e-5, rtol=1e-5)


def test_a_split_batch_gives_each_half_the_logits_of_its_path(make, images):
    model = make("float")
    got = model(images, 0.0, split=2)
    model_adv = copy.deepcopy(model)
    for layer in model_adv.modules():
        if getattr(layer, "adv", None) is not None:
            layer.load_state_dict(layer.adv.state_dict(), strict=False)
    expected = torch.cat([model(images[:2], 0.0), model_adv(images[2:], 0.0)])
    torch.testing.assert_close(got, expected)


def test_single_batch_norms_have_no_adversarial_branch(make, images):
    model = make("float", dual_bn=False, noise=False)
    assert not any(".adv." in name for name in model.state_dict())
    assert torch.equal(model(images, 0.0), model(images, 1.0))


@pytest.mark.parametrize(
    ("threshold", "lam", "scale", "path"),
    [
        *[(0.0, 0.0, 0.0, "clean"), (0.0, 0.2, 0.2, "adv"), (0.0, 0.7, 0.7, "adv")],
        *[(0.0, 1.0, 1.0, "adv"), (0.5, 0.0, 0.0, "clean"), (0.5, 0.2, 0.4, "clean")],
        *[(0.5, 0.5, 1.0, "clean"), (0.5, 0.7, 0.4, "adv"), (0.5, 1.0, 1.0, "adv")],
    ],
)
def test_noise_and_batch_norm_follow_the_table_of_float_eq_6(
    make, oracle, images, weights_by_hand, threshold, lam, scale, path
):
    model = make("float")
    noise = model.draw_noise()
    got = effective_weights(model, lam, noise=noise, threshold=threshold)
    torch.testing.assert_close(got, weights_by_hand(model, scale, noise))
    logits = oracle(model, "float", "resnet20", images, scale, noise, path)
    torch.testing.assert_close(model(images, lam, noise=noise, threshold=threshold), logits)


def test_noise_in_masked_layers_can_be_left_out_as_in_the_released_prototype(make, images):
    model = make("smart", noise_in_masked=False)
    noise = model.draw_noise()
    weights = effective_weights(model, 1.0, noise=noise)
    layer = model.layer3[0].conv1
    assert layer.alpha is None
    assert torch.equal(weights["layer3.0.conv1.weight"], layer.weight * layer.mask_adv)
    assert not torch.equal(weights["layer1.0.conv1.weight"], model.layer1[0].conv1.weight)


@pytest.mark.parametrize(("method", "slim"), [("oat", 1.0), ("oat_slim", 0.5)])
def test_lambdas_of_single_samples_give_the_logits_of_single_calls(make, images, method, slim):
    model = make(method)
    lam = [0.0, 0.0, 0.2, 1.0, 0.7, 0.2]
    together = model(images, torch.tensor(lam), slim=slim)
    alone = [model(images[i : i + 1], value, slim=slim) for i, value in enumerate(lam)]
    torch.testing.assert_close(together, torch.cat(alone))
    assert not torch.allclose(alone[2], model(images[2:3], 0.7, slim=slim))


def test_a_lambda_that_is_its_own_code_may_be_any_number(make, images):
    model = make("oat", encoding="none")
    assert not torch.equal(model(images, 0.31), model(images, 0.32))
    lam = torch.tensor([0.0, 0.1, 0.1, 0.33, 0.5, 1.0])
    torch.testing.assert_close(model(images, lam)[3:4], model(images[3:4], 0.33))


@pytest.mark.parametrize(
    ("method", "call", "message"),
    [
        ("float", {"lam": -0.1}, "lam is -0.1 but must be between 0 and 1"),
        ("float", {"lam": 1.5}, "lam is 1.5"),
        ("float", {"lam": float("nan")}, "lam is nan"),
        ("float", {"lam": torch.zeros(6)}, "one number for FLOAT"),
        ("float", {"split": 7}, "between 0 and the batch of 6"),
        ("float", {"lam": 1.0, "noise": torch.zeros(3)}, "draw_noise"),
        ("float", {"lam": 1.0, "threshold": 2.0}, "threshold is 2"),
        ("smart", {"lam": 1.0, "threshold": 0.5}, "FLOAT only"),
        ("oat", {"lam": 0.5}, r"no code for lam 0\.5; it is trained for 0, 0\.2, 0\.7, 1"),
        ("oat", {"lam": torch.full((6,), 0.5)}, "no code for lam 0.5"),
        ("oat", {"lam": torch.tensor([0.2, 0.0, 0.0, 0.2, 1.0, 1.0])}, "zeros first"),
        ("oat", {"lam": torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 2.0])}, "between 0 and 1"),
        ("oat", {"lam": torch.zeros(4)}, "one for each of the 6"),
    ],
)
def test_impossible_calls_are_refused_and_leave_no_trace(make, images, method, call, message):
    model = make(method)
    fresh = model(images, 0.0)
    with pytest.raises(UserError, match=message):
        model(images, **call)
    assert torch.equal(model(images, 0.0), fresh)


def test_a_classifier_is_a_function_of_images_alone(make, images):
    plain, model = make("plain"), make("float")
    assert classifier(plain, 0.7) is plain
    noise = model.draw_noise()
    f = classifier(model, 0.7, noise=noise)
    assert torch.equal(f(images), model(images, 0.7, noise=noise))
