"""Accuracies over the noise re-scaling factor."""

import numpy as np
import pandas as pd
import pytest

from lib import plots
from lib.errors import UserError
from lib.intervals import wilson
from lib.tables import shown

KINDS = ("PNI layer-wise", "PNI channel-wise", "PNI element-wise")
FACTORS = (0.0, 0.5, 1.0)
SCORES = {"none": 95.0, "fgsm": 40.0, "pgd7": 25.0}


def rescaled(kinds=KINDS, seeds=(0,), n=600):
    found = []
    for kind in kinds:
        for lam in FACTORS:
            for seed in seeds:
                for attack, score in SCORES.items():
                    value = score + (-4 if attack == "none" else 12) * lam + 0.5 * seed
                    low, high = wilson(value / 100, n)
                    found.append(
                        {
                            "dataset": "digits",
                            "backbone": "resnet20-8",
                            "method": kind,
                            "seed": seed,
                            "lam": lam,
                            "attack": attack,
                            "metric": "clean_acc" if attack == "none" else "robust_acc",
                            "value": value,
                            "ci_low": low,
                            "ci_high": high,
                            "n": n,
                        }
                    )
    return pd.DataFrame(found)


def means(axes):
    """Return the lines through means, in order of drawing."""
    return [line for line in axes.lines if line.get_linestyle() == "-"]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_every_kind_of_noise_has_a_panel_with_all_accuracies_over_the_factor(seeds):
    frame = rescaled(seeds=seeds)
    figure = plots.rescaling(frame)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "(a) PNI layer-wise", "(b) PNI channel-wise", "(c) PNI element-wise",
    ]  # fmt: skip
    for axes, kind in zip(figure.axes, KINDS, strict=True):
        assert len(means(axes)) == len(SCORES)
        for line, attack in zip(means(axes), SCORES, strict=True):
            own = frame[(frame["method"] == kind) & (frame["attack"] == attack)]
            np.testing.assert_allclose(line.get_xdata(), FACTORS)
            np.testing.assert_allclose(line.get_ydata(), own.groupby("lam")["value"].mean())


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_bands_are_the_intervals(seeds):
    frame = rescaled(KINDS[:1], seeds)
    (axes,) = plots.rescaling(frame).axes
    for band, attack in zip(axes.collections, SCORES, strict=True):
        corners = band.get_paths()[0].vertices
        for lam in FACTORS:
            found = shown(frame[(frame["lam"] == lam) & (frame["attack"] == attack)])
            at = corners[corners[:, 0] == lam][:, 1]
            assert (at.min(), at.max()) == pytest.approx((found.low, found.high))


def test_panels_share_the_axis_of_accuracies_and_the_legend_names_each_line_once():
    figure = plots.rescaling(rescaled())
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    (legend,) = figure.legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["clean", "FGSM", "PGD-7", "as trained"]


def test_the_factor_of_training_is_marked():
    for axes in plots.rescaling(rescaled()).axes:
        (guide,) = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert list(guide.get_xdata()) == [1, 1]


def test_seeds_are_dots_only_where_there_are_several():
    for seeds, expected in (((0,), 0), ((0, 1), len(SCORES))):
        (axes,) = plots.rescaling(rescaled(KINDS[:1], seeds)).axes
        dots = [line for line in axes.lines if line.get_linestyle() == "None"]
        assert len(dots) == expected
        assert all(len(line.get_xdata()) == len(FACTORS) * len(seeds) for line in dots)


def test_an_attack_missing_for_one_kind_leaves_its_line_out():
    frame = rescaled(KINDS[:2])
    frame = frame[~((frame["method"] == KINDS[1]) & (frame["attack"] == "fgsm"))]
    figure = plots.rescaling(frame)
    assert [len(means(axes)) for axes in figure.axes] == [3, 2]
    colours = [[line.get_color() for line in means(axes)] for axes in figure.axes]
    assert colours[1] == [colours[0][0], colours[0][2]], "a line keeps its colour"


def test_rows_without_accuracies_are_refused():
    with pytest.raises(UserError, match="there are 0 rows"):
        plots.rescaling(rescaled().assign(metric="alpha"))
