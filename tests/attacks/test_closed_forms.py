"""Attacks on linear classifiers, where the strongest perturbation is known."""

from itertools import pairwise

import pytest
import torch

from lib.attacks import fgsm, pgd

EPS = 0.1


@pytest.fixture
def line() -> torch.Tensor:
    """One weight per pixel; two classes with logits (0, <w, x>)."""
    return torch.randn(12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.fixture
def grey() -> torch.Tensor:
    """Images far from 0 and 1, so that clamping plays no part."""
    generator = torch.Generator().manual_seed(4)
    return 0.4 + 0.2 * torch.rand(5, 3, 2, 2, generator=generator, dtype=torch.float64)


def linear(line):
    return lambda x: torch.stack([torch.zeros(len(x), dtype=x.dtype), x.flatten(1) @ line], 1)


ZEROS = torch.zeros(5, dtype=torch.int64)  # raising the loss of class 0 raises <w, x>


@pytest.mark.parametrize(
    ("attack", "norm", "tolerance"),
    [
        (lambda *a: fgsm(*a, EPS), "linf", 1e-9),
        (lambda *a: pgd(*a, EPS, EPS / 4, 9, random_start=False), "linf", 1e-9),
        (lambda *a: pgd(*a, EPS, EPS / 4, 9), "linf", 1e-9),
        (lambda *a: pgd(*a, EPS, EPS, 60, "l2", random_start=False), "l2", 1e-5),
        (lambda *a: pgd(*a, EPS, EPS, 60, "l2"), "l2", 1e-5),
        (lambda *a: pgd(*a, EPS, EPS / 2, 20, "l1", random_start=False), "l1", 1e-9),
    ],
)
def test_attacks_reach_the_optimum_of_a_linear_classifier(line, grey, attack, norm, tolerance):
    """With room everywhere the best L1 perturbation spends eps on the largest weight."""
    top = torch.zeros(12, dtype=torch.float64)
    top[line.abs().argmax()] = line[line.abs().argmax()].sign()
    best = {"linf": line.sign(), "l2": line / line.norm(), "l1": top}[norm]
    want = grey + EPS * best.view(1, 3, 2, 2)
    torch.testing.assert_close(attack(linear(line), grey, ZEROS), want, atol=tolerance, rtol=0)


def test_an_attack_climbs_the_loss_it_is_given(line, grey):
    """One that falls with <w, x> is climbed downhill, whatever the labels; restarts judge by it."""
    worst = grey - EPS * line.sign().view(1, 3, 2, 2)
    options = {"random_start": False, "restarts": 2, "loss": lambda logits, y: -logits[:, 1]}
    torch.testing.assert_close(pgd(linear(line), grey, ZEROS, EPS, EPS, 3, **options), worst)


def test_linf_optimum_respects_the_image_range(line):
    x = torch.full((5, 3, 2, 2), 0.95, dtype=torch.float64)
    best = (x + EPS * line.sign().view(1, 3, 2, 2)).clamp(0, 1)
    torch.testing.assert_close(pgd(linear(line), x, ZEROS, EPS, EPS, 3), best)


def test_l1_steps_move_on_to_the_next_coordinate_where_the_first_has_no_room():
    """Brute force: the optimum fills coordinates in order of weight up to 0 or 1."""
    weight = torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    x = torch.tensor([0.95, 0.9, 0.5, 0.5], dtype=torch.float64).view(1, 1, 2, 2)
    adv = pgd(linear(weight), x, ZEROS[:1], 0.25, 0.005, 150, "l1", random_start=False)
    best = torch.tensor([0.05, 0.1, 0.1, 0.0], dtype=torch.float64)
    torch.testing.assert_close((adv - x).flatten(), best, atol=0.01, rtol=0)  # two steps


def test_top_spreads_an_l1_step_over_that_fraction_of_the_coordinates(line, grey):
    for top, moved in [(0.25, 3), (0.5, 6), (1.0, 12)]:
        adv = pgd(linear(line), grey, ZEROS, 1.0, 0.12, 1, "l1", random_start=False, top=top)
        delta = (adv - grey).flatten(1)
        assert ((delta != 0).sum(1) == moved).all()
        torch.testing.assert_close(delta.abs().sum(1), torch.full((5,), 0.12, dtype=torch.float64))
        largest = set(line.abs().topk(moved).indices.tolist())
        assert set(delta[0].nonzero().flatten().tolist()) == largest


def test_more_steps_never_lower_the_loss_of_a_linear_classifier(line, grey):
    def loss(steps):
        adv = pgd(linear(line), grey, ZEROS, EPS, EPS / 5, steps, "l2", random_start=False)
        return (adv.flatten(1) @ line).sum().item()

    assert all(a <= b + 1e-12 for a, b in pairwise([loss(s) for s in range(7)]))


def test_the_default_step_is_that_of_the_papers(line, grey):
    eps = 8 / 255
    adv = pgd(linear(line), grey, ZEROS, eps, None, 7, random_start=False)
    again = pgd(linear(line), grey, ZEROS, eps, 10 / 255 / 7, 7, random_start=False)
    torch.testing.assert_close(adv, again)
    one = pgd(linear(line), grey, ZEROS, 0.5, None, 1, random_start=False)
    assert (one - grey).abs().max().item() == pytest.approx(min(0.5, 0.5 + 4 / 255))
