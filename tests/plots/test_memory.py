"""Accuracy at both ends of the trade-off against memory."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color

from lib import plots, published
from lib.errors import UserError
from lib.intervals import select, wilson
from lib.plots import style

NETWORKS = {"resnet18": ("cifar10", "resnet34"), "wrn16_8": ("svhn", "wrn16_8")}
BYTES = {"OAT": 1.0, "FLOAT": 0.68, "FLOATS-i": 0.1}
INDEX = 0.19  # of FLOATS-i, with the index of its mask
TRAINED = (("digits", "resnet18-8"), ("digits", "wrn16_8-1"))


def memory_rows(trained=TRAINED, methods=tuple(BYTES), seeds=(0,), n=600, scale=1.0):
    found = []
    for where in trained:
        for i, method in enumerate(methods):
            start = {"dataset": where[0], "backbone": where[1], "method": method, "n": n}
            for seed in seeds:
                for metric, lam, value in (
                    ("clean_acc", 0.0, 96.0 - i),
                    ("clean_acc", 1.0, 90.0),
                    ("robust_acc", 0.0, 10.0),
                    ("robust_acc", 1.0, 50.0 + i),
                ):
                    value += 0.5 * seed
                    low, high = wilson(value / 100, n)
                    attack = "none" if metric == "clean_acc" else "pgd7"
                    cell = {"metric": metric, "lam": lam, "attack": attack, "seed": seed}
                    found.append(start | cell | {"value": value, "ci_low": low, "ci_high": high})
    for dataset, backbone in NETWORKS.values():
        start = {"dataset": dataset, "backbone": backbone}
        for method, share in BYTES.items():
            found.append(start | {"method": method, "metric": "bytes_norm", "value": scale * share})
        indexed = {"method": "FLOATS-i", "metric": "bytes_norm_indexed", "value": scale * INDEX}
        found.append(start | indexed)
    return pd.DataFrame(found)


def markers(axes):
    """Return (method, fill of the marker, x, y) of every mean; fill is 'full' or 'light'."""
    found = []
    for line in axes.lines:
        for method, colour in style.COLOURS.items():
            own = line.get_marker() == style.MARKERS[method]
            if own and same_color(line.get_color(), colour):
                fill = "full" if same_color(line.get_markerfacecolor(), colour) else "light"
                found.append((method, fill, line.get_xdata()[0], line.get_ydata()[0]))
    return found


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("scale", [1.0, 31.4])
def test_markers_stand_at_the_memory_of_the_published_network_and_the_trained_accuracy(
    seeds, scale
):
    figure = plots.memory_accuracy(memory_rows(seeds=seeds, scale=scale), None, NETWORKS)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "(a) digits, ResNet-18, width 8", "(b) digits, WRN-16-8, width 1",
    ]  # fmt: skip
    shift = 0.5 * np.mean(seeds)
    expected = [
        (method, fill, pytest.approx(share), pytest.approx(value + shift))
        for i, (method, share) in enumerate(BYTES.items())
        for fill, value in (("full", 96 - i), ("light", 50 + i))
    ]
    for axes in figure.axes:
        assert markers(axes) == expected


def test_a_thin_line_leads_to_the_memory_with_the_index_where_there_is_one():
    (axes,) = plots.memory_accuracy(memory_rows(TRAINED[:1]), None, NETWORKS).axes
    ticks = [line for line in axes.lines if line.get_marker() == "|"]
    assert [line.get_xdata()[0] for line in ticks] == pytest.approx([INDEX, INDEX])
    assert {line.get_color() for line in ticks} == {style.COLOURS["FLOATS-i"]}


def test_published_accuracies_are_hollow_at_the_memory_of_their_method():
    table = published.read("float/table1_variants")
    figure = plots.memory_accuracy(memory_rows(), table, NETWORKS)
    hollow = [
        [line for line in axes.lines if line.get_markerfacecolor() == "none"]
        for axes in figure.axes
    ]
    assert hollow[1] == [], "the paper prints none for SVHN"
    for line, method in zip(hollow[0], ("FLOAT", "FLOATS-i"), strict=True):
        assert set(line.get_xdata()) == {BYTES[method]}
        clean = select(table, method=method, metric="clean_acc", lam=0.0)["value"].item()
        robust = select(table, method=method, metric="robust_acc", lam=1.0)["value"].item()
        assert list(line.get_ydata()) == [clean, robust]


def test_the_legend_names_methods_and_readings_and_only_what_is_drawn():
    def words(frame, table=None):
        (legend,) = plots.memory_accuracy(frame, table, NETWORKS).legends
        return [text.get_text() for text in legend.get_texts()]

    frame = memory_rows(TRAINED[:1])
    ends = ["clean accuracy, λ = 0", "robust accuracy (PGD-7), λ = 1"]
    index = "with the mask's index"
    table = published.read("float/table1_variants")
    assert words(frame, table) == [*BYTES, *ends, index, "paper (CIFAR-10)"]
    assert words(frame[frame["metric"] != "bytes_norm_indexed"]) == [*BYTES, *ends]


def test_an_end_that_was_not_measured_is_left_out():
    frame = memory_rows(TRAINED[:1])
    frame = frame[~((frame["metric"] == "robust_acc") & (frame["method"] == "OAT"))]
    (axes,) = plots.memory_accuracy(frame, None, NETWORKS).axes
    assert [(m, fill) for m, fill, *_ in markers(axes)][:2] == [("OAT", "full"), ("FLOAT", "full")]


def test_missing_memory_or_networks_are_named():
    frame = memory_rows(TRAINED[:1])
    with pytest.raises(UserError, match="trained backbone 'resnet18'"):
        plots.memory_accuracy(frame, None, {"wrn16_8": ("svhn", "wrn16_8")})
    with pytest.raises(UserError, match="'bytes_norm' of resnet34 on cifar10"):
        plots.memory_accuracy(frame[frame["metric"] != "bytes_norm"], None, NETWORKS)
    with pytest.raises(UserError, match="method with memory 'PGD-AT'"):
        plots.memory_accuracy(memory_rows(TRAINED[:1], ("OAT", "PGD-AT")), None, NETWORKS)
    with pytest.raises(UserError, match="at λ = 0"):
        plots.memory_accuracy(frame[frame["lam"].isna()], None, NETWORKS)
