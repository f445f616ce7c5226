"""Figures show what is in the frames, in one style, and need no torch."""

import io
import subprocess
import sys
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Annotation, Text

from lib import paths, plots
from lib import published as papers
from lib.intervals import select, wilson
from lib.plots import style

CURVES = {  # clean and robust accuracy at the four lam
    "PGD-AT": [(97.0, 1.0), (96.0, 40.0), (95.0, 55.0), (93.0, 60.0)],
    "OAT": [(96.0, 20.0), (95.5, 45.0), (94.0, 52.0), (93.5, 53.0)],
    "FLOAT": [(97.5, 10.0), (94.0, 50.0), (93.8, 51.0), (93.6, 50.5)],
    "SMART": [(98.0, 8.0), (94.5, 49.0), (94.4, 49.5), (94.3, 49.2)],
}


def accuracies(methods=("PGD-AT", "SMART"), seeds=(0,), n=600, dataset="digits", attack="pgd7"):
    rng = np.random.default_rng(0)
    rows = []
    for method in methods:
        for lam, scores in zip((0.0, 0.2, 0.7, 1.0), CURVES[method], strict=True):
            for seed in seeds:
                for metric, value in zip(("clean_acc", "robust_acc"), scores, strict=True):
                    value = float(np.clip(value + (rng.normal() if seed else 0), 0, 100))
                    low, high = wilson(value / 100, n)
                    rows.append(
                        {
                            "dataset": dataset,
                            "backbone": "resnet18-8",
                            "method": method,
                            "seed": seed,
                            "lam": lam,
                            "attack": attack if metric == "robust_acc" else "none",
                            "metric": metric,
                            "value": value,
                            "ci_low": low,
                            "ci_high": high,
                            "n": n,
                        }
                    )
    return pd.DataFrame(rows)


FIGURES = {
    "one data set": lambda n: plots.trade_off(accuracies(n=n), published(), "preset ci"),
    "FGSM": lambda n: plots.trade_off(accuracies(("OAT", "SMART"), n=n, attack="fgsm")),
    "four data sets": lambda n: plots.trade_off(four_data_sets(n), published()),
}


def published():
    return papers.read("smart/table2_comparison")


def four_data_sets(n=600):
    names = ("cifar10", "cifar100", "stl10", "tiny_imagenet")
    return pd.concat([accuracies(seeds=(0, 1, 2), n=n, dataset=name) for name in names])


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def lambdas(axes):
    return [text for text in axes.texts if isinstance(text, Annotation)]


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("n", [64, 2000])
def test_every_figure_draws_at_paper_width_with_labelled_axes(name, n):
    figure = FIGURES[name](n)
    assert figure.get_figwidth() in (style.NARROW, style.WIDE)
    for axes in figure.axes:
        assert axes.get_title() == ""
        title = axes.get_title(loc="left")
        assert title == "" or title[0] == "(", "panel letters only"
        assert not axes.spines["top"].get_visible() and axes.get_legend() is None
    assert figure.legends, "the legend is outside of the data"
    assert all(axes.get_ylabel() for axes in figure.axes[:1])


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_frames_make_the_same_bytes(name):
    assert png(FIGURES[name](600)) == png(FIGURES[name](600))


def test_drawing_leaves_the_settings_of_others_alone():
    before = dict(mpl.rcParams)
    plots.trade_off(accuracies())
    assert dict(mpl.rcParams) == before


def test_a_stamp_is_drawn_only_where_there_is_one():
    stamped = plots.trade_off(accuracies(), stamp="preset quick, n = 600 test images")
    assert [t.get_text() for t in stamped.texts] == ["preset quick, n = 600 test images"]
    assert plots.trade_off(accuracies()).texts == []


def test_colours_and_markers_tell_methods_apart():
    assert len(set(style.COLOURS.values())) == len(style.COLOURS) == len(style.MARKERS)
    assert len(set(style.MARKERS.values())) == len(style.MARKERS)
    assert style.PAPER not in style.COLOURS.values()


def test_a_trade_off_shows_means_over_seeds():
    rows = accuracies(("SMART",), seeds=(0, 1, 2))
    (axes,) = plots.trade_off(rows).axes
    line = next(one for one in axes.lines if one.get_linestyle() == "-" and len(one.get_xdata()))
    means = rows.groupby(["metric", "lam"])["value"].mean()
    np.testing.assert_allclose(line.get_xdata(), means["clean_acc"])
    np.testing.assert_allclose(line.get_ydata(), means["robust_acc"])


def test_published_numbers_are_hollow_and_where_the_paper_has_them():
    (axes,) = plots.trade_off(accuracies(), published()).axes
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert len(hollow) == 2  # PGD-AT and SMART
    table = published()
    for line, method in zip(hollow, ("PGD-AT", "SMART"), strict=True):
        for x, lam in zip(line.get_xdata(), (0.0, 1.0), strict=True):
            rows = select(table, method=method, metric="clean_acc", lam=lam)
            assert x == rows["value"].item()


def test_published_numbers_of_another_attack_are_left_out():
    (axes,) = plots.trade_off(accuracies(attack="fgsm"), published()).axes
    assert all(line.get_markerfacecolor() != "none" for line in axes.lines)


def test_published_numbers_stay_in_the_panel_of_their_data_set():
    figure = plots.trade_off(four_data_sets(), published())
    hollow = [
        sum(line.get_markerfacecolor() == "none" for line in axes.lines) for axes in figure.axes
    ]
    assert hollow == [2, 0, 0, 0]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_every_lambda_is_written_once_for_each_method_and_none_covers_another(seeds):
    figure = plots.trade_off(accuracies(CURVES, seeds), published())
    (axes,) = figure.axes
    written = [float(lam) for t in lambdas(axes) for lam in t.get_text()[2:].split(", ")]
    assert sorted(written) == sorted(4 * [0.0, 0.2, 0.7, 1.0])
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in lambdas(axes)]  # without the lines
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)


def test_points_on_top_of_each_other_share_a_label():
    rows = accuracies(("SMART",))
    late = rows["lam"] > 0
    for metric, value in (("clean_acc", 94.0), ("robust_acc", 50.0)):
        rows.loc[late & (rows["metric"] == metric), "value"] = value
    (axes,) = plots.trade_off(rows).axes
    assert {t.get_text() for t in lambdas(axes)} == {"λ 0", "λ 0.2, 0.7, 1"}


def test_figures_come_from_the_files_alone_without_torch(tmp_path):
    accuracies().to_csv(tmp_path / "metrics.csv", index=False)
    script = f"""
import sys
import pandas as pd
from lib import plots, published
metrics = pd.read_csv(r"{tmp_path / "metrics.csv"}")
table = published.read("smart/table2_comparison")
plots.trade_off(metrics, table, "preset ci").savefig(r"{tmp_path / "figure.png"}")
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], cwd=paths.ROOT, check=True, timeout=120)
    assert (tmp_path / "figure.png").stat().st_size > 5000
