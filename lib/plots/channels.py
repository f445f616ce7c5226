"""Which input channels of a convolution are left: weights channel by channel, FLOAT Figure 5a."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lib.errors import UserError, choose
from lib.plots import style
from lib.plots.layers import SHORTCUT, by_layer, draw_by_depth, draw_stages, shortcut_handle

LETTERS = "abcdefgh"
STRIP = (1.015, 0.03)  # where the strip of live channels starts above a panel, and its height


@style.styled
def channel_heatmap(
    weights: Mapping[str, np.ndarray], metrics: pd.DataFrame, layer: str = "", stamp: str = ""
) -> Figure:
    """Draw the mean |weight| of one convolution for each method, and channel densities over depth.

    weights holds the layer's weight by label, (out, in, height, width) or (out, in); all share one
    scale, largest = 1. Input channels without a weight stay white; a strip above marks the live
    ones. metrics has rows 'channels' by layer, live input channels in percent; layer is the one
    whose weights are shown and is marked among them.
    """
    images = {label: _magnitude(label, weight) for label, weight in weights.items()}
    largest = max((image.max() for image in images.values()), default=0.0)
    rows = by_layer(metrics, "channels")
    if not largest > 0 or rows.empty:
        raise UserError("A heat map needs weights that are not all zero and rows 'channels'.")
    faces = style.faces(list(dict.fromkeys([*images, *rows["method"]])))
    heights: style.Look = {"gridspec_kw": {"height_ratios": (1.9, 1.3)}}
    figure, grid = style.canvas(style.WIDE, 4.1, stamp, 2, len(images), **heights)
    for axes, (label, image), letter in zip(grid[0], images.items(), LETTERS, strict=False):
        drawn = _heat(axes, image / largest, faces[label].colour)
        live = _live(image)
        title = f"({letter}) {label}: {live.sum()} of {live.size} input channels live"
        axes.set_title(title, pad=9)
        axes.set_xlabel("input channel")
    grid[0][0].set_ylabel("output channel")
    bar = figure.colorbar(drawn, ax=list(grid[0]), label="mean |weight|, largest = 1", pad=0.015)
    bar.outline.set_visible(False)
    below = figure.add_subplot(grid[1][0].get_gridspec()[1, :])
    for axes in grid[1]:
        axes.remove()
    entries = _depth(below, rows, faces, layer)
    below.set_title(f"({LETTERS[len(images)]})", pad=11)  # above the names of the stages
    style.legend(figure, [*style.handles(faces, line=True), *entries])
    return figure


def _heat(axes: Axes, image: np.ndarray, colour: str) -> AxesImage:
    """Draw values in [0, 1], (out, in), dead input channels white; return what has the colours."""
    live = _live(image)
    seen = np.where(live, image, np.nan)
    look: style.Look = {"cmap": "viridis", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    drawn = axes.imshow(seen, aspect="auto", **look)
    low, height = STRIP
    strip: style.Look = {"transform": axes.get_xaxis_transform(), "clip_on": False, "linewidth": 0}
    runs = [(start - 0.5, end - start) for start, end in _runs(live)]
    axes.broken_barh(runs, (low, height), facecolor=colour, **strip)
    axes.set(xlim=(-0.5, live.size - 0.5), ylim=(len(image) - 0.5, -0.5))
    axes.grid(visible=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator("auto", integer=True))
    return drawn


def _live(image: np.ndarray) -> np.ndarray:
    """Return which input channels have a weight at all."""
    return np.asarray(image.any(axis=0))


def _runs(live: np.ndarray) -> list[tuple[int, int]]:
    """Return start and end (exclusive) of every run of live channels."""
    steps = np.diff(np.concatenate([[0], live.astype(int), [0]]))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    return [(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]


def _depth(
    axes: Axes, rows: pd.DataFrame, faces: Mapping[str, style.Face], layer: str
) -> list[Line2D]:
    """Draw the channel density of every convolution; return entries for what is not a method."""
    layers = style.unique(rows["layer"])
    for label in style.unique(rows["method"]):
        face = faces[label]
        look: style.Look = {"color": face.colour, "marker": face.marker, "markersize": 4}
        draw_by_depth(axes, rows[rows["method"] == label], layers, look)
    top = 106.0
    draw_stages(axes, layers, top)
    step = max(1, len(layers) // 20)
    ticks = range(0, len(layers), step)
    axes.set_xticks(ticks, [str(i + 1) for i in ticks])
    axes.set(xlim=(-0.6, len(layers) - 0.4), ylim=(0, top))
    axes.set_ylabel("live input channels, %")
    axes.set_xlabel("convolution, from input to output")
    entries = [shortcut_handle()] if any(SHORTCUT in name for name in layers) else []
    if layer:
        guide: style.Look = {"color": style.QUIET, "linewidth": 0.8, "linestyle": "--"}
        axes.axvline(layers.index(choose("layer", layer, layers)), zorder=1, **guide)
        entries.append(Line2D([], [], label=f"{layer}, shown above", **guide))
    return entries


def _magnitude(label: str, weight: np.ndarray) -> np.ndarray:
    """Return the mean absolute weight of each pair of channels, (out, in)."""
    if weight.ndim not in (2, 4) or not weight.size:
        raise UserError(
            f"The weight of '{label}' has the shape {weight.shape}; pass that of a convolution, "
            "(out, in, height, width), or its mean over the kernel, (out, in)."
        )
    return np.abs(weight).reshape(*weight.shape[:2], -1).mean(axis=2)
