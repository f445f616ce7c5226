"""One call judges a classifier: an honest one passes, and each way of being masked is flagged."""

from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch
from pyautoattack import AutoAttack
from torch import nn

from lib import assess as module
from lib.assess import CHECKS, assess
from lib.attacks import pgd
from lib.attacks.norms import Linf
from lib.errors import UserError
from lib.evaluate import unpack
from lib.presets import Strong
from lib.protocol import Protocol
from lib.scoring import BATCH, stream

EPS = 0.2
ASKED = Protocol(attack="pgd", eps=EPS, steps=10)
STRONG = Strong(steps=10, eot=2, queries=100)
MEANS = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(3))
GREY = torch.full((120, 1, 6, 6), 0.5), torch.zeros(120, dtype=torch.int64)


def draw(n, seed):
    """Return noisy images around the means of five classes, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(5, (n,), generator=generator)
    return (MEANS[y] + 0.3 * torch.randn(n, 1, 6, 6, generator=generator)).clamp(0, 1), y


TEST = draw(160, 10**6)


class Backward(torch.autograd.Function):
    """Rounds images to a grid if asked, and scales their gradient: zero, or the wrong way."""

    @staticmethod
    def forward(ctx, x, grid, scale):
        ctx.scale = scale
        return (grid * x).round() / grid if grid else x.clone()

    @staticmethod
    def backward(ctx, grad):
        return ctx.scale * grad, None, None


@pytest.fixture(scope="module")
def net():
    """A small network, trained against PGD."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 32), nn.ReLU(), nn.Linear(32, 5))
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for step in range(100):
        x, y = draw(128, step)
        adv = pgd(net, x, y, EPS, EPS / 3, 4)
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(adv), y).backward()
        optimiser.step()
    return net.requires_grad_(False)


@pytest.fixture(scope="module")
def honest(net):
    return assess(net, *TEST, ASKED, surrogate=nn.Sequential(net, nn.Linear(5, 5)), strong=STRONG)


def marks(found):
    return {check.mark for check in found.flags}


def test_an_honest_network_is_not_flagged_but_for_how_little_was_tried(honest):
    assert not honest.unreliable and marks(honest) <= {"s", "q", "n", "b"}
    rows = honest.rows["value"]
    assert rows["as asked"] < rows["clean"] - 10 and rows["largest radius"] == 0
    assert rows["AutoAttack"] <= rows["as asked"] and "unreliable:" not in str(honest).split("\n")
    assert f"AutoAttack after square: {rows['AutoAttack']:.2f}" in str(honest)


def test_autoattack_is_the_package_driven_directly_after_each_of_its_attacks(net, honest):
    names, left = ["apgd-ce", "apgd-t", "fab-t", "square"], {}
    for tried in range(1, 5):
        stood = []
        for number, (x, y) in enumerate(zip(*(part.split(BATCH) for part in TEST), strict=True)):
            theirs = AutoAttack(net, eps=EPS, seed=stream("attack", 0, number))
            for part in (theirs.apgd, theirs.apgd_targeted, theirs.fab):
                part.n_iter = part.n_iter_orig = STRONG.steps
            theirs.apgd_targeted.n_target_classes = theirs.fab.n_target_classes = 4
            theirs.square.n_queries, theirs.attacks_to_run = STRONG.queries, names[:tried]
            stood.append(theirs.run_standard_evaluation(x, y, batch_size=BATCH)[1] == y)
        left[names[tried - 1]] = 100 * torch.cat(stood).double().mean().item()
    assert honest.log == pytest.approx(left)
    assert honest.rows.loc["AutoAttack", "value"] == pytest.approx(left["square"])
    assert unpack(honest.rows.loc["AutoAttack", "bits"], 160)[0].equal(torch.cat(stood))


def test_the_worst_case_is_of_each_image_over_all_attacks_in_the_ball(honest):
    inside = honest.rows[honest.rows["eps"].eq(EPS)].drop(index="worst case of all")
    stood = torch.stack([unpack(bits, 160)[0] for bits in inside["bits"]]).all(0)
    worst = honest.rows.loc["worst case of all"]
    assert worst["value"] == pytest.approx(100 * stood.double().mean().item())
    assert worst["ci_low"] < worst["value"] < worst["ci_high"] and len(inside) == 10


def coin(f, other):
    """Answer by one function or the other, by a coin that falls alike under the first seed."""
    return lambda x: (f if torch.rand(()) < 0.4 else other)(x)


def restless(f):
    """Take a step up the images' gradient before answering."""

    def answer(x):
        with torch.enable_grad():
            own = x.detach().requires_grad_()
            (grad,) = torch.autograd.grad(f(own).logsumexp(1).sum(), own)
        return f(x + 1e-3 * grad)

    return answer


