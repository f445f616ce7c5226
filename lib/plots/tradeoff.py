"""Robust against clean accuracy over lambda, as seven figures of the papers show it."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.errors import UserError
from lib.plots import style
from lib.tables import attack_name, backbone_name, dataset_name, shown

KEYS = ["dataset", "backbone", "panel", "attack", "method", "lam"]
LETTERS = "abcdefghijkl"
SIZES = (2.8, 6.0)  # of the markers, in pt, from the smallest lam to the largest
REACH = 1.0  # how far intervals over seeds widen a panel at most, as a share of what its dots span


@style.styled
def trade_off(
    metrics: pd.DataFrame, reference: pd.DataFrame | None = None, stamp: str = ""
) -> Figure:
    """Draw robust against clean accuracy, one line for each label; markers grow with lam.

    There is a panel for each data set and backbone, for each attack, and for each value of the
    column 'panel', if there is one. Panels of one network share their axes. reference holds
    published numbers in the same columns; labels and attacks that metrics lacks are left out.
    """
    found = points(metrics)
    if found.empty:
        raise UserError("No method has clean and robust accuracies at the same λ; measure both.")
    networks = list(found.groupby(KEYS[:2], sort=False).groups)
    panels = list(found.groupby(KEYS[:4], sort=False))
    faces = style.faces(style.unique(found["method"]))
    lams = sorted(found["lam"].unique())
    sizes = dict(zip(lams, np.linspace(*SIZES, len(lams)), strict=True))
    figure, grid = _grid(len(panels), len(networks) == 1, stamp)
    papers = [_published(reference, rows, networks) for _, rows in panels]
    attacks = style.unique(found["attack"])
    under = f" ({attack_name(attacks[0])})" if len(attacks) == 1 else ""  # else in the titles
    for axes, (where, rows), paper, letter in zip(grid, panels, papers, LETTERS, strict=False):
        _draw(axes, rows, paper, faces, sizes)
        title = _title(where, [key for key, _ in panels])
        axes.set_title(f"({letter}) {title}" if len(panels) > 1 else "")
        near = [found, *papers] if len(networks) == 1 else [rows, paper]
        axes.set(xlim=_limits(near, "x"), ylim=_limits(near, "y"))
        axes.set(xlabel="clean accuracy, %", ylabel=f"robust accuracy{under}, %")
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    entries = style.handles(faces, line=True)
    if names := style.unique(pd.concat(papers)["dataset"]):
        entries.append(style.paper_handle(names))
    told: list[Sequence[Line2D]] = [entries, _size_handles(sizes)]
    if figure.get_figwidth() == style.NARROW:  # a row for each, which is filled by columns
        told = list(zip_longest(*told, fillvalue=Line2D([], [], linestyle="none", label=" ")))
    style.legend(figure, list(chain(*told)))
    return figure


def points(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each lam at which both accuracies were measured.

    x, x_low and x_high are the clean accuracy in percent, a mean over seeds with its interval, y
    and so on the robust one, x_seeds and y_seeds those of every seed. Published numbers have no
    interval. AutoAttack's version for networks with noise counts as AutoAttack.
    """
    rows = rows.assign(attack=rows["attack"].astype(str).str.removesuffix("-rand"))
    if "panel" not in rows:
        rows = rows.assign(panel="")
    own = [key for key in KEYS if key != "attack"]
    clean = dict(list(rows[rows["metric"] == "clean_acc"].groupby(own, sort=False)))
    found = []
    for key, robust in rows[rows["metric"] == "robust_acc"].groupby(KEYS, sort=False):
        of: dict[str, Any] = dict(zip(KEYS, key, strict=True))
        where = tuple(of[name] for name in own)
        if where not in clean:
            continue
        for axis, score in (("x", clean[where]), ("y", robust)):
            value = low = high = float(score["value"].mean())
            if "n" in score:
                score = score.sort_values("seed")
                value, low, high = (getattr(shown(score), k) for k in ("value", "low", "high"))
            of |= {axis: value, f"{axis}_low": low, f"{axis}_high": high}
            of[f"{axis}_seeds"] = tuple(score["value"])
        found.append(of)
    return pd.DataFrame(found)


def _published(
    reference: pd.DataFrame | None, rows: pd.DataFrame, networks: list[tuple[str, str]]
) -> pd.DataFrame:
    """Return the published points that belong into the panel of these rows.

    They are of its data set and, where others share that, of its network.
    """
    if reference is None:
        return rows.iloc[:0]
    found = points(reference)
    found = found[found["method"].isin(rows["method"]) & found["attack"].isin(rows["attack"])]
    dataset, backbone = rows[["dataset", "backbone"]].iloc[0]
    if len(networks) > 1:
        found = found[found["dataset"] == dataset]
    if sum(name == dataset for name, _ in networks) > 1:
        found = found[found["backbone"] == backbone.partition("-")[0]]
    return found


