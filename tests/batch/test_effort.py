"""Guesses of how much work a job is."""

import pytest

from lib.batch import effort
from lib.protocol import Protocol
from lib.recipe import Data, Float, FloatSlim, Model, Oat, OatSlim, Recipe, Smart


def training(method, width=8):
    return effort.training(Recipe(Data("digits"), Model("resnet18", width), method))


@pytest.mark.parametrize(
    ("slim", "base"), [(FloatSlim(slims=(0.25, 0.5, 1.0)), Float()), (OatSlim(), Oat())]
)
def test_training_several_widths_takes_about_what_training_each_takes(slim, base):
    apart = sum(training(base, round(8 * factor)) for factor in slim.slims)
    assert training(slim) == pytest.approx(apart, rel=0.05)


def test_path_masks_do_not_change_the_guess():
    assert training(Smart()) == training(Float())


def evaluation(**fields):
    recipe = Recipe(Data("digits"), Model("resnet18", 8), Float())
    return effort.evaluation(recipe, Protocol(images=10, **fields))


def test_autoattack_costs_what_its_gradients_and_queries_cost():
    pgd = evaluation(attack="pgd", steps=100)
    standard = evaluation(attack="autoattack", steps=100)
    rand = evaluation(attack="autoattack", version="rand", steps=100, eot=20)
    assert pgd * 2 < standard < pgd * 40  # 19 attacks of 100 steps and 5,000 queries
    assert pgd * 20 < rand < pgd * 41  # two attacks of 100 steps with 20 gradients each
    assert evaluation(attack="autoattack", steps=100, queries=1) < standard
    half = evaluation(attack="autoattack", version="rand", steps=100, eot=10)
    assert half == pytest.approx(rand / 2, rel=0.01)


def test_half_the_width_is_a_quarter_of_the_work():
    assert evaluation(attack="pgd", slim=0.5) == evaluation(attack="pgd") / 4
