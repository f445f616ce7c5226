"""Guesses of how much work a job is."""

import pytest

from lib.batch import effort
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
