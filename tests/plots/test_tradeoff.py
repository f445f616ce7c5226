"""Trade-offs by data set, backbone, attack and part, of methods and of variants of one method."""

import io
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex

from lib import paths, plots
from lib.errors import UserError
from lib.intervals import wilson
from lib.plots import style, tradeoff
from lib.tables import shown

LAMBDAS = (0.0, 0.2, 0.7, 1.0)
DIGITS, WIDE = ("digits", "resnet18-8"), ("digits", "wrn16_8-1")


def rows(label, shift=0.0, attacks=("pgd7",), network=DIGITS, seeds=(0,)):
    """Return both accuracies of a series; each attack takes three points more than the last."""
    start = {"dataset": network[0], "backbone": network[1], "method": label, "n": 600}
    found = []
    for lam in LAMBDAS:
        scores = {"none": 90 - 8 * lam + shift}
        scores |= {attack: 15 + 40 * lam - 3 * i + shift for i, attack in enumerate(attacks)}
        for seed in seeds:
            for attack, score in scores.items():
                low, high = wilson(score / 100, 600)
                metric = "clean_acc" if attack == "none" else "robust_acc"
                cell = {"lam": lam, "seed": seed, "attack": attack, "metric": metric}
                value = {"value": score + seed, "ci_low": low, "ci_high": high}
                found.append(start | cell | value)
    return found


def draw(*series, reference=None, stamp=""):
    return plots.trade_off(pd.DataFrame(row for one in series for row in one), reference, stamp)


def lines(axes):
    """Return the points of every line that joins trade-offs, by the colour of the method."""
    drawn = [line for line in axes.lines if line.get_linestyle() != "None"]
    return {to_hex(line.get_color()).upper(): line.get_xydata() for line in drawn}


def markers(axes):
    """Return position and diameter of every filled marker, in the order they are drawn in."""
    (dots,) = (one for one in axes.collections if isinstance(one, PathCollection))
    found = np.column_stack([dots.get_offsets(), dots.get_sizes() ** 0.5])
    return [tuple(row) for row in np.round(found, 6).tolist()]


def intervals(axes):
    """Return both ends of every interval that is drawn."""
    found = [one for one in axes.collections if isinstance(one, LineCollection)]
    return [np.round(segment, 6).tolist() for one in found for segment in one.get_segments()]


def hollow(axes):
    return [line.get_xydata()[0].tolist() for line in axes.lines if line.get_mfc() == "none"]


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_markers_stand_at_the_means_with_intervals_and_grow_with_lam(seeds):
    series = rows("SMART", seeds=seeds)
    (axes,) = draw(series).axes
    mean = sum(seeds) / len(seeds)
    expected = [(90 - 8 * lam + mean, 15 + 40 * lam + mean) for lam in LAMBDAS]
    np.testing.assert_allclose(lines(axes)[style.COLOURS["SMART"]], expected)
    at = {marker[:2]: marker[2] for marker in markers(axes)}
    sizes = [at[round(x, 6), round(y, 6)] for x, y in expected]
    assert sizes == sorted(set(sizes))
    assert [size for *_, size in markers(axes)] == sizes[::-1], "no large one covers a small one"
    frame = pd.DataFrame(series)
    for lam, (x, y) in zip(LAMBDAS, expected, strict=True):
        here = frame[frame["lam"] == lam]
        clean, robust = (shown(here[here["metric"] == m]) for m in ("clean_acc", "robust_acc"))
        ends = [[[clean.low, y], [clean.high, y]], [[x, robust.low], [x, robust.high]]]
        for bar in ends:
            assert np.round(bar, 6).tolist() in intervals(axes)
    dots = [line.get_xydata() for line in axes.lines if line.get_linestyle() == "None"]
    seen = sorted(map(tuple, np.concatenate(dots))) if dots else []
    wanted = [(90 - 8 * lam + s, 15 + 40 * lam + s) for lam in LAMBDAS for s in seeds]
    assert seen == (sorted(wanted) if len(seeds) > 1 else [])


def test_intervals_of_one_seed_are_whole_and_wide_ones_do_not_squeeze_the_points(monkeypatch):
    monkeypatch.setattr(tradeoff, "REACH", 0.2)
    (axes,) = draw(rows("SMART")).axes
    (low, high), ends = axes.get_xlim(), [x for bar in intervals(axes) for x, _ in bar]
    assert low < min(ends) and max(ends) < high
    (axes,) = draw(rows("SMART", seeds=(0, 5))).axes
    (low, high), ends = axes.get_xlim(), [x for bar in intervals(axes) for x, _ in bar]
    assert min(ends) < low < 82 and 95 < high < max(ends)


def test_every_size_of_a_marker_is_explained():
    (legend,) = draw(rows("SMART"), stamp="preset ci").legends
    told = [text.get_text() for text in legend.get_texts()]  # rows of both, filled by columns
    assert told == ["SMART", "λ = 0", " ", "0.2", " ", "0.7", " ", "1"]
    (axes,) = draw(rows("SMART")).axes
    drawn = [round(handle.get_markersize(), 6) for handle in legend.legend_handles[1::2]]
    assert drawn == [size for *_, size in markers(axes)][::-1]