def _grid(number: int, shared: bool, stamp: str) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes: narrow for one panel, three in a row if that fills it best."""
    columns = {1: 1, 2: 2, 4: 4 if shared else 2}.get(number, 3)
    rows = math.ceil(number / columns)
    width = style.NARROW if columns == 1 else style.WIDE
    height = 2.9 if columns == 1 else 2.6 * rows
    options = {"sharex": shared, "sharey": shared}
    figure, grid = style.canvas(width, height, stamp, rows, columns, **options)
    if number > 1 and not shared:
        style.small_print(figure, "axes differ from panel to panel", "left", size=6)
    return figure, list(grid.flatten())


def _title(where: tuple[str, ...], panels: list[tuple[str, ...]]) -> str:
    """Return in which of data set, network, attack and 'panel' a panel differs from the others."""
    dataset, backbone, panel, attack = where
    differ = [len(set(values)) > 1 for values in zip(*panels, strict=True)]
    repeated = len({p[:2] for p in panels}) > len({p[0] for p in panels})
    parts = [dataset_name(dataset)] if differ[0] or differ[1] else []
    parts += [backbone_name(backbone)] if repeated else []
    parts += [panel] if differ[2] else []
    parts += [attack_name(attack)] if differ[3] else []
    return ", ".join(parts)


def _draw(
    axes: Axes,
    rows: pd.DataFrame,
    paper: pd.DataFrame,
    faces: Mapping[str, style.Face],
    sizes: Mapping[float, float],
) -> None:
    """Draw the lines over lam, the markers with their intervals, and the paper's hollow ones."""
    for label, line in paper.groupby("method", sort=False):
        face = faces[label]
        axes.plot(line["x"], line["y"], color=style.PAPER, linestyle=":", linewidth=0.7)
        for x, y, lam in zip(line["x"], line["y"], line["lam"], strict=True):
            style.hollow(axes, x, y, face.marker, size=sizes.get(lam, SIZES[1]))
    palette = {label: face.colour for label, face in faces.items()}
    colours = rows["method"].map(palette)
    thin: style.Look = {"colors": colours, "linewidth": 0.6, "alpha": 0.4, "zorder": 2.6}
    axes.hlines(rows["y"], rows["x_low"], rows["x_high"], **thin)
    axes.vlines(rows["x"], rows["y_low"], rows["y_high"], **thin)
    for row in rows.to_dict("records"):
        if len(row["x_seeds"]) > 1:
            style.dots(axes, row["x_seeds"], row["y_seeds"], palette[row["method"]])
    alike: style.Look = {"x": "x", "y": "y", "hue": "method", "style": "method", "ax": axes}
    alike |= {"palette": palette, "legend": False}
    dashes = {label: "" if face.line == "-" else face.line[1] for label, face in faces.items()}
    line_look: style.Look = {"linewidth": 0.9, "alpha": 0.7, "zorder": 2.7}
    sns.lineplot(rows, dashes=dashes, sort=False, estimator=None, **line_look, **alike)
    sns.scatterplot(
        rows.sort_values("lam", ascending=False, kind="stable"),  # the small ones on top
        markers={label: face.marker for label, face in faces.items()},
        size="lam",
        sizes={lam: size**2 for lam, size in sizes.items()},
        linewidth=0.5,
        alpha=0.85,
        zorder=3,
        **alike,
    )


def _limits(parts: list[pd.DataFrame], axis: str) -> tuple[float, float]:
    """Return the limits of an axis: around all points and intervals.

    Intervals of the mean of a few seeds can be wider than all there is to see; they may leave.
    """
    rows = pd.concat(parts)
    seeds = [value for values in rows[f"{axis}_seeds"] for value in values]
    low, high = min(seeds), max(seeds)
    reach = REACH * (high - low) if len(seeds) > len(rows) else math.inf
    low = min(low, max(rows[f"{axis}_low"].min(), low - reach))
    high = max(high, min(rows[f"{axis}_high"].max(), high + reach))
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def _size_handles(sizes: Mapping[float, float]) -> list[Line2D]:
    """Return legend entries that say which size of a marker stands for which lam."""
    look: style.Look = {"color": style.QUIET, "marker": "o", "linestyle": "none", "mew": 0}
    return [
        Line2D([], [], markersize=size, label=f"{lam:g}" if i else f"λ = {lam:g}", **look)
        for i, (lam, size) in enumerate(sizes.items())
    ]
