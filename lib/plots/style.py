"""One look for all figures: size, colours, markers, the legend outside and the grey stamp."""

import functools
import math
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation, Transform

from lib.errors import UserError
from lib.methods import METHODS
from lib.tables import dataset_name, shown

STYLE = Path(__file__).with_name("suite.mplstyle")
NARROW, WIDE = 3.3, 7.0  # inches: one column, the page

COLOURS = {one.label: one.colour for one in METHODS.values() if one.colour}
MARKERS = {one.label: one.marker for one in METHODS.values() if one.marker}
# For what has none of its own: no colour of a method, and colour-blind readers tell them apart
FREE = ("#882255", "#CCAA22", "#661100", "#CC6677", "#44AA99", "#6A51A3", "#999933", "#BBBBBB")
SPARE = ("X", "d", "P", ">", "h", "v", "8", *MARKERS.values())  # likewise
DASHES = ("-", (0, (4, 1.4)), (0, (1, 1.1)), (0, (5, 1.2, 1, 1.2)))
PATHS = {"clean": "#56B4E9", "adversarial": "#CC79A7"}
PAPER = "#8A8A8A"  # hollow markers: the numbers that the paper prints
QUIET = "#777777"  # stamps and guides

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
        small_print(figure, stamp, "right")
    return figure, axes


def small_print(figure: Figure, text: str, side: str, size: float = 5) -> None:
    """Write into the lower left or right corner, in a strip of its own below the panels.

    What is wider than the figure takes further lines.
    """
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(text, int(width * 138 / size))  # as many letters as fit
    text, strip = "\n".join(lines), (0.02 + 0.09 * len(lines)) / height
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, strip, 1, 1 - strip))
    x = 1 - 0.03 / width if side == "right" else 0.03 / width
    look: Look = {"ha": side, "ma": side, "va": "bottom", "size": size, "color": QUIET}
    figure.text(x, 0.02 / height, text, **look)


@dataclass(frozen=True)
class Face:
    """What tells one series from the others: colour, marker and dashes of the line."""

    colour: str
    marker: str
    line: Any

    @property
    def ink(self) -> str:
        """Return the colour of its words, dark enough to be read on white."""
        return tinted(self.colour, -0.2)


def method(label: str) -> str:
    """Return the method that a label begins with, 'FLOAT slim' of 'FLOAT slim, SF 0.5', or ''."""
    own = (name for name in COLOURS if f"{label},".startswith((f"{name} ", f"{name},")))
    return max(own, key=len, default="")


def faces(labels: Sequence[str]) -> dict[str, Face]:
    """Return the look of every label of a figure, which depends on nothing but the labels.

    The bare name of a method, else its first variant, has the colour and the marker of the method,
    every other label free ones. Labels that begin alike ('OAT', 'OAT slim') differ in lines, too.
    """
    first: dict[str, str] = {}
    for label in sorted(labels, key=lambda label: label not in COLOURS):
        first.setdefault(method(label), label)
    own = {label: name for name, label in first.items() if name}
    if len(labels) - len(own) > len(FREE):
        raise UserError(
            f"A figure has {len(FREE)} colours for labels that are no method's name, but there are "
            f"{len(labels) - len(own)}; draw some of them in another figure."
        )
    taken = {MARKERS.get(name) for name in own.values()}
    markers = iter([one for one in SPARE if one not in taken])
    colours = iter(FREE)
    found, kin = {}, Counter[str]()
    for label in labels:
        family = min((name for name in COLOURS if label.startswith(name)), key=len, default=label)
        found[label] = Face(
            colour=COLOURS[own[label]] if label in own else next(colours),
            marker=MARKERS.get(own.get(label, "")) or next(markers),
            line=DASHES[kin[family] % len(DASHES)],
        )
        kin[family] += 1
    return found


def tinted(colour: str, share: float) -> str:
    """Return a colour mixed with white, or with black where the share in [-1, 1] is negative."""
    red, green, blue = np.array(to_rgb(colour)) * (1 - abs(share)) + max(share, 0.0)
    return to_hex((red, green, blue))


