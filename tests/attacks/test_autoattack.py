"""What AutoAttack promises: the ball, its seed, its strength, and what it leaves alone."""

import importlib
import logging

import pytest
import torch
from torch import nn

from lib.attacks import NORMS, autoattack, pgd
from lib.attacks.autoattack import forwards
from lib.errors import UserError

module = importlib.import_module("lib.attacks.autoattack")  # the package's name is the function's
EPS = {"linf": 0.04, "l2": 0.3, "l1": 2.0}
QUICK = {"steps": 5, "eot": 2, "queries": 20}
VERSIONS = ("standard", "rand")


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
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", [0, 1])
def test_results_stay_in_the_ball_and_the_image_range(net, images, distance, norm, version, seed):
    eps = EPS[norm]
    images = (2 * images - 0.5).clamp(0, 1)  # a quarter of the pixels at either end
    labels = net(images).argmax(1)
    adv = autoattack(net, images, labels, eps, version=version, norm=norm, seed=seed, **QUICK)
    assert (distance(norm, adv, images) <= eps * (1 + 1e-5)).all()
    assert adv.min() >= 0
    assert adv.max() <= 1
    assert wrong(net, adv, labels).any()


def linear(weight, offset=0.0):
    """A linear classifier, one row of weights per class."""
    return lambda x: x.flatten(1) @ weight.T + offset


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("norm", "dual", "eps"), [("linf", 1, 0.05), ("l2", 2, 0.3)])
@pytest.mark.parametrize("share", [0.8, 0.95, 1.05, 1.2])
def test_exactly_the_images_near_a_linear_boundary_are_broken(version, norm, dual, eps, share):
    """An image falls iff its lead over a rival k is below eps times the dual norm of w_k - w_0.

    Every image leads its nearest rival by that share of it, and the others by twice of it.
    """
    weight = torch.randn(4, 64, generator=torch.Generator().manual_seed(5))
    reach = eps * (weight[1:] - weight[0]).norm(dual, dim=1)
    grey = 0.4 + 0.2 * torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(6))
    x, y = grey.expand(2, -1, -1, -1), torch.zeros(2, dtype=torch.int64)
    for rival in range(3):
        lead = torch.where(torch.arange(3) == rival, share * reach, 2 * reach)
        offset = torch.cat([torch.zeros(1), -lead]) - weight @ grey.flatten()
        f = linear(weight, offset)
        adv = autoattack(f, x, y, eps, version=version, norm=norm, steps=20, eot=1, queries=5)
        assert wrong(f, adv, y).tolist() == [share < 1] * 2


