"""One look for all figures: size, colours, markers, the legend outside and the grey stamp."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation, Transform

from lib.errors import choose
from lib.tables import shown

STYLE = Path(__file__).with_name("suite.mplstyle")
NARROW, WIDE = 3.3, 7.0  # inches: one column, the page

# Okabe and Ito's colours, which colour-blind readers can tell apart; one marker for each as well
COLOURS = {
    "PGD-AT": "#1A1A1A",
    "PNI": "#E69F00",
    "OAT": "#009E73",
    "FLOAT": "#0072B2",
    "SMART": "#D55E00",
}
MARKERS = {"PGD-AT": "D", "PNI": "v", "OAT": "^", "FLOAT": "s", "SMART": "o"}
PATHS = {"clean": "#56B4E9", "adversarial": "#CC79A7"}
PAPER = "#8A8A8A"  # hollow markers: the numbers that the paper prints
QUIET = "#777777"  # stamps and guides

DATASETS = {
    "digits": "digits",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn": "SVHN",
    "stl10": "STL-10",
    "tiny_imagenet": "Tiny-ImageNet",
}

P = ParamSpec("P")
Look = dict[str, Any]  # keyword arguments of matplotlib


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a function draw in the suite's style; the figure is laid out, closed and returned."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with plt.style.context(STYLE):
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()
            plt.close(figure)
        return figure

    return wrapper


def canvas(
    width: float, height: float, stamp: str, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """Return a figure and its array of axes, with the stamp in the lower right corner."""
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, **options)
    if stamp:
        strip = 0.11 / height
        figure.get_layout_engine().set(rect=(0, strip, 1, 1 - strip))
        place: Look = {"ha": "right", "va": "bottom"}
        figure.text(1 - 0.03 / width, 0.02 / height, stamp, size=5, color=QUIET, **place)
    return figure, axes


def method(label: str) -> str:
    """Return the method that a label begins with: 'SMART' of 'SMART [D D S S] 0.25'."""
    return choose("method", label.split(" ")[0], COLOURS)


def dataset(name: str) -> str:
    """Return the usual spelling of a data set."""
    return DATASETS.get(name, name)


def unique(values: pd.Series) -> list[Any]:
    """Return the distinct values in the order they occur in."""
    return list(dict.fromkeys(values.dropna()))


def shifted(axes: Axes, points: float) -> Transform:
    """Return the transform of the data moved to the right by so many points."""
    return axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)


def estimate(axes: Axes, x: float, rows: pd.DataFrame, label: str, shift: float = 0.0) -> None:
    """Draw the mean over seeds as a filled marker with its interval, the seeds as dots beside it.

    shift moves all of it sideways, in points.
    """
    own, y = method(label), shown(rows)
    colour = COLOURS[own]
    axes.errorbar(
        x,
        y.value,
        yerr=[[y.value - y.low], [y.high - y.value]],
        color=colour,
        marker=MARKERS[own],
        markeredgecolor="white",
        markeredgewidth=0.5,
        elinewidth=0.8,
        zorder=3,
        transform=shifted(axes, shift),
    )
    axes.update_datalim([(x, y.low), (x, y.high)])  # moved artists do not count by themselves
    axes.autoscale_view()
    if len(rows) > 1:
        dots: Look = {"linestyle": "none", "marker": "o", "markersize": 2, "mew": 0, "alpha": 0.6}
        beside = shifted(axes, shift + 4)
        axes.plot([x] * len(rows), rows["value"], color=colour, transform=beside, **dots)


def hollow(axes: Axes, x: Any, y: Any, label: str, line: str = "none") -> None:
    """Draw a paper's numbers: grey and hollow, in the marker of the method."""
    axes.plot(
        x,
        y,
        linestyle=line,
        linewidth=0.7,
        color=PAPER,
        marker=MARKERS[method(label)],
        markerfacecolor="none",
        markeredgecolor=PAPER,
        markersize=5.5,
        zorder=2,
    )


def handles(labels: list[str], line: bool = False) -> list[Line2D]:
    """Return legend entries for methods."""
    return [
        Line2D(
            [],
            [],
            color=COLOURS[method(label)],
            marker=MARKERS[method(label)],
            linestyle="-" if line else "none",
            markeredgecolor="white",
            markeredgewidth=0.5,
            label=label,
        )
        for label in labels
    ]


def paper_handle(names: list[str]) -> Line2D:
    """Return the legend entry for a paper's numbers on the data sets named."""
    where = ", ".join(map(dataset, names))
    look: Look = {"marker": "o", "markerfacecolor": "none", "linestyle": "none", "color": PAPER}
    return Line2D([], [], label=f"paper ({where})" if where else "paper", **look)


def legend(figure: Figure, entries: list[Any]) -> None:
    """Put the legend above the panels, outside of the data, in two rows where one is too narrow."""
    fits = len(entries) <= 4 or figure.get_figwidth() > NARROW
    columns = len(entries) if fits else (len(entries) + 1) // 2
    figure.legend(handles=entries, loc="outside upper center", ncols=columns)
