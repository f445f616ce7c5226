"""What AutoAttack promises: the ball, its seed, its strength, and what it leaves alone."""

import importlib
import logging

import pytest
import torch
from pyautoattack import AutoAttack
from pyautoattack.square import SquareAttack
from torch import nn

from lib.attacks import autoattack
from lib.attacks.autoattack import forwards
from lib.errors import UserError

module = importlib.import_module("lib.attacks.autoattack")  # the package's name is the function's
EPS = {"linf": 0.04, "l2": 0.3, "l1": 2.0}
QUICK = {"steps": 5, "eot": 2, "queries": 20}
VERSIONS = ("standard", "rand", "rand-all")


class Noisy(nn.Module):
    """A linear classifier that adds fresh noise to its weight and counts its passes."""

    def __init__(self, size: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(10, 192))
        self.size, self.passes, self.with_gradient = size, 0, 0

    def forward(self, x):
        self.passes += 1
        self.with_gradient += x.requires_grad and torch.is_grad_enabled()
        noise = self.size * torch.randn(self.weight.shape)
        return x.flatten(1) @ (self.weight + noise).T


@pytest.fixture
def right(net, images):
    """The labels that the network gives, so that it is right about every image."""
    return net(images).argmax(1).detach()


def wrong(f, x, y):
    return f(x).argmax(1) != y


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("seed", [0, 1])
def test_results_stay_in_the_ball_and_the_image_range(net, images, distance, norm, version, seed):
    eps = EPS[norm]
    images = (2 * images - 0.5).clamp(0, 1)  # a quarter of the pixels at either end
    labels = net(images).argmax(1)
    adv, _ = autoattack(net, images, labels, eps, version=version, norm=norm, seed=seed, **QUICK)
    assert (distance(norm, adv, images) <= eps * (1 + 1e-5)).all()
    assert adv.min() >= 0 and adv.max() <= 1 and wrong(net, adv, labels).any()


def linear(weight, offset=0.0):
    """A linear classifier, one row of weights per class."""
    return lambda x: x.flatten(1) @ weight.T + offset


