"""Clean against robust accuracy over lambda: SMART Figures 4 and 5, FLOAT Figures 6, 7 and 10."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.intervals import Estimate
from lib.plots import style
from lib.plots.labels import Labels
from lib.tables import shown

ATTACKS = {"fgsm": "FGSM"}
NEAR = 5.0  # points in the plane, in pt, that share one label


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
        clean, robust = (group[group["metric"] == m] for m in ("clean_acc", "robust_acc"))
        if len(clean) and len(robust):
            found.append(Point(float(lam), estimate(clean), estimate(robust)))
    return found


def estimate(rows: pd.DataFrame) -> Estimate:
    """Return the mean over seeds with its interval; published numbers have none."""
    if "n" in rows:
        return shown(rows)
    value = float(rows["value"].iloc[0])
    return Estimate(value, value, value)


@style.styled
def trade_off(
    metrics: pd.DataFrame, reference: pd.DataFrame | None = None, stamp: str = ""
) -> Figure:
    """Draw robust against clean accuracy, one line for each method and one panel for a data set.

    Every lam is written beside its point. reference holds published numbers in the same columns;
    methods and attacks that metrics lacks are left out.
    """
    rows = metrics[metrics["metric"].isin(("clean_acc", "robust_acc"))]
    names = style.unique(rows["dataset"])
    attack = style.unique(rows.loc[rows["metric"] == "robust_acc", "attack"])[0]
    columns = 1 if len(names) == 1 else 2
    height = 2.75 * math.ceil(len(names) / columns)
    width = style.NARROW if columns == 1 else style.WIDE
    figure, grid = style.canvas(width, height, stamp, math.ceil(len(names) / columns), columns)
    panels = grid.flatten()
    labels = style.unique(rows["method"])
    known = _published(reference, labels, attack)
    shown: list[str] = []
    drawn: list[tuple[Axes, Series, Series]] = []
    for panel, name in zip(panels, names, strict=False):
        here = rows[rows["dataset"] == name]
        series = {label: points(here[here["method"] == label]) for label in labels}
        # the paper's data set, or the only one there is
        paper = known if len(names) == 1 else known[known["dataset"] == name]
        published = {label: points(paper[paper["method"] == label]) for label in labels}
        if any(published.values()):
            shown += style.unique(paper["dataset"])
        _draw(panel, here, series, published)
        panel.set_xlabel("clean accuracy, %")
        panel.set_ylabel(f"robust accuracy ({attack_name(attack)}), %")
        if len(names) > 1:
            panel.set_title(f"({'abcdefgh'[len(drawn)]}) {style.dataset(name)}")
        drawn.append((panel, series, published))
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    entries = style.handles(labels, line=True)
    if shown:
        entries.append(style.paper_handle(list(dict.fromkeys(shown))))
    style.legend(figure, entries)
    figure.draw_without_rendering()
    for panel, series, published in drawn:
        _write_lambdas(panel, series, published)
    return figure


def attack_name(attack: str) -> str:
    """Return an attack as papers write it: 'PGD-7' for 'pgd7'."""
    return ATTACKS.get(attack, attack.replace("pgd", "PGD-"))


def _published(reference: pd.DataFrame | None, labels: list[str], attack: str) -> pd.DataFrame:
    if reference is None:
        return pd.DataFrame(columns=["dataset", "method", "lam", "attack", "metric", "value"])
    chosen = reference["metric"].eq("clean_acc") | (
        reference["metric"].eq("robust_acc") & reference["attack"].eq(attack)
    )
    return reference[chosen & reference["method"].isin(labels)]


def _draw(
    axes: Axes,
    rows: pd.DataFrame,
    series: Series,
    published: Series,
) -> None:
    for label, line in published.items():
        if line:
            x, y = [p.clean.value for p in line], [p.robust.value for p in line]
            style.hollow(axes, x, y, label, line=":")
    for label, line in series.items():
        own = style.method(label)
        colour, marker = style.COLOURS[own], style.MARKERS[own]
        x, y = [p.clean.value for p in line], [p.robust.value for p in line]
        axes.plot(x, y, color=colour, linewidth=0.9, alpha=0.6, zorder=2.5)
        for p in line:
            bars: style.Look = {
                "xerr": [[p.clean.value - p.clean.low], [p.clean.high - p.clean.value]],
                "yerr": [[p.robust.value - p.robust.low], [p.robust.high - p.robust.value]],
            }
            look: style.Look = {"fmt": "none", "ecolor": colour, "elinewidth": 0.6, "alpha": 0.55}
            axes.errorbar(p.clean.value, p.robust.value, **bars, **look, zorder=2.6)
        axes.plot(x, y, linestyle="none", marker=marker, color=colour, mec="white", mew=0.5)
        _seeds(axes, rows[rows["method"] == label], colour)


def _seeds(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    """Draw every seed as a small dot where there are several."""
    if len(style.unique(rows["seed"])) < 2:
        return
    wide = rows.pivot_table(index=["lam", "seed"], columns="metric", values="value")
    dots: style.Look = {
        "linestyle": "none",
        "marker": "o",
        "markersize": 1.6,
        "mew": 0,
        "alpha": 0.6,
    }
    axes.plot(wide["clean_acc"], wide["robust_acc"], color=colour, zorder=2.7, **dots)


def _write_lambdas(axes: Axes, series: Series, published: Series) -> None:
    labels = Labels(axes)
    every = [(line, label) for label, line in [*series.items(), *published.items()]]
    for line, _ in every:
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
            labels.add(x, y, text, style.COLOURS[style.method(label)])


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
