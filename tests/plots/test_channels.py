"""Weights of a convolution channel by channel, and channel densities over depth."""

import numpy as np
import pandas as pd
import pytest

from lib import plots
from lib.errors import UserError

LAYERS = ("conv1", "layer1.0.conv1", "layer1.0.downsample.0", "layer2.0.conv1")
DENSITIES = {"FLOATS-i": (100.0, 100.0, 99.0, 98.0), "FLOATS-c": (60.0, 40.0, 30.0, 25.0)}
LIVE = (1, 2, 5)  # input channels of the layer that FLOATS-c keeps


def channel_rows(seeds=(0,)):
    return pd.DataFrame(
        {
            "method": method,
            "seed": seed,
            "metric": "channels",
            "detail": layer,
            "value": value + seed / 4,
        }
        for method, values in DENSITIES.items()
        for seed in seeds
        for layer, value in zip(LAYERS, values, strict=True)
    )


def magnitudes():
    weight = np.random.default_rng(0).normal(size=(6, 8, 3, 3))
    kept = np.isin(np.arange(8), LIVE)
    return {"FLOATS-i": weight, "FLOATS-c": weight * kept[None, :, None, None] / 2}


def test_images_are_mean_magnitudes_of_kernels_on_one_scale():
    weights = magnitudes()
    figure = plots.channel_heatmap(weights, channel_rows())
    means = {label: np.abs(w).mean(axis=(2, 3)) for label, w in weights.items()}
    largest = max(mean.max() for mean in means.values())
    for axes, mean in zip(figure.axes, means.values(), strict=False):
        (image,) = axes.images
        assert image.get_array().shape == (6, 8), "rows are output channels"
        np.testing.assert_allclose(image.get_array().filled(0), mean / largest)
        assert image.get_clim() == (0, 1)


def test_a_matrix_is_taken_as_it_is():
    weights = {label: np.abs(w).mean(axis=(2, 3)) for label, w in magnitudes().items()}
    figures = [plots.channel_heatmap(w, channel_rows()) for w in (weights, magnitudes())]
    one, other = (figure.axes[0].images[0].get_array() for figure in figures)
    np.testing.assert_allclose(one, other)


def test_dead_input_channels_are_blank_and_live_ones_marked_above():
    figure = plots.channel_heatmap(magnitudes(), channel_rows())
    every, some = figure.axes[:2]
    assert every.get_title(loc="left") == "(a) FLOATS-i: 8 of 8 input channels live"
    assert some.get_title(loc="left") == "(b) FLOATS-c: 3 of 8 input channels live"
    blank = some.images[0].get_array().mask
    assert [c for c in range(8) if not blank[:, c].any()] == list(LIVE)
    assert blank[:, [c for c in range(8) if c not in LIVE]].all()
    for axes, runs in ((every, [(-0.5, 7.5)]), (some, [(0.5, 2.5), (4.5, 5.5)])):
        (strip,) = axes.collections
        spans = [(p.vertices[:, 0].min(), p.vertices[:, 0].max()) for p in strip.get_paths()]
        assert spans == runs
        assert min(p.vertices[:, 1].min() for p in strip.get_paths()) > 1, "above the image"


def test_a_kernel_without_weights_in_a_live_channel_is_not_blank():
    weights = magnitudes()
    weights["FLOATS-i"][2, 3] = 0
    image = plots.channel_heatmap(weights, channel_rows()).axes[0].images[0]
    assert not np.ma.getmaskarray(image.get_array()).any()
    assert image.get_array()[2, 3] == 0


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_densities_are_drawn_over_depth_with_shortcuts_off_the_line(seeds):
    figure = plots.channel_heatmap(magnitudes(), channel_rows(seeds))
    axes = figure.axes[-1]
    assert axes.get_ylabel() == "live input channels, %"
    joined = [line for line in axes.lines if line.get_linestyle() != "None"]
    for line, values in zip(joined, DENSITIES.values(), strict=True):
        assert list(line.get_xdata()) == [0, 1, 3]
        np.testing.assert_allclose(line.get_ydata(), np.delete(values, 2) + np.mean(seeds) / 4)


def test_the_layer_of_the_images_is_marked_and_must_exist():
    figure = plots.channel_heatmap(magnitudes(), channel_rows(), "layer2.0.conv1")
    (guide,) = [line for line in figure.axes[-1].lines if line.get_linestyle() == "--"]
    assert list(guide.get_xdata()) == [3, 3]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "FLOATS-i", "FLOATS-c", "1x1 shortcut", "layer2.0.conv1, shown above",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"did you mean 'layer2\.0\.conv1'"):
        plots.channel_heatmap(magnitudes(), channel_rows(), "layer2.0.conv2")


def test_one_method_is_enough_and_one_bar_of_colours_serves_all():
    for weights in (magnitudes(), {"FLOATS-c": magnitudes()["FLOATS-c"]}):
        figure = plots.channel_heatmap(weights, channel_rows())
        bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
        assert len(bars) == 1
        assert len(figure.axes) == len(weights) + 2


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(UserError, match="all zero"):
        plots.channel_heatmap({"FLOATS-c": np.zeros((4, 4))}, channel_rows())
    with pytest.raises(UserError, match="rows 'channels'"):
        plots.channel_heatmap(magnitudes(), channel_rows().assign(metric="density"))
    with pytest.raises(UserError, match=r"shape \(4,\)"):
        plots.channel_heatmap({"FLOATS-c": np.ones(4)}, channel_rows())