@pytest.mark.parametrize("version", VERSIONS)
def test_the_seed_decides_the_images_and_the_global_state_is_put_back(images, labels, version):
    f = Noisy(0.1)

    def attack(seed):
        return autoattack(f, images, labels, 0.1, version=version, seed=seed, **QUICK)[0]

    state = torch.get_rng_state()
    first = attack(1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(77)
    assert torch.equal(attack(1), first) and not torch.equal(attack(2), first)


@pytest.mark.parametrize("version", VERSIONS)
def test_images_that_are_wrong_already_come_back_as_they_are(net, images, right, version):
    y = torch.where(torch.arange(8) % 2 == 0, right, (right + 1) % 10)
    adv, _ = autoattack(net, images, y, 0.3, version=version, **QUICK)
    assert (adv != images).flatten(1).any(1).tolist() == [True, False] * 4


def test_images_that_stand_come_back_as_they_are(net, images, right):
    adv, broken = autoattack(net, images, right, 1e-6, **QUICK)
    assert torch.equal(adv, images) and not broken.any()


@pytest.mark.parametrize("version", VERSIONS)
def test_one_image_is_attacked_like_several(net, images, right, version):
    adv, _ = autoattack(net, images[:1], right[:1], 0.3, version=version, **QUICK)
    assert adv.shape == (1, 3, 8, 8) and wrong(net, adv, right[:1]).all()


def test_rand_averages_every_gradient_over_its_draws(images):
    steps, eot = 4, 3
    f = Noisy()
    with torch.no_grad():
        y = (images.flatten(1) @ f.weight.T).argmax(1)
    autoattack(f, images, y, 1e-4, version="rand-all", steps=steps, eot=eot)
    assert f.with_gradient == 2 * eot * (steps + 1)  # APGD-CE and APGD-DLR, the start included
    judged = eot * (1 + 2 * 2)  # the clean images, and two candidates of each attack
    assert f.passes == f.with_gradient + judged + 1  # and one to count the classes
    f.with_gradient = 0
    autoattack(f, images, y, 1e-4, version="rand-all", steps=steps, eot=2 * eot)
    assert f.with_gradient == 4 * eot * (steps + 1)


def test_one_lucky_error_does_not_end_the_search_of_all_draws(images):
    """A coin decides the clean answer; only attacked images are wrong whatever the coin says."""

    def f(x):
        bright = x.flatten(1).mean(1) - images.flatten(1).mean(1).max() - 0.05
        coin = torch.where(torch.rand(len(x)) < 0.5, 0.1, -0.1)
        lead = torch.where(bright < 0, coin, torch.full_like(coin, -1.0)) - bright
        return torch.stack([lead, 0 * lead, 0 * lead - 9, 0 * lead - 9], 1)

    y = torch.zeros(8, dtype=torch.int64)
    adv, broken = autoattack(f, images, y, 0.3, version="rand-all", steps=5, eot=8)
    errors = torch.stack([wrong(f, adv, y) for _ in range(20)]).float().mean(0)
    assert (errors == 1).all() and broken.all()


@pytest.mark.parametrize("norm", EPS)
def test_any_memory_layout_is_accepted(net, images, right, norm):
    net.to(memory_format=torch.channels_last)
    x = images.contiguous(memory_format=torch.channels_last)
    adv, _ = autoattack(net, x, right, EPS[norm], norm=norm, **QUICK)
    assert wrong(net, adv, right).any()


@pytest.mark.parametrize("classes", [4, 6])
def test_few_classes_mean_few_targets(images, classes):
    f = linear(torch.randn(classes, 192))
    y = f(images).argmax(1)
    adv, _ = autoattack(f, images, y, 0.2, **QUICK)
    assert wrong(f, adv, y).any()


@pytest.mark.parametrize("norm", EPS)
def test_standard_is_the_package_driven_directly(net, images, right, norm):
    found = {}
    for share in (0.3, 0.6, 1.0):
        eps = share * EPS[norm]
        theirs = AutoAttack(net, norm=module.SPELLING[norm], eps=eps, seed=5)
        for part in (theirs.apgd, theirs.apgd_targeted, theirs.fab):
            part.n_iter = part.n_iter_orig = 6
        theirs.square.n_queries = 30
        adv, predicted = theirs.run_standard_evaluation(images, right)
        ours = autoattack(net, images, right, eps, norm=norm, steps=6, queries=30, seed=5)
        assert torch.equal(ours[0], adv) and torch.equal(ours[1], predicted != right)
        found[share] = int(ours[1].sum())
    assert len(set(found.values())) > 1  # some fall and some stand


def test_rand_is_the_package_driven_directly_and_all_draws_are_a_stricter_rule(images):
    f = Noisy(0.3)
    with torch.no_grad():
        y = (images.flatten(1) @ f.weight.T).argmax(1)
    counts = []
    for seed in range(4):
        theirs = AutoAttack(f, eps=0.01, version="rand", seed=seed)
        theirs.apgd.n_iter, theirs.apgd.eot_iter = 6, 3
        torch.manual_seed(seed)
        adv, predicted = theirs.run_standard_evaluation(images, y)
        how = {"steps": 6, "eot": 3, "seed": seed}
        ours = autoattack(f, images, y, 0.01, version="rand", **how)
        assert torch.equal(ours[0], adv) and torch.equal(ours[1], predicted != y)
        every = autoattack(f, images, y, 0.01, version="rand-all", **how)[1]
        counts.append((int(ours[1].sum()), int(every.sum())))
    assert sum(one for one, _ in counts) > sum(every for _, every in counts) > 0


@pytest.mark.parametrize("version", VERSIONS)
def test_the_work_foretold_is_the_work_done(net, images, right, version):
    """On images that never fall, up to the passes that check and judge."""
    done = 0

    def weighed(x):
        nonlocal done
        done += 2 if x.requires_grad and torch.is_grad_enabled() else 1
        return net(x)

    autoattack(weighed, images, right, 1e-7, version=version, steps=10, eot=4, queries=300)
    assert done == pytest.approx(forwards(version, 10, 4, 300, 10), rel=0.15)


@pytest.mark.parametrize("version", VERSIONS)
def test_progress_rises_to_one(net, images, right, version):
    shares = []
    autoattack(net, images, right, 0.02, version=version, on_step=shares.append, **QUICK)
    assert len(shares) > 10 and shares == sorted(shares) and shares[-1] == 1.0


def test_all_attacks_of_the_program_work_where_the_images_are():
    place = torch.device("meta")
    program = module._Program(module._Watched(len, {}, len), "linf", 0.1, "rand-all", device=place)
    parts = (program, program.apgd, program.apgd_targeted, program.fab, program.square)
    assert [part.device for part in parts] == [place] * 5


def test_nothing_is_printed_or_logged(images, capsys, caplog):
    flat = linear(torch.zeros(10, 192))  # its gradients are zero, on which the package comments
    root = list(logging.getLogger().handlers)
    with caplog.at_level(logging.WARNING):
        autoattack(flat, images, torch.zeros(8, dtype=torch.int64), 0.1, **QUICK)
    assert capsys.readouterr() == ("", "")
    assert not caplog.records
    assert logging.getLogger().handlers == root


def test_no_images_and_no_radius_are_no_work(net, images, labels):
    none = [len(found) for found in autoattack(net, images[:0], labels[:0], 0.1)]
    adv, broken = autoattack(net, images, labels, 0.0)
    assert none == [0, 0] and torch.equal(adv, images)
    assert torch.equal(broken, wrong(net, images, labels))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"eps": -0.1}, "eps"),
        ({"eps": 8}, "eps is 8 but pixels span 0 to 1 .* 8/255"),
        ({"eps": 14, "norm": "l2"}, "away in l2"),
        ({"version": "plus"}, "choose one of: rand, rand-all, standard"),
        ({"norm": "linff"}, "did you mean 'linf'"),
        ({"steps": 0}, "steps"),
        ({"steps": 2.5}, "whole number"),
        ({"eot": 0}, "eot"),
        ({"queries": 0}, "queries"),
        ({"norm": "l1", "steps": 1}, "steps of AutoAttack in l1"),
        ({"norm": "l2", "x": torch.rand(8, 3, 4, 12)}, "5 rows or more"),
        ({"x": torch.rand(8, 192)}, "N, C, H, W"),
        ({"x": torch.full((8, 3, 8, 8), 2.0)}, "normalisation inside"),
        ({"y": torch.zeros(7, dtype=torch.int64)}, "Labels"),
        ({"f": linear(torch.rand(3, 192))}, "needs 4 classes or more, the classifier has 3"),
        ({"f": linear(torch.rand(2, 192)), "version": "rand"}, "needs 3 classes or more"),
        ({"f": lambda x: torch.zeros(8)}, "one row of class scores"),
        ({"f": lambda x: torch.eye(8, 10)}, "passes no gradient"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(net, images, change, words):
    call = {"f": net, "x": images, "y": torch.arange(8), "eps": 0.1} | QUICK | change
    with pytest.raises(UserError, match=words):
        autoattack(**call)


def test_a_failed_check_of_the_package_is_one_sentence(net, images, right, monkeypatch):
    def fail(self, *args):
        assert not args, "no images today"

    monkeypatch.setattr(SquareAttack, "perturb", fail)
    with pytest.raises(UserError, match="AutoAttack cannot attack this classifier"):
        autoattack(net, images, right, 1e-6, **QUICK)