def unique(values: pd.Series) -> list[Any]:
    """Return the distinct values in the order they occur in."""
    return list(dict.fromkeys(values.dropna()))


def shifted(axes: Axes, points: float) -> Transform:
    """Return the transform of the data moved to the right by so many points."""
    return axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)


def estimate(
    axes: Axes, x: float, rows: pd.DataFrame, face: Face, shift: float = 0.0, fill: str = ""
) -> None:
    """Draw the mean over seeds as a marker with its interval, the seeds as dots beside it.

    shift moves all of it sideways, in points. The marker is of one colour with a white edge, or
    filled with another colour and edged in its own.
    """
    y = shown(rows)
    edge: Look = {"markeredgecolor": "white", "markeredgewidth": 0.5}
    if fill:
        edge = {"markerfacecolor": fill, "markeredgecolor": face.colour, "markeredgewidth": 1.0}
    edge |= {"color": face.colour, "marker": face.marker, "elinewidth": 0.8, "zorder": 3}
    bar = [[y.value - y.low], [y.high - y.value]]
    axes.errorbar(x, y.value, yerr=bar, transform=shifted(axes, shift), **edge)
    seen = [(x, v) for v in (y.low, y.high, *rows["value"])]
    axes.update_datalim(seen)  # moved artists do not count by themselves
    axes.autoscale_view()
    if len(rows) > 1:
        beside = shifted(axes, shift + 4)
        dots(axes, [x] * len(rows), rows["value"], face.colour, markersize=2, transform=beside)


def dots(axes: Axes, x: Any, y: Any, colour: str, **look: Any) -> None:
    """Draw every seed as a small dot."""
    usual: Look = {"linestyle": "none", "marker": "o", "markersize": 1.6, "mew": 0, "alpha": 0.6}
    axes.plot(x, y, color=colour, **usual | look)


def extension(axes: Axes, start: float, end: float, y: float, face: Face) -> None:
    """Draw a thin line from a marker to a second reading of its cost, where it is a larger one."""
    if end > start * 1.01:
        axes.plot([start, end], [y, y], color=face.colour, linewidth=0.8, zorder=2.8)
        axes.plot(end, y, "|", color=face.colour, markersize=6, zorder=2.8)


def hollow(axes: Axes, x: Any, y: Any, marker: str, line: str = "none", size: float = 5.5) -> None:
    """Draw a paper's numbers: grey and hollow, in the marker of the series."""
    look: Look = {"color": PAPER, "linestyle": line, "linewidth": 0.7, "zorder": 2}
    axes.plot(x, y, marker=marker, markersize=size, mfc="none", mec=PAPER, **look)


def handles(series: Mapping[str, Face], line: bool = False) -> list[Line2D]:
    """Return legend entries for series."""
    found = []
    for label, face in series.items():
        look: Look = {"color": face.colour, "marker": face.marker, "mec": "white", "mew": 0.5}
        look |= {"linestyle": face.line if line else "none"}
        found.append(Line2D([], [], label=label.replace("λ_th", r"λ$_\mathrm{th}$"), **look))
    return found


def extension_handle(label: str) -> Line2D:
    """Return the legend entry for the thin line to a second reading of a cost."""
    look: Look = {"color": QUIET, "marker": "|", "markersize": 6, "linewidth": 0.8}
    return Line2D([], [], label=label, **look)


def paper_handle(names: list[str]) -> Line2D:
    """Return the legend entry for a paper's numbers on the data sets named."""
    where = ", ".join(map(dataset_name, names))
    look: Look = {"marker": "o", "markerfacecolor": "none", "linestyle": "none", "color": PAPER}
    return Line2D([], [], label=f"paper ({where})" if where else "paper", **look)


def legend(figure: Figure, entries: list[Any]) -> None:
    """Put the legend above the panels, outside of the data, in as few rows as the width allows."""
    rows = 1 if len(entries) <= 4 or figure.get_figwidth() > NARROW else 2
    while True:
        columns = math.ceil(len(entries) / rows)
        drawn = figure.legend(handles=entries, loc="outside upper center", ncols=columns)
        if columns == 1 or drawn.get_window_extent().width <= figure.bbox.width:
            return
        drawn.remove()
        rows += 1
