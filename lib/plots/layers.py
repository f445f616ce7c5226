"""What is inside trained networks: densities of layers, statistics of batch norms."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lib.plots import style

HALF = 50.0  # percent: the line of SMART, section 3
PAIR = "#0072B2"
SHORTCUT = "downsample"  # in the names of 1x1 convolutions beside a block


@style.styled
def layer_density(metrics: pd.DataFrame, stamp: str = "") -> Figure:
    """Draw the share of non-zero weights of every convolution, one line for a global density.

    Shortcut convolutions are hollow and stand off the line; seeds are dots around their mean.
    """
    rows = by_layer(metrics, "density")
    layers = style.unique(rows["layer"])
    figure, ((axes,),) = style.canvas(style.WIDE, 2.7, stamp)
    labels = style.unique(rows["method"])
    colours = dict(zip(labels, _shades(len(labels)), strict=True))
    for label, size in zip(labels, np.linspace(6, 4, len(labels)), strict=True):
        look: style.Look = {"color": colours[label], "marker": "o", "markersize": size}
        draw_by_depth(axes, rows[rows["method"] == label], layers, look)
    axes.axhline(HALF, color=style.QUIET, linewidth=0.8, linestyle="--", zorder=1)
    top = min(105.0, max(60.0, 1.08 * rows["value"].max()))
    draw_stages(axes, layers, top)
    axes.set_xticks(range(len(layers)), [_short(n) for n in layers], rotation=60, ha="right",
                    rotation_mode="anchor")  # fmt: skip
    axes.set_xlim(-0.6, len(layers) - 0.4)
    axes.set_ylim(0, top)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("non-zero weights, %")
    axes.set_xlabel("convolution, from input to output")
    entries = [Line2D([], [], color=colours[n], marker="o", mec="white", label=n) for n in labels]
    entries.append(shortcut_handle())
    line: style.Look = {"color": style.QUIET, "linewidth": 0.8, "linestyle": "--"}
    entries.append(Line2D([], [], label="half of the weights", **line))
    style.legend(figure, entries)
    return figure


def by_layer(metrics: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of a metric that has a value for each layer, with the layer in a column."""
    rows = metrics[metrics["metric"] == metric]
    return rows.assign(layer=rows["detail"])


def draw_by_depth(axes: Axes, rows: pd.DataFrame, layers: list[str], look: style.Look) -> None:
    """Draw means over seeds at the places of their layers, shortcuts hollow and off the line.

    Seeds are dots where there are several; look has at least a colour.
    """
    place: style.Look = {layer: i for i, layer in enumerate(layers)}
    mean = rows.groupby("layer")["value"].mean()
    measured = [layer for layer in layers if layer in mean.index]
    main = [layer for layer in measured if SHORTCUT not in layer]
    other = [layer for layer in measured if SHORTCUT in layer]
    axes.plot([place[n] for n in main], mean[main], **look, mec="white", mew=0.5, zorder=3)
    edge: style.Look = {"linestyle": "none", "mfc": "white", "mec": look["color"], "zorder": 3}
    axes.plot([place[n] for n in other], mean[other], **look | edge)
    if len(style.unique(rows["seed"])) > 1:
        style.dots(axes, rows["layer"].map(place), rows["value"], look["color"], alpha=0.5)


def shortcut_handle() -> Line2D:
    """Return the legend entry for shortcut convolutions."""
    hollow: style.Look = {"linestyle": "none", "marker": "o", "mfc": "white", "mec": style.QUIET}
    return Line2D([], [], label="1x1 shortcut", **hollow)


def _shades(number: int) -> list[tuple[float, ...]]:
    """Return colours from dark to light for an ordered series."""
    return [colormaps["viridis"](x) for x in np.linspace(0.15, 0.75, number)]


def _short(layer: str) -> str:
    """Return a layer's name as it fits under an axis: '2.0 conv1', '2.0 shortcut'."""
    name = layer.removeprefix("layer").replace(".downsample.0", ".shortcut")
    head, _, last = name.rpartition(".")
    return f"{head} {last}".strip()


def draw_stages(axes: Axes, layers: list[str], top: float) -> None:
    """Shade every other stage and write its number at the top."""
    stage = [layer.split(".")[0] if "." in layer else "stem" for layer in layers]
    for number, name in enumerate(dict.fromkeys(stage)):
        inside = [i for i, s in enumerate(stage) if s == name]
        low, high = inside[0] - 0.5, inside[-1] + 0.5
        if number % 2:
            axes.axvspan(low, high, color="#F3F3F3", linewidth=0, zorder=0)
        text = name.replace("layer", "module ")
        where: style.Look = {"ha": "center", "va": "bottom", "color": style.QUIET, "size": 6.5}
        axes.text((low + high) / 2, top, text, **where)


@style.styled
def bn_statistics(metrics: pd.DataFrame, stamp: str = "") -> Figure:
    """Draw running mean and variance of both batch norms: histograms, and channel by channel.

    A channel on the diagonal has the same statistic in both.
    """
    rows = metrics[metrics["metric"].isin(("running_mean", "running_var"))]
    rows = rows.assign(path=rows["lam"].map({0.0: "clean", 1.0: "adversarial"}))
    figure, (panels,) = style.canvas(style.WIDE, 2.05, stamp, columns=4)
    for i, name in enumerate(("mean", "variance")):
        own = rows[rows["metric"] == ("running_mean", "running_var")[i]]
        _histograms(panels[i], own)
        panels[i].set_xlabel(f"running {name}")
        _pairs(panels[2 + i], own)
        panels[2 + i].set_xlabel(f"running {name}, clean")
        panels[2 + i].set_ylabel("adversarial")
    panels[0].set_ylabel("channels")
    for panel, letter in zip(panels, "abcd", strict=True):
        panel.set_title(f"({letter})")
    entries = [
        Patch(facecolor=(colour, 0.35), edgecolor=colour, label=f"{path} batch norm")
        for path, colour in style.PATHS.items()
    ]
    dot: style.Look = {"marker": "o", "linestyle": "none", "color": PAIR, "mec": "white"}
    style.legend(figure, [*entries, Line2D([], [], label="a channel in both", **dot)])
    return figure


def _histograms(axes: Axes, rows: pd.DataFrame) -> None:
    edges = np.histogram_bin_edges(rows["value"], bins=_bins(len(rows)))
    for path, colour in style.PATHS.items():
        values = rows.loc[rows["path"] == path, "value"]
        look: style.Look = {
            "histtype": "stepfilled",
            "facecolor": (colour, 0.35),
            "edgecolor": colour,
        }
        axes.hist(values, list(edges), linewidth=1.0, **look)
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))


def _pairs(axes: Axes, rows: pd.DataFrame) -> None:
    wide = rows.pivot_table(index=["seed", "detail"], columns="path", values="value")
    dots: style.Look = {
        "linestyle": "none",
        "marker": "o",
        "markersize": 3.5,
        "mec": "white",
        "mew": 0.4,
    }
    axes.plot(wide["clean"], wide["adversarial"], color=PAIR, **dots)
    low, high = rows["value"].min(), rows["value"].max()
    room = 0.06 * (high - low)
    axes.set(xlim=(low - room, high + room), ylim=(low - room, high + room))
    axes.axline((low, low), slope=1, color=style.QUIET, linewidth=0.7, linestyle="--", zorder=1)


def _bins(values: int) -> int:
    """Return a number of bins that leaves some channels in each."""
    return int(np.clip(values // 5, 6, 30))
