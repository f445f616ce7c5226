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


@style.styled
def layer_density(metrics: pd.DataFrame, stamp: str = "") -> Figure:
    """Draw the share of non-zero weights of every convolution, one line for a global density.

    Shortcut convolutions are hollow and stand off the line; seeds are dots around their mean.
    """
    rows = metrics[metrics["metric"].str.startswith("density:")]
    rows = rows.assign(layer=rows["metric"].str.removeprefix("density:"))
    layers = style.unique(rows["layer"])
    figure, ((axes,),) = style.canvas(style.WIDE, 2.7, stamp)
    place: style.Look = {layer: i for i, layer in enumerate(layers)}
    main = [layer for layer in layers if "downsample" not in layer]
    other = [layer for layer in layers if "downsample" in layer]
    labels = style.unique(rows["method"])
    colours = dict(zip(labels, _shades(len(labels)), strict=True))
    for label, size in zip(labels, np.linspace(6, 4, len(labels)), strict=True):
        own = rows[rows["method"] == label]
        mean = own.groupby("layer")["value"].mean()
        colour = colours[label]
        dot: style.Look = {"marker": "o", "markersize": size, "zorder": 3}
        axes.plot([place[n] for n in main], mean[main], color=colour, mec="white", mew=0.5, **dot)
        look: style.Look = dot | {"linestyle": "none", "mfc": "white", "mec": colour}
        axes.plot([place[n] for n in other], mean[other], **look)
        if len(style.unique(own["seed"])) > 1:
            dots: style.Look = {
                "linestyle": "none",
                "marker": "o",
                "markersize": 1.6,
                "mew": 0,
                "alpha": 0.5,
            }
            axes.plot(own["layer"].map(place), own["value"], color=colour, **dots)
    axes.axhline(HALF, color=style.QUIET, linewidth=0.8, linestyle="--", zorder=1)
    top = min(105.0, max(60.0, 1.08 * rows["value"].max()))
    _stages(axes, layers, top)
    axes.set_xticks(range(len(layers)), [_short(n) for n in layers], rotation=60, ha="right",
                    rotation_mode="anchor")  # fmt: skip
    axes.set_xlim(-0.6, len(layers) - 0.4)
    axes.set_ylim(0, top)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("non-zero weights, %")
    axes.set_xlabel("convolution, from input to output")
    entries = [Line2D([], [], color=colours[n], marker="o", mec="white", label=n) for n in labels]
    hollow: style.Look = {"linestyle": "none", "marker": "o", "mfc": "white", "mec": style.QUIET}
    entries.append(Line2D([], [], label="1x1 shortcut", **hollow))
    line: style.Look = {"color": style.QUIET, "linewidth": 0.8, "linestyle": "--"}
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
        where: style.Look = {"ha": "center", "va": "bottom", "color": style.QUIET, "size": 6.5}
        axes.text((low + high) / 2, top, text, **where)


@style.styled
def bn_statistics(metrics: pd.DataFrame, stamp: str = "") -> Figure:
    """Draw running mean and variance of both batch norms: histograms, and channel by channel.

    A channel on the diagonal has the same statistic in both.
    """
    parts = metrics["metric"].str.extract(r"^(running_mean|running_var):(\w+):(\d+)$")
    rows = metrics.assign(statistic=parts[0], path=parts[1], channel=parts[2])
    rows = rows.dropna(subset=["statistic"])
    figure, (panels,) = style.canvas(style.WIDE, 2.05, stamp, columns=4)
    for i, name in enumerate(("mean", "variance")):
        own = rows[rows["statistic"] == ("running_mean", "running_var")[i]]
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
    wide = rows.pivot_table(index=["seed", "channel"], columns="path", values="value")
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
