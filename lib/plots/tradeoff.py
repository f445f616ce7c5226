"""Clean against robust accuracy over lambda: SMART Figures 4, 5; FLOAT Figures 3, 6, 7, 9, 10."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.errors import UserError, choose
from lib.intervals import Estimate
from lib.plots import style
from lib.plots.labels import Labels
from lib.tables import attack_name, backbone_name, dataset_name, shown

PANELS = ("network", "attack")
SCORES = ("clean_acc", "robust_acc")
NEAR = 5.0  # points in the plane, in pt, that share one label
LETTERS = "abcdefghijkl"
CROWD = 4  # series that a panel of one column takes


@dataclass
class Point:
    """A trade-off of one method: accuracies in percent with their intervals."""

    lam: float
    clean: Estimate
    robust: Estimate


Series = dict[str, list[Point]]


def points(rows: pd.DataFrame) -> list[Point]:
    """Return one point for each lam at which both accuracies were measured, in order of lam."""
    found = []
    for lam, group in rows.groupby("lam"):
        clean, robust = (group[group["metric"] == m] for m in SCORES)
        if len(clean) and len(robust):
            found.append(Point(float(lam), estimate(clean), estimate(robust)))
    return found


def estimate(rows: pd.DataFrame) -> Estimate:
    """Return the mean over seeds with its interval; published numbers have none."""
    if "n" in rows:
        return shown(rows)
    value = float(rows["value"].iloc[0])
    return Estimate(value, value, value)


def series_of(rows: pd.DataFrame) -> Series:
    """Return the trade-offs of each label that has any, in order of occurrence."""
    labels = style.unique(rows["method"])
    found = {label: points(rows[rows["method"] == label]) for label in labels}
    return {label: line for label, line in found.items() if line}


@dataclass
class Panel:
    """What one panel shows: a network's rows under one attack, and the paper's numbers for it."""

    title: str
    attack: str
    rows: pd.DataFrame
    paper: pd.DataFrame


@style.styled
def trade_off(
    metrics: pd.DataFrame,
    reference: pd.DataFrame | None = None,
    stamp: str = "",
    panels: str = "network",
) -> Figure:
    """Draw robust against clean accuracy, one line for each method or variant of a method.

    There is one panel for each data set and backbone; with panels = 'attack' also one for each
    attack, all of which share the clean accuracies. Every lam is written beside its point.
    reference holds published numbers in the same columns; methods and attacks that metrics lacks
    are left out. Raises UserError where a panel would mix several attacks, or there is none.
    """
    split = _panels(metrics, reference, by_attack=choose("panels", panels, PANELS) == "attack")
    measured = [series_of(panel.rows) for panel in split]
    labels = [one for one in style.unique(metrics["method"]) if any(one in s for s in measured)]
    if not labels:
        raise UserError("No method has clean and robust accuracies at the same λ; measure both.")
    faces = style.faces(labels)
    published = [series_of(panel.paper[panel.paper["method"].isin(labels)]) for panel in split]
    rows, columns = _shape(len(split))
    crowded = len(labels) > CROWD
    width = style.NARROW if columns == 1 and not crowded else style.WIDE
    height = 3.2 if columns == 1 and crowded else (2.75 if columns < 3 else 2.4) * rows
    figure, grid = style.canvas(width, height, stamp, rows, columns)
    axes = grid.flatten()
    several = len({panel.attack for panel in split}) > 1
    shown: list[str] = []
    for place, panel, series, paper in zip(axes, split, measured, published, strict=False):
        _draw(place, panel.rows, series, paper, faces)
        shown += style.unique(panel.paper.loc[panel.paper["method"].isin(paper), "dataset"])
        under = "" if several else f" ({attack_name(panel.attack)})"  # else in the title
        place.set(xlabel="clean accuracy, %", ylabel=f"robust accuracy{under}, %")
        place.set_title(panel.title)
    for place in axes[len(split) :]:
        place.set_visible(False)
    entries = style.handles(faces, line=True)
    if shown:
        entries.append(style.paper_handle(list(dict.fromkeys(shown))))
    style.legend(figure, entries)
    figure.draw_without_rendering()
    for place, series, paper in zip(axes, measured, published, strict=False):
        _write_lambdas(place, series, paper, faces)
    return figure


def _family(attack: str) -> str:
    """Return the attack whose panel rows are drawn in.

    AutoAttack on networks with noise is its version 'rand'; without, the standard one.
    """
    return attack.removesuffix("-rand")


def _shape(number: int) -> tuple[int, int]:
    """Return rows and columns of so many panels: three in a row where that leaves fewer gaps."""
    columns = {1: 1, 2: 2, 4: 2}.get(number, 3)
    return math.ceil(number / columns), columns


def _panels(metrics: pd.DataFrame, reference: pd.DataFrame | None, by_attack: bool) -> list[Panel]:
    """Split rows by data set, backbone and, if so wished, attack; clean rows are in every part."""
    rows = metrics[metrics["metric"].isin(SCORES)]
    family = rows["attack"].map(_family, na_action="ignore").where(rows["metric"] == "robust_acc")
    attacks = style.unique(family)
    if len(attacks) != 1 and not (attacks and by_attack):
        measured = ", ".join(attacks) or "none"
        raise UserError(
            f"A trade-off needs robust accuracies under one attack, but there are: {measured}; "
            "select one, or draw one panel for each with panels='attack'."
        )
    networks = list(dict.fromkeys(zip(rows["dataset"], rows["backbone"], strict=True)))
    repeated = len(networks) > rows["dataset"].nunique()
    found: list[Panel] = []
    for dataset, backbone in networks:
        here = (rows["dataset"] == dataset) & (rows["backbone"] == backbone)
        for attack in attacks:
            if not (here & (family == attack)).any():
                continue
            part = rows[here & (family.isna() | (family == attack))]
            paper = _published(reference, attack)
            if len(networks) > 1:  # the paper's network, or the only one there is
                paper = paper[paper["dataset"] == dataset]
            if repeated:
                paper = paper[paper["backbone"] == backbone.partition("-")[0]]
            title = [dataset_name(dataset)] if len(networks) > 1 else []
            title += [backbone_name(backbone)] if repeated else []
            title += [attack_name(attack)] if len(attacks) > 1 else []
            found.append(Panel(", ".join(title), attack, part, paper))
    if len(found) > 1:
        for letter, panel in zip(LETTERS, found, strict=False):
            panel.title = f"({letter}) {panel.title}"
    return found


def _published(reference: pd.DataFrame | None, attack: str) -> pd.DataFrame:
    """Return the published clean accuracies, and the robust ones under an attack."""
    if reference is None:
        return pd.DataFrame(columns=["dataset", "backbone", "method", "lam", "metric", "value"])
    family = reference["attack"].map(_family, na_action="ignore")
    robust = reference["metric"].eq("robust_acc") & family.eq(attack)
    return reference[reference["metric"].eq("clean_acc") | robust]


def _draw(
    axes: Axes,
    rows: pd.DataFrame,
    series: Series,
    published: Series,
    faces: Mapping[str, style.Face],
) -> None:
    for label, line in published.items():
        x, y = [p.clean.value for p in line], [p.robust.value for p in line]
        style.hollow(axes, x, y, faces[label].marker, line=":")
    for label, line in series.items():
        face = faces[label]
        colour = face.colour
        x, y = [p.clean.value for p in line], [p.robust.value for p in line]
        axes.plot(x, y, color=colour, ls=face.line, linewidth=0.9, alpha=0.6, zorder=2.5)
        for p in line:
            bars: style.Look = {
                "xerr": [[p.clean.value - p.clean.low], [p.clean.high - p.clean.value]],
                "yerr": [[p.robust.value - p.robust.low], [p.robust.high - p.robust.value]],
            }
            look: style.Look = {"fmt": "none", "ecolor": colour, "elinewidth": 0.6, "alpha": 0.55}
            axes.errorbar(p.clean.value, p.robust.value, **bars, **look, zorder=2.6)
        axes.plot(x, y, linestyle="none", marker=face.marker, color=colour, mec="white", mew=0.5)
        _seeds(axes, rows[rows["method"] == label], colour)


def _seeds(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    """Draw every seed as a small dot where there are several."""
    if len(style.unique(rows["seed"])) < 2:
        return
    wide = rows.pivot_table(index=["lam", "seed"], columns="metric", values="value")
    style.dots(axes, wide["clean_acc"], wide["robust_acc"], colour, zorder=2.7)


def _write_lambdas(
    axes: Axes, series: Series, published: Series, faces: Mapping[str, style.Face]
) -> None:
    labels = Labels(axes)
    for line in [*series.values(), *published.values()]:
        places = [(p.clean.value, p.robust.value) for p in line]
        for place in places:
            labels.keep_free(*place)
        for start, end in pairwise(places):
            labels.keep_line_free(start, end)
    for line in series.values():
        for p in line:
            labels.keep_line_free((p.clean.low, p.robust.value), (p.clean.high, p.robust.value))
            labels.keep_line_free((p.clean.value, p.robust.low), (p.clean.value, p.robust.high))
    for label, line in series.items():
        for group in _clusters(labels, line):
            x = sum(p.clean.value for p in group) / len(group)
            y = sum(p.robust.value for p in group) / len(group)
            text = "λ " + ", ".join(f"{p.lam:g}" for p in group)
            labels.add(x, y, text, faces[label].ink)


def _clusters(labels: Labels, line: list[Point]) -> list[list[Point]]:
    """Group neighbouring points that lie too close for a label each."""
    groups: list[list[Point]] = []
    for p in line:
        here = labels.pixel(p.clean.value, p.robust.value)
        if groups:
            last = groups[-1][-1]
            gap = here - labels.pixel(last.clean.value, last.robust.value)
            if math.hypot(*gap) < NEAR * labels.scale:
                groups[-1].append(p)
                continue
        groups.append([p])
    return groups
