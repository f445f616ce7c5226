"""What is inside trained networks: densities of layers, statistics of batch norms."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lib.plots import style

HALF = 50.0  # percent: the line of SMART, section 3


@style.styled
def layer_density(metrics: pd.DataFrame, stamp: str = "") -> Figure:
    """Draw the share of non-zero weights of every convolution, one line for a global density.

    Shortcut convolutions are hollow and stand off the line; seeds are dots around their mean.
    """
    rows = metrics[metrics["metric"].str.startswith("density:")]
    rows = rows.assign(layer=rows["metric"].str.removeprefix("density:"))
    layers = style.unique(rows["layer"])
    figure, ((axes,),) = style.canvas(style.WIDE, 2.7, stamp)
    place = {layer: i for i, layer in enumerate(layers)}
    main = [layer for layer in layers if "downsample" not in layer]
    other = [layer for layer in layers if "downsample" in layer]
    labels = style.unique(rows["method"])
    colours = dict(zip(labels, _shades(len(labels)), strict=True))
    for label in labels:
        own = rows[rows["method"] == label]
        mean = own.groupby("layer")["value"].mean()
        colour = colours[label]
        axes.plot([place[n] for n in main], mean[main], "-o", color=colour, mec="white", mew=0.5)
        look = {"linestyle": "none", "marker": "o", "mfc": "white", "mec": colour, "zorder": 3}
        axes.plot([place[n] for n in other], mean[other], **look)
        if len(style.unique(own["seed"])) > 1:
            dots = {"linestyle": "none", "marker": "o", "markersize": 1.6, "mew": 0, "alpha": 0.5}
            axes.plot(own["layer"].map(place), own["value"], color=colour, **dots)
    axes.axhline(HALF, color=style.QUIET, linewidth=0.8, linestyle="--", zorder=1)
    top = min(102.0, max(60.0, 1.08 * rows["value"].max()))
    _stages(axes, layers, top)
    axes.set_xticks(range(len(layers)), [_short(n) for n in layers], rotation=60, ha="right",
                    rotation_mode="anchor")  # fmt: skip
    axes.set_xlim(-0.6, len(layers) - 0.4)
    axes.set_ylim(0, top)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("non-zero weights, %")
    axes.set_xlabel("convolution, from input to output")
    entries = [Line2D([], [], color=colours[n], marker="o", mec="white", label=n) for n in labels]
    hollow = {"linestyle": "none", "marker": "o", "mfc": "white", "mec": style.QUIET}
    entries.append(Line2D([], [], label="1x1 shortcut", **hollow))
    line = {"color": style.QUIET, "linewidth": 0.8, "linestyle": "--"}
    entries.append(Line2D([], [], label="half of the weights", **line))
    style.legend(figure, entries)
    return figure


def _shades(number: int) -> list[tuple[float, ...]]:
    """Return colours from dark to light for an ordered series."""
    return [colormaps["viridis"](x) for x in np.linspace(0.15, 0.75, number)]


def _short(layer: str) -> str:
    """Return a layer's name as it fits under an axis: '2.0 conv1', '2.0 shortcut'."""
    name = layer.removeprefix("layer").replace(".downsample.0", ".shortcut")
    head, _, last = name.rpartition(".")
    return f"{head} {last}".strip()


def _stages(axes: Axes, layers: list[str], top: float) -> None:
    """Shade every other stage and write its number at the top."""
    stage = [layer.split(".")[0] if "." in layer else "stem" for layer in layers]
    for number, name in enumerate(dict.fromkeys(stage)):
        inside = [i for i, s in enumerate(stage) if s == name]
        low, high = inside[0] - 0.5, inside[-1] + 0.5
        if number % 2:
            axes.axvspan(low, high, color="#F3F3F3", linewidth=0, zorder=0)
        text = name.replace("layer", "module ")
        where = {"ha": "center", "va": "bottom", "color": style.QUIET, "size": 6.5}
        axes.text((low + high) / 2, top, text, **where)


@style.styled
def bn_statistics(metrics: pd.DataFrame, stamp: str = "") -> Figure:
    """Draw histograms over channels of the running mean and variance of both batch norms."""
    parts = metrics["metric"].str.extract(r"^(running_mean|running_var):(\w+):(\d+)$")
    rows = metrics.assign(statistic=parts[0], path=parts[1]).dropna(subset=["statistic"])
    figure, (panels,) = style.canvas(style.WIDE, 2.3, stamp, columns=2)
    names = {"running_mean": "running mean", "running_var": "running variance"}
    for panel, (statistic, name), letter in zip(panels, names.items(), "ab", strict=True):
        own = rows[rows["statistic"] == statistic]
        edges = np.histogram_bin_edges(own["value"], bins=_bins(len(own)))
        for path, colour in style.PATHS.items():
            values = own.loc[own["path"] == path, "value"]
            look = {"histtype": "stepfilled", "facecolor": (colour, 0.35), "edgecolor": colour}
            panel.hist(values, edges, linewidth=1.0, **look)
        panel.set_xlabel(f"{name} of a channel")
        panel.set_title(f"({letter})")
        panel.yaxis.get_major_locator().set_params(integer=True)
    panels[0].set_ylabel("channels")
    entries = [
        Patch(facecolor=(colour, 0.35), edgecolor=colour, label=f"{path} batch norm")
        for path, colour in style.PATHS.items()
    ]
    style.legend(figure, entries)
    return figure


def _bins(values: int) -> int:
    """Return a number of bins that leaves some channels in each."""
    return int(np.clip(values // 5, 6, 30))