def test_a_panel_holds_one_network_says_which_and_that_its_axes_are_its_own():
    networks = [DIGITS, WIDE, ("svhn", "wrn16_8-1")]
    figure = draw(*(rows("FLOAT", -i, network=where) for i, where in enumerate(networks)))
    assert titles(figure) == [
        "(a) digits, ResNet-18, width 8", "(b) digits, WRN-16-8, width 1",
        "(c) SVHN, WRN-16-8, width 1",
    ]  # fmt: skip
    for i, axes in enumerate(figure.axes):
        (line,) = lines(axes).values()
        np.testing.assert_allclose(line[:, 0], [90 - 8 * lam - i for lam in LAMBDAS])
        assert axes.get_ylabel() == "robust accuracy (PGD-7), %", "no title names the attack"
    assert len({axes.get_xlim() for axes in figure.axes}) == 3
    assert "axes differ" in figure.texts[-1].get_text()


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_attacks_get_a_panel_each_on_shared_axes_with_the_same_clean_accuracies(seeds):
    figure = draw(rows("FLOAT", attacks=("pgd20", "pgd20-step0.5", "fgsm"), seeds=seeds))
    assert titles(figure) == ["(a) PGD-20", "(b) PGD-20, step 0.5/255", "(c) FGSM"]
    mean = sum(seeds) / len(seeds)
    for i, axes in enumerate(figure.axes):
        expected = [(90 - 8 * lam + mean, 15 + 40 * lam - 3 * i + mean) for lam in LAMBDAS]
        np.testing.assert_allclose(lines(axes)[style.COLOURS["FLOAT"]], expected)
    assert len({(*axes.get_xlim(), *axes.get_ylim()) for axes in figure.axes}) == 1
    assert figure.texts == []


def test_a_column_splits_the_rows_of_one_network_into_panels():
    parts = [pd.DataFrame(rows("FLOAT", -i)).assign(panel=f"SF {i}") for i in range(2)]
    figure = plots.trade_off(pd.concat(parts))
    assert titles(figure) == ["(a) SF 0", "(b) SF 1"]
    assert [markers(axes)[-1][0] for axes in figure.axes] == [90, 89]


def test_both_versions_of_autoattack_share_a_panel():
    frame = pd.DataFrame(rows("FLOAT", attacks=("aa",)) + rows("PGD-AT", -2, attacks=("aa",)))
    noisy = frame["method"].eq("FLOAT") & frame["lam"].gt(0) & frame["attack"].eq("aa")
    frame.loc[noisy, "attack"] = "aa-rand"
    (axes,) = plots.trade_off(frame).axes
    assert axes.get_title(loc="left") == ""
    assert axes.get_ylabel() == "robust accuracy (AutoAttack), %"
    assert {len(line) for line in lines(axes).values()} == {4}


def test_a_method_stays_out_of_the_panels_of_attacks_it_was_not_scored_under():
    figure = draw(
        rows("OAT", attacks=("pgd20",)),
        rows("FLOAT", 1, attacks=("pgd20", "aa")),
        rows("PGD-AT", -1, attacks=("aa",)),
    )
    oat, float_, pgd_at = (style.COLOURS[name] for name in ("OAT", "FLOAT", "PGD-AT"))
    assert [set(lines(axes)) for axes in figure.axes] == [{oat, float_}, {float_, pgd_at}]
    told = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {name for name in told if name.isupper()} == {"OAT", "FLOAT", "PGD-AT"}


def test_accuracies_that_make_no_point_are_refused():
    frame = pd.DataFrame(rows("FLOAT"))
    early = frame["lam"].lt(0.5)
    apart = frame["metric"].eq("clean_acc") & early | frame["metric"].eq("robust_acc") & ~early
    for kept in (apart, frame["metric"] == "clean_acc"):
        with pytest.raises(UserError, match="at the same λ"):
            plots.trade_off(frame[kept])


def test_published_numbers_are_hollow_in_the_panel_of_their_data_set_backbone_and_attack():
    networks = [("cifar10", "resnet34-16"), ("cifar10", "wrn16_8-1"), ("svhn", "wrn16_8-1")]
    ours = [rows("FLOAT", 0, ("pgd7", "fgsm"), where) for where in networks]
    paper = pd.DataFrame(
        rows("FLOAT", 1, ("pgd7",), ("cifar10", "resnet34")) + rows("SMART", 2)
    ).drop(columns=["n", "ci_low", "ci_high", "seed"])
    figure = draw(*ours, reference=paper)
    points = [[91 - 8 * lam, 16 + 40 * lam] for lam in LAMBDAS]
    assert [hollow(axes) for axes in figure.axes] == [points, [], [], [], [], []]
    assert "paper (CIFAR-10)" in {text.get_text() for text in figure.legends[0].get_texts()}


def test_the_only_network_stands_beside_published_numbers_of_another():
    paper = pd.DataFrame(rows("FLOAT", 1, network=("cifar10", "resnet34"))).drop(columns="n")
    assert len(hollow(draw(rows("FLOAT"), reference=paper).axes[0])) == len(LAMBDAS)


def test_drawing_leaves_the_settings_of_others_alone():
    before = dict(mpl.rcParams)
    draw(rows("FLOAT"))
    assert dict(mpl.rcParams) == before


def test_figures_come_from_the_files_alone_without_torch(tmp_path):
    pd.DataFrame(rows("FLOAT")).to_csv(tmp_path / "metrics.csv", index=False)
    script = f"""
import sys
import pandas as pd
from lib import plots
plots.trade_off(pd.read_csv(r"{tmp_path / "metrics.csv"}"))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], cwd=paths.ROOT, check=True, timeout=120)


def test_the_same_rows_make_the_same_bytes_on_a_figure_with_its_stamp():
    def png():
        buffer = io.BytesIO()
        figure = draw(rows("FLOAT"), rows("OAT", 1), stamp="preset ci, n = 600")
        assert "preset ci, n = 600" in [text.get_text() for text in figure.texts]
        figure.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()

    assert png() == png()
