"""Accuracy against what a method costs: SMART Figure 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.intervals import select
from lib.plots import style

# rows: what is scored, at which end of the trade-off
FOCUS = (("clean_acc", 0.0, "clean accuracy\nat λ = 0, %"),
         ("robust_acc", 1.0, "robust accuracy\nat λ = 1, %"))  # fmt: skip


@dataclass(frozen=True)
class Price:
    """What a method costs, each as a multiple of the plain network's cost.

    params is what one path reads, stored what a device must hold; operations is by lam.
    """

    params: float
    stored: float
    operations: Mapping[float, float]


def prices(costs: pd.DataFrame, networks: Mapping[str, int]) -> dict[str, Price]:
    """Return the price of every method of one backbone; networks is how many a method needs.

    A method without rows of its own, as PGD-AT, is a plain network.
    """

    def value(label: str, **where: object) -> float:
        own = label if label in set(costs["method"]) else "plain"
        return float(select(costs, method=own, **where)["value"].iloc[0])

    out = {}
    for label, number in networks.items():
        relative = {
            metric: number * value(label, metric=metric) / value("plain", metric=metric)
            for metric in ("params_per_path", "params_union")
        }
        operations = {
            lam: value(label, metric="add_equivalents", lam=lam)
            / value("plain", metric="add_equivalents", lam=lam)
            for _, lam, _ in FOCUS
        }
        out[label] = Price(relative["params_per_path"], relative["params_union"], operations)
    return out


@style.styled
def pareto(metrics: pd.DataFrame, reference: pd.DataFrame, stamp: str = "") -> Figure:
    """Draw accuracy at both ends of the trade-off against parameters and operations.

    metrics holds accuracies, and costs of the trained and of the published network by backbone.
    Published parameters are where the paper puts them; it does not print its operations, so that
    they are those of its network counted here.
    """
    scored = metrics[metrics["metric"].isin([metric for metric, *_ in FOCUS])]
    labels = style.unique(scored["method"])
    networks = {label: scored[scored["method"] == label] for label in labels}
    numbers = {label: _networks(rows) for label, rows in networks.items()}
    costs = metrics[~metrics.index.isin(scored.index)]
    (trained,) = style.unique(scored["backbone"])
    here = costs["backbone"] == trained
    own = prices(costs[here & costs["dataset"].isin(scored["dataset"])], numbers)
    printed = prices(select(costs, backbone="resnet34", dataset="cifar10"), numbers)
    figure, grid = style.canvas(style.WIDE, 3.7, stamp, 2, 2, sharex="col", sharey="row")
    faces = style.faces(labels)
    for (metric, lam, name), panels, letters in zip(FOCUS, grid, ("ab", "cd"), strict=True):
        places = [
            {label: own[label].params for label in labels},
            {label: own[label].operations[lam] for label in labels},
        ]
        for label in labels:
            rows = select(scored, method=label, metric=metric, lam=lam)
            _published(panels, reference, printed, label, faces[label], metric, lam)
            for panel, x in zip(panels, places, strict=True):
                style.estimate(panel, x[label], rows, faces[label], _shifts(x)[label])
            price, y = own[label], rows["value"].mean()
            style.extension(panels[0], price.params, price.stored, y, faces[label])
        panels[0].set_ylabel(name)
        for panel, x, letter in zip(panels, places, letters, strict=True):
            moved = " filled markers of like cost moved apart" if any(_shifts(x).values()) else ""
            panel.set_title(f"({letter}){moved}")
    grid[1][0].set_xlabel("parameters, multiples of the plain network")
    grid[1][1].set_xlabel("operations of one path, multiples of the plain network")
    stored, paper = style.extension_handle("both paths stored"), style.paper_handle(["cifar10"])
    style.legend(figure, [*style.handles(faces), stored, paper])
    return figure


def _networks(rows: pd.DataFrame) -> int:
    """Return how many networks a method needs for the trade-offs: PGD-AT one for each."""
    return rows["lam"].nunique() if style.method(rows["method"].iloc[0]) == "PGD-AT" else 1


def _published(
    panels: list[Axes],
    reference: pd.DataFrame,
    printed: Mapping[str, Price],
    label: str,
    face: style.Face,
    metric: str,
    lam: float,
) -> None:
    rows = reference[(reference["method"] == label) & (reference["lam"] == lam)]
    score = rows.loc[rows["metric"] == metric, "value"]
    params = rows.loc[rows["metric"] == "params_norm", "value"]
    x = float(params.iloc[0]) if len(params) else printed[label].params
    for panel, at in zip(panels, (x, printed[label].operations[lam]), strict=True):
        style.hollow(panel, [at] * len(score), score, face.marker)


def _shifts(places: Mapping[str, float]) -> dict[str, float]:
    """Return by how many points to move markers sideways so that equal costs stay apart."""
    near = 0.03 * (max(places.values()) - min(places.values()))
    shifts = {}
    for label, x in places.items():
        group = [other for other, at in places.items() if abs(at - x) <= near]
        shifts[label] = 7 * (group.index(label) - (len(group) - 1) / 2)
    return shifts