def dim(scale):
    """Tell bright images from dark ones, with a gradient that is scaled."""

    def f(x):
        lead = 20 * (Backward.apply(x, 0, scale).flatten(1).mean(1) - 0.48)
        return torch.stack([lead, *[0 * lead] * 4], 1)

    return f


@pytest.mark.parametrize(
    ("masked", "expected"),
    [
        (lambda net: lambda x: net(Backward.apply(x, 4, 0)), "ZG"),
        (lambda net: lambda x: 1e4 * net(x), "ZML"),
        (lambda net: lambda x: net(x).softmax(1), "P"),
        (lambda net: lambda x: net(x + 0.1 * torch.randn_like(x)), "Nu"),
        (lambda net: coin(net, lambda x: net(Backward.apply(x, 4, 0))), "Fu"),
        (lambda net: restless(net), "O"),
        (lambda net: nn.Sequential(nn.BatchNorm2d(1), net, nn.BatchNorm1d(5)).train(), "B"),
    ],
    ids=["quantised", "saturated", "softmax", "noise", "a coin", "optimises", "training mode"],
)
def test_what_misleads_attacks_is_flagged(net, masked, expected):
    asked = replace(ASKED, eot=4) if "F" in expected else ASKED
    found = assess(masked(net), *TEST, asked, strong=STRONG if "M" in expected else None)
    assert set(expected) <= marks(found) and found.unreliable
    assert str(found).count("unreliable:") == 1


def test_a_gradient_that_leads_astray_is_beaten_by_what_needs_none():
    found = assess(dim(-1), *GREY, ASKED, surrogate=dim(1), strong=STRONG)
    assert {"W", "T", "Q", "G"} <= marks(found) and found.rows.loc["as asked", "value"] == 100
    straight = assess(dim(1), *GREY, ASKED, surrogate=dim(1), strong=STRONG)
    assert not {"W", "T", "Q", "G"} & marks(straight)


def test_a_network_that_an_attack_changes_is_flagged(net):
    class Forgetful(nn.Module):
        seen = 0

        def forward(self, x):
            self.seen += len(x) * x.requires_grad
            return net(x) * (1 + 1e-4 * self.seen)

    assert "A" in marks(assess(Forgetful(), *TEST, ASKED, strong=None))


def test_every_check_has_a_case_that_it_finds():
    told = {"Z", "G", "M", "L", "P", "N", "u", "F", "O", "B", "W", "T", "Q", "A"}
    assert {check.mark for check in CHECKS} <= told


@pytest.mark.parametrize("what", ["ball", "range", "AutoAttack"])
def test_an_attack_that_steps_out_is_caught(net, monkeypatch, what):
    stray = {"ball": lambda self, adv, x, eps: adv.clamp(0, 1)}
    stray["range"] = lambda self, adv, x, eps: (adv - x).clamp(-eps, eps) + x
    if what == "AutoAttack":
        wrong = torch.zeros(BATCH, dtype=torch.bool)
        monkeypatch.setattr(module, "autoattack", lambda f, x, y, e, **how: (x + 1.1 * e, wrong))
    else:
        monkeypatch.setattr(Linf, "project", stray[what])
    with pytest.raises(UserError, match="do not trust"):
        assess(net, *TEST, ASKED, strong=STRONG)


def test_only_variants_of_pgd_can_be_asked_for(net):
    with pytest.raises(UserError, match="varies PGD"):
        assess(net, *TEST, Protocol(attack="fgsm", eps=EPS))


CHANGES = {
    "one or more": lambda x, y: (x[:0], y[:0]),
    "labels that are int64": lambda x, y: (x, y.int()),
    "images that are float32": lambda x, y: (x.double(), y),
    "labels below 10": lambda x, y: (x, y + 10),
}


@pytest.mark.parametrize("words", CHANGES)
def test_images_and_labels_that_no_attack_can_take_are_refused_in_a_sentence(words):
    f = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    x, y = CHANGES[words](torch.rand(4, 1, 8, 8), torch.arange(4))
    with pytest.raises(UserError, match=words):
        assess(f, x, y, Protocol(attack="pgd", eps=0.1, steps=2))


def test_what_autoattack_cannot_do_is_refused_before_anything_is_attacked():
    x, y, asked = torch.rand(4, 1, 8, 8), torch.arange(4) % 2, Protocol(attack="pgd", eps=0.1)
    f = Mock(side_effect=nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))
    with pytest.raises(UserError, match="classes or more"):
        assess(f, x, y, asked)
    assert f.call_count < 20
