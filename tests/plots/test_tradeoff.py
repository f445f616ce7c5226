"""Trade-offs by data set, backbone and attack, of methods and of variants of one method."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Annotation, Text

from lib import plots
from lib.errors import UserError
from lib.intervals import wilson
from lib.plots import style

LAMBDAS = (0.0, 0.2, 0.7, 1.0)


def rows(label, shift=0.0, attacks=("pgd7",), network=("digits", "resnet18-8"), seeds=(0,)):
    """Return both accuracies of a series; each attack takes three points more than the last."""
    start = {"dataset": network[0], "backbone": network[1], "method": label, "n": 600}
    found = []
    for lam in LAMBDAS:
        scores = {"none": 97 - 8 * lam + shift}
        scores |= {attack: 15 + 40 * lam - 3 * i + shift for i, attack in enumerate(attacks)}
        for seed in seeds:
            for attack, score in scores.items():
                low, high = wilson(score / 100, 600)
                metric = "clean_acc" if attack == "none" else "robust_acc"
                cell = {"lam": lam, "seed": seed, "attack": attack, "metric": metric}
                found.append(start | cell | {"value": score, "ci_low": low, "ci_high": high})
    return found


def lines(axes):
    """Return the lines through means, by colour."""
    return {
        line.get_color(): line
        for line in axes.lines
        if line.get_marker() == "None" and len(line.get_xdata()) > 1
    }


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]


def test_a_panel_holds_one_data_set_and_backbone_and_says_which():
    networks = [("digits", "resnet18-8"), ("digits", "wrn16_8-1"), ("svhn", "wrn16_8-1")]
    frame = pd.DataFrame(
        row for i, where in enumerate(networks) for row in rows("FLOAT", -i, network=where)
    )
    figure = plots.trade_off(frame)
    assert titles(figure) == [
        "(a) digits, ResNet-18, width 8", "(b) digits, WRN-16-8, width 1",
        "(c) SVHN, WRN-16-8, width 1",
    ]  # fmt: skip
    for i, axes in enumerate(figure.axes):
        (line,) = lines(axes).values()
        np.testing.assert_allclose(line.get_xdata(), [97 - 8 * lam - i for lam in LAMBDAS])


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_attacks_get_a_panel_each_which_share_the_clean_accuracies(seeds):
    frame = pd.DataFrame(rows("FLOAT", attacks=("pgd20", "pgd20-step0.5", "fgsm"), seeds=seeds))
    figure = plots.trade_off(frame, panels="attack")
    assert titles(figure) == ["(a) PGD-20", "(b) PGD-20, step 0.5/255", "(c) FGSM"]
    for i, axes in enumerate(figure.axes):
        (line,) = lines(axes).values()
        np.testing.assert_allclose(line.get_xdata(), [97 - 8 * lam for lam in LAMBDAS])
        np.testing.assert_allclose(line.get_ydata(), [15 + 40 * lam - 3 * i for lam in LAMBDAS])


def test_both_versions_of_autoattack_share_a_panel():
    frame = pd.DataFrame(rows("FLOAT", attacks=("aa",)) + rows("PGD-AT", -2, attacks=("aa",)))
    noisy = frame["method"].eq("FLOAT") & frame["lam"].gt(0) & frame["attack"].eq("aa")
    frame.loc[noisy, "attack"] = "aa-rand"
    (axes,) = plots.trade_off(frame, panels="attack").axes
    assert axes.get_title(loc="left") == ""
    assert axes.get_ylabel() == "robust accuracy (AutoAttack), %"
    assert {len(line.get_xdata()) for line in lines(axes).values()} == {4}


def test_a_method_stays_out_of_the_panels_of_attacks_it_was_not_scored_under():
    frame = pd.DataFrame(
        rows("OAT", attacks=("pgd20",))
        + rows("FLOAT", 1, attacks=("pgd20", "aa"))
        + rows("PGD-AT", -1, attacks=("aa",))
    )
    figure = plots.trade_off(frame, panels="attack")
    drawn = [set(lines(axes)) for axes in figure.axes]
    colours = style.COLOURS
    assert drawn == [
        {colours["OAT"], colours["FLOAT"]},
        {colours["FLOAT"], colours["PGD-AT"]},
    ]
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {"OAT", "FLOAT", "PGD-AT"}


def test_an_attack_that_no_title_names_is_named_at_the_axis():
    networks = [("digits", "resnet18-8"), ("svhn", "resnet18-8")]
    frame = pd.DataFrame(row for where in networks for row in rows("FLOAT", network=where))
    for panels in ("network", "attack"):
        for axes in plots.trade_off(frame, panels=panels).axes:
            assert axes.get_ylabel() == "robust accuracy (PGD-7), %"


def test_several_attacks_in_one_panel_are_refused():
    with pytest.raises(UserError, match="pgd20, fgsm; select one"):
        plots.trade_off(pd.DataFrame(rows("FLOAT", attacks=("pgd20", "fgsm"))))


def test_a_trade_off_without_robust_accuracies_is_refused():
    frame = pd.DataFrame(rows("FLOAT"))
    with pytest.raises(UserError, match="but there are: none"):
        plots.trade_off(frame[frame["metric"] == "clean_acc"])


def test_accuracies_at_different_lambdas_are_refused():
    frame = pd.DataFrame(rows("FLOAT"))
    apart = frame["metric"].eq("clean_acc") & frame["lam"].lt(0.5)
    apart |= frame["metric"].eq("robust_acc") & frame["lam"].gt(0.5)
    with pytest.raises(UserError, match="at the same λ"):
        plots.trade_off(frame[apart])


def test_unknown_panels_are_refused():
    with pytest.raises(UserError, match="'attack'"):
        plots.trade_off(pd.DataFrame(rows("FLOAT")), panels="atack")


def test_published_numbers_go_to_the_panel_of_their_attack_and_backbone():
    networks = [("cifar10", "resnet34-16"), ("cifar10", "wrn16_8-1")]
    frame = pd.DataFrame(
        row for where in networks for row in rows("FLOAT", 0, ("pgd7", "fgsm"), where)
    )
    paper = pd.DataFrame(rows("FLOAT", 1, ("pgd7",), ("cifar10", "resnet34")))
    paper = paper[["dataset", "backbone", "method", "lam", "attack", "metric", "value"]]
    figure = plots.trade_off(frame, paper, panels="attack")
    hollow = [sum(one.get_markerfacecolor() == "none" for one in a.lines) for a in figure.axes]
    assert titles(figure) == [
        "(a) CIFAR-10, ResNet-34, width 16, PGD-7", "(b) CIFAR-10, ResNet-34, width 16, FGSM",
        "(c) CIFAR-10, WRN-16-8, width 1, PGD-7", "(d) CIFAR-10, WRN-16-8, width 1, FGSM",
    ]  # fmt: skip
    assert hollow == [1, 0, 0, 0]


def test_variants_of_a_method_are_lines_of_their_own_with_entries_of_their_own():
    labels = ["FLOAT, λ_th 0.5", "FLOAT, λ_th 0"]
    figure = plots.trade_off(pd.DataFrame(rows(labels[0]) + rows(labels[1], -2)))
    faces = style.faces(labels)
    (axes,) = figure.axes
    assert set(lines(axes)) == {face.colour for face in faces.values()}
    (legend,) = figure.legends
    handles = legend.legend_handles
    assert [h.get_color() for h in handles] == [faces[label].colour for label in labels]
    assert "λ_th" not in "".join(text.get_text() for text in legend.get_texts())


@pytest.mark.parametrize("gap", [2.5, 1.0])
def test_six_series_have_every_lambda_written_and_no_label_on_another(gap):
    names = ("OAT slim", "FLOAT slim", "FLOATS slim")
    labels = [f"{name}, SF {sf}" for name in names for sf in (1, 0.5)]
    frame = pd.DataFrame(row for i, one in enumerate(labels) for row in rows(one, -gap * i))
    figure = plots.trade_off(frame, stamp="preset ci")
    (axes,) = figure.axes
    written = [text for text in axes.texts if isinstance(text, Annotation)]
    assert sorted(float(t.get_text()[2:]) for t in written) == sorted(6 * LAMBDAS)
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in written]  # without the lines
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
