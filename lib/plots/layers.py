"""Values of layers, from input to output."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lib.plots import style

SHORTCUT = "downsample"  # in the names of 1x1 convolutions beside a block


def draw_by_depth(axes: Axes, rows: pd.DataFrame, layers: list[str], look: style.Look) -> None:
    """Draw means over seeds at the places of layers, which rows name in the column detail.

    Shortcuts are hollow and off the line. Of several seeds each is a dot; look has a colour.
    """
    place: style.Look = {layer: i for i, layer in enumerate(layers)}
    mean = rows.groupby("detail")["value"].mean()
    measured = [layer for layer in layers if layer in mean.index]
    main = [layer for layer in measured if SHORTCUT not in layer]
    other = [layer for layer in measured if SHORTCUT in layer]
    axes.plot([place[n] for n in main], mean[main], **look, mec="white", mew=0.5, zorder=3)
    edge: style.Look = {"linestyle": "none", "mfc": "white", "mec": look["color"], "zorder": 3}
    axes.plot([place[n] for n in other], mean[other], **look | edge)
    if len(style.unique(rows["seed"])) > 1:
        style.dots(axes, rows["detail"].map(place), rows["value"], look["color"], alpha=0.5)


def shortcut_handle() -> Line2D:
    """Return the legend entry for shortcut convolutions."""
    hollow: style.Look = {"linestyle": "none", "marker": "o", "mfc": "white", "mec": style.QUIET}
    return Line2D([], [], label="1x1 shortcut", **hollow)


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