@pytest.mark.parametrize("norm", NORMS)
def test_it_breaks_all_that_pgd_breaks(net, images, right, norm):
    eps = 0.6 * EPS[norm]
    weaker = wrong(net, pgd(net, images, right, eps, None, 10, norm, random_start=False), right)
    adv = autoattack(net, images, right, eps, norm=norm, steps=20, queries=20)
    assert weaker.any() and not weaker.all()
    assert wrong(net, adv, right)[weaker].all()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_seed_decides_the_images_and_the_global_state_is_put_back(images, labels, version):
    f = Noisy(0.1)

    def attack(seed):
        return autoattack(f, images, labels, 0.1, version=version, seed=seed, **QUICK)

    state = torch.get_rng_state()
    first = attack(1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(77)
    assert torch.equal(attack(1), first)
    assert not torch.equal(attack(2), first)


@pytest.mark.parametrize("version", VERSIONS)
def test_images_that_are_wrong_already_come_back_as_they_are(net, images, right, version):
    y = torch.where(torch.arange(8) % 2 == 0, right, (right + 1) % 10)
    adv = autoattack(net, images, y, 0.3, version=version, **QUICK)
    changed = (adv != images).flatten(1).any(1)
    assert changed.tolist() == [True, False] * 4


def test_images_that_stand_come_back_as_they_are(net, images, right):
    assert torch.equal(autoattack(net, images, right, 1e-6, **QUICK), images)


@pytest.mark.parametrize("version", VERSIONS)
def test_one_image_is_attacked_like_several(net, images, right, version):
    adv = autoattack(net, images[:1], right[:1], 0.3, version=version, **QUICK)
    assert adv.shape == (1, 3, 8, 8)
    assert wrong(net, adv, right[:1]).all()


def test_rand_averages_every_gradient_over_its_draws(images):
    steps, eot = 4, 3
    f = Noisy()
    with torch.no_grad():
        y = (images.flatten(1) @ f.weight.T).argmax(1)
    autoattack(f, images, y, 1e-4, version="rand", steps=steps, eot=eot)
    assert f.with_gradient == 2 * eot * (steps + 1)  # APGD-CE and APGD-DLR, the start included
    judged = eot * (1 + 2 * 2)  # the clean images, and two candidates of each attack
    assert f.passes == f.with_gradient + judged + 1  # and one to count the classes
    f.with_gradient = 0
    autoattack(f, images, y, 1e-4, version="rand", steps=steps, eot=2 * eot)
    assert f.with_gradient == 4 * eot * (steps + 1)


def test_one_lucky_error_does_not_end_the_search_of_rand(images):
    """A coin decides the clean answer; only attacked images are wrong whatever the coin says."""

    def f(x):
        bright = x.flatten(1).mean(1) - images.flatten(1).mean(1).max() - 0.05
        coin = torch.where(torch.rand(len(x)) < 0.5, 0.1, -0.1)
        lead = torch.where(bright < 0, coin, torch.full_like(coin, -1.0)) - bright
        return torch.stack([lead, 0 * lead, 0 * lead - 9, 0 * lead - 9], 1)

    y = torch.zeros(8, dtype=torch.int64)
    adv = autoattack(f, images, y, 0.3, version="rand", steps=5, eot=8)
    errors = torch.stack([wrong(f, adv, y) for _ in range(20)]).float().mean(0)
    assert (errors == 1).all()


@pytest.mark.parametrize("norm", NORMS)
def test_any_memory_layout_is_accepted(net, images, right, norm):
    net.to(memory_format=torch.channels_last)
    x = images.contiguous(memory_format=torch.channels_last)
    adv = autoattack(net, x, right, EPS[norm], norm=norm, **QUICK)
    assert wrong(net, adv, right).any()


@pytest.mark.parametrize("classes", [4, 6])
def test_few_classes_mean_few_targets(images, classes):
    f = linear(torch.randn(classes, 192))
    y = f(images).argmax(1)
    adv = autoattack(f, images, y, 0.2, **QUICK)
    assert wrong(f, adv, y).any()


def test_targets_and_restarts_are_those_of_the_package():
    """The package's driver sets them; ours must agree with it."""
    from pyautoattack import AutoAttack

    for version in VERSIONS:
        for norm in NORMS:
            theirs = AutoAttack(lambda x: x, norm=module.SPELLING[norm], eps=0.1, version=version)
            ours = module._Budget(version, norm, 0.1, 100, 20, 5_000, 999)
            assert theirs.attacks_to_run == list(module.VERSIONS[version])
            apgd = ours.attack("apgd-ce", None)
            same = ("n_restarts", "n_iter", "eot_iter", "use_largereps", "thr_decr", "eps", "norm")
            for name in same:
                assert getattr(apgd, name) == getattr(theirs.apgd, name), (version, norm, name)
            if version == "rand":
                continue
            targeted = ours.attack("apgd-t", None)
            for name in (*same, "n_target_classes"):
                assert getattr(targeted, name) == getattr(theirs.apgd_targeted, name)
            fab = ours.attack("fab-t", None)
            for name in ("n_restarts", "n_iter", "eps", "norm", "n_target_classes", "alpha_max"):
                assert getattr(fab, name) == getattr(theirs.fab, name)
            square = ours.attack("square", None)
            for name in ("n_restarts", "n_queries", "eps", "p_init", "rescale_schedule", "loss"):
                assert getattr(square, name) == getattr(theirs.square, name)


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
    assert len(shares) > 10
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_nothing_is_printed_or_logged(images, capsys, caplog):
    flat = linear(torch.zeros(10, 192))  # its gradients are zero, on which the package comments
    root = list(logging.getLogger().handlers)
    with caplog.at_level(logging.DEBUG):
        autoattack(flat, images, torch.zeros(8, dtype=torch.int64), 0.1, **QUICK)
    assert capsys.readouterr() == ("", "")
    assert not caplog.records
    assert logging.getLogger().handlers == root


def test_no_images_and_no_radius_are_no_work(net, images, labels):
    assert autoattack(net, images[:0], labels[:0], 0.1).shape == (0, 3, 8, 8)
    assert torch.equal(autoattack(net, images, labels, 0.0), images)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"eps": -0.1}, "eps"),
        ({"eps": 8}, "eps is 8 but pixels span 0 to 1 .* 8/255"),
        ({"eps": 14, "norm": "l2"}, "away in l2"),
        ({"version": "plus"}, "choose one of: rand, standard"),
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

    monkeypatch.setattr(module.SquareAttack, "perturb", fail)
    with pytest.raises(UserError, match="square cannot attack this classifier"):
        autoattack(net, images, right, 1e-6, **QUICK)
