"""What PGD and FGSM promise about networks, noise, restarts and bad arguments."""

import copy
from functools import partial

import foolbox
import pytest
import torch
from torch import nn

from lib.attacks import autoattack, fgsm, input_gradient, pgd
from lib.attacks.norms import Linf
from lib.errors import UserError

EPS = {"linf": 0.1, "l2": 0.6, "l1": 3.0}
AUTOATTACKS = [
    partial(autoattack, version=version, steps=5, eot=2, queries=20)
    for version in ("standard", "rand")
]


class Noisy(nn.Module):
    """Adds fresh noise to the weight in each forward pass; replays recorded draws if given."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(10, 192))
        self.tape = None

    def forward(self, x):
        noise = torch.randn_like(self.weight) if self.tape is None else self.tape.pop(0)
        return x.flatten(1) @ (self.weight + noise).T


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def loss(f, x, y):
    return nn.functional.cross_entropy(f(x), y, reduction="none").detach()


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("norm", EPS)
def test_result_is_in_ball_and_range_and_hurts(net, images, labels, distance, norm, random_start):
    adv = pgd(net, images, labels, EPS[norm], None, 5, norm, random_start=random_start)
    assert (distance(norm, adv, images) <= EPS[norm] + 1e-5).all()
    assert adv.min() >= 0 and adv.max() <= 1
    assert (loss(net, adv, labels) > loss(net, images, labels)).all()


@pytest.mark.parametrize(
    ("eps", "ours", "theirs", "options"),
    [
        (0.05, fgsm, "LinfFastGradientAttack", {}),
        (0.1, (0.03, 6, "linf"), "LinfPGD", {"random_start": False}),
        (0.6, (0.2, 6, "l2"), "L2PGD", {"random_start": False}),
        # inside the ball: foolbox's L1 projection uses the threshold of one coordinate too many
        (3.0, (0.4, 5, "l1"), "SparseL1DescentAttack", {"quantile": 1 - 3.5 / 191}),
    ],
)
def test_attacks_agree_with_foolbox(net, images, labels, eps, ours, theirs, options):
    if ours is fgsm:
        found = fgsm(net, images, labels, eps)
    else:
        step, steps, norm = ours
        options = {"abs_stepsize": step, "steps": steps, **options}
        found = pgd(net, images, labels, eps, step, steps, norm, random_start=False, top=4 / 192)
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    _, wanted, _ = getattr(foolbox.attacks, theirs)(**options)(model, images, labels, epsilons=eps)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=0)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "attack", [fgsm, lambda *a: pgd(*a, None, 3, restarts=2, eot=2), *AUTOATTACKS]
)
def test_nothing_of_the_model_changes(net, images, labels, attack, training):
    net.train(training)
    net[0].weight.requires_grad_(False)
    net[1].momentum = 0.0  # batch statistics would count as the caller's choice of train mode
    net[4].weight.grad = torch.ones_like(net[4].weight)
    state = copy.deepcopy(net.state_dict())
    flags = [(p.requires_grad, p.grad is None) for p in net.parameters()]
    x = images.clone()
    attack(net, x, labels, 0.1)
    now = net.state_dict()
    counters = {key for key in state if key.endswith("num_batches_tracked")} if training else set()
    assert all(torch.equal(state[key], now[key]) for key in state.keys() - counters)
    assert [(p.requires_grad, p.grad is None) for p in net.parameters()] == flags
    assert torch.equal(net[4].weight.grad, torch.ones_like(net[4].weight))
    assert all(module.training is training for module in net.modules())
    assert torch.equal(x, images)
    assert not x.requires_grad


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize(
    "attack", [lambda *a: pgd(*a, 0.03, 3, random_start=False), AUTOATTACKS[0]]
)
def test_attacks_work_in_any_gradient_mode_of_the_caller(net, images, context, attack):
    labels = net(images).argmax(1).detach()
    want = attack(net, images, labels, 0.1)
    with context():
        got = attack(net, images * 1, labels * 1, 0.1)
    for mine, theirs in zip(got, want, strict=True):  # images, or of AutoAttack images and verdicts
        assert torch.equal(mine, theirs) and not mine.requires_grad


def test_dtype_and_memory_layout_are_kept(net, images, labels):
    x = images.contiguous(memory_format=torch.channels_last)
    for norm in EPS:
        assert pgd(net, x, labels, 0.1, None, 2, norm).is_contiguous(
            memory_format=torch.channels_last
        )
        double = pgd(net.double(), images.double(), labels, 0.1, None, 2, norm)
        assert double.dtype == torch.float64
        net.float()


def test_bfloat16_autocast_is_supported(net, images, labels):
    with torch.autocast("cpu", torch.bfloat16):
        adv = pgd(net, images, labels, 0.1, 0.03, 3, random_start=False)
    assert adv.dtype == torch.float32
    exact = pgd(net, images, labels, 0.1, 0.03, 3, random_start=False)
    assert ((adv - exact).abs() < 0.02).double().mean() > 0.8  # bf16 flips few signs


def test_an_images_attack_does_not_depend_on_its_batch(net, images, labels):
    together = pgd(net, images, labels, 0.6, 0.2, 4, "l2", random_start=False)
    alone = pgd(net, images[:1], labels[:1], 0.6, 0.2, 4, "l2", random_start=False)
    torch.testing.assert_close(together[:1], alone)


@pytest.mark.parametrize("norm", EPS)
def test_a_generator_makes_random_starts_reproducible(net, images, labels, norm):
    def attack(seed):
        return pgd(net, images, labels, EPS[norm], None, 0, norm, generator=generator(seed))

    state = torch.get_rng_state()
    assert torch.equal(attack(1), attack(1))
    assert not torch.equal(attack(1), attack(2))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("norm", EPS)
def test_no_radius_and_no_images_are_no_work(net, images, labels, norm):
    assert torch.equal(pgd(net, images, labels, 0, None, 5, norm), images)
    assert torch.equal(fgsm(net, images, labels, 0, random_start=True), images)
    assert pgd(net, images[:0], labels[:0], 0.1, None, 2, norm).shape == (0, 3, 8, 8)


def test_zero_steps_return_the_start(net, images, labels):
    assert torch.equal(pgd(net, images, labels, 0.1, 0.1, 0, random_start=False), images)
    start = Linf().start(images, 0.1, generator(3))
    assert torch.equal(pgd(net, images, labels, 0.1, 0.1, 0, generator=generator(3)), start)


def test_random_fgsm_stays_in_the_ball(net, images, labels):
    adv = fgsm(net, images, labels, 0.05, random_start=True, generator=generator())
    assert (adv - images).abs().max() <= 0.05 + 1e-6
    assert not torch.equal(adv, fgsm(net, images, labels, 0.05))


def test_eot_gradient_is_the_gradient_of_the_mean_over_frozen_draws(images, labels):
    model = Noisy()
    draws = [torch.randn(10, 192) for _ in range(5)]
    model.tape = list(draws)
    got = input_gradient(model, images, labels, eot=5)
    x = images.clone().requires_grad_(True)
    model.tape = list(draws)
    losses = [nn.functional.cross_entropy(model(x), labels, reduction="sum") for _ in draws]
    (want,) = torch.autograd.grad(torch.stack(losses).mean(), x)
    torch.testing.assert_close(got, want)


def test_eot_of_a_deterministic_network_changes_nothing(net, images, labels):
    one = pgd(net, images, labels, 0.6, 0.2, 3, "l2", random_start=False)
    three = pgd(net, images, labels, 0.6, 0.2, 3, "l2", random_start=False, eot=3)
    torch.testing.assert_close(one, three)


@pytest.mark.parametrize("norm", EPS)
def test_restarts_never_weaken_the_attack(net, images, labels, norm):
    """The first start is the same draw, so each further restart can only add damage."""
    last = None
    for restarts in (1, 2, 4):
        adv = pgd(
            net, images, labels, EPS[norm] / 4, None, 1, norm,
            restarts=restarts, generator=generator(),
        )  # fmt: skip
        damage = loss(net, adv, labels) + 1e6 * (net(adv).argmax(1) != labels)
        if last is not None:
            assert (damage >= last).all()
        last = damage


def test_a_wrong_answer_beats_a_higher_loss():
    """Class 0 competes with one rival below 0.5 (wrong, low loss) and two above (right, high)."""

    def f(x):
        v = x.flatten(1)
        wrong = torch.cat([0 * v + 0.0, 0 * v + 0.1, 0 * v - 9], 1)
        right = torch.cat([0 * v + 0.1, 0 * v + 0.0, 0 * v + 0.09], 1)
        return torch.where(v < 0.5, wrong, right) + 0 * v

    x, y = torch.full((64, 1, 1, 1), 0.5), torch.zeros(64, dtype=torch.int64)
    low, high = torch.tensor(0.4).view(1, 1, 1, 1), torch.tensor(0.6).view(1, 1, 1, 1)
    assert loss(f, low, y[:1]) < loss(f, high, y[:1])
    adv = pgd(f, x, y, 0.2, 0.0, 0, restarts=12, generator=generator())
    assert (adv < 0.5).all()  # each image misses the lower half with probability 2^-12


def test_the_classifier_is_called_as_often_and_for_as_many_images_as_needed(net, images):
    calls, labels = [], net(images).argmax(1)
    labels[:3] = (labels[:3] + 1) % 10  # wrong from the start

    def counting(x):
        calls.append(len(x))
        return net(x)

    pgd(counting, images, labels, 0.1, 0.03, 4, eot=3)
    assert len(calls) == 12
    calls.clear()
    pgd(counting, images, labels, 1e-6, None, 4, restarts=3)
    assert calls == [8] * 5 + [5] * 10  # what is broken leaves the batch


@pytest.mark.parametrize(("norm", "eps"), [("linf", 1.0), ("l2", 192**0.5), ("l1", 192.0)])
def test_a_radius_may_reach_every_image(net, images, labels, norm, eps):
    assert pgd(net, images, labels, eps, None, 1, norm).shape == images.shape


def test_a_step_of_one_is_the_widest_of_fgsm(net, images, labels):
    fgsm(net, images, labels, 1.0)
    with pytest.raises(UserError, match=r"eps is 1\.01 but pixels span 0 to 1"):
        fgsm(net, images, labels, 1.01)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"eps": -0.1}, "eps"),
        ({"eps": float("nan")}, "eps"),
        ({"eps": 8}, "eps is 8 but pixels span 0 to 1 .* 8/255"),
        ({"eps": 13.9, "norm": "l2"}, r"farther than 13\.8564 away in l2"),
        ({"eps": 192.1, "norm": "l1"}, "farther than 192 away in l1"),
        ({"step": -1.0}, "step"),
        ({"steps": -1}, "steps"),
        ({"steps": 2.5}, "whole number"),
        ({"norm": "l_inf"}, "did you mean 'linf'"),
        ({"norm": "l1", "top": 1.5}, "top"),
        ({"restarts": 0}, "restarts"),
        ({"eot": 0}, "eot"),
        ({"y": torch.zeros(7, dtype=torch.int64)}, "Labels"),
        ({"y": torch.zeros(8, 10)}, "Labels"),
        ({"x": torch.full((8, 3, 8, 8), 1.5)}, "normalisation inside"),
        ({"x": torch.full((8, 3, 8, 8), float("nan"))}, "span"),
        ({"x": torch.zeros(8, 3, 8, 8, dtype=torch.uint8)}, "divide by 255"),
        ({"f": lambda x: x.mean((1, 2, 3))}, "one row of class scores"),
        ({"f": lambda x: torch.zeros(8, 10)}, "no gradient"),
        ({"loss": lambda logits, y: logits.mean()}, "leave out its mean"),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(net, images, labels, change, words):
    good = {"f": net, "x": images, "y": labels, "eps": 0.1, "step": 0.03, "steps": 2}
    with pytest.raises(UserError, match=words) as caught:
        pgd(**{**good, **change})
    assert "\n" not in str(caught.value)
