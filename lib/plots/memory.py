"""Accuracy against the memory that a method's weights take: FLOAT Figure 1."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.errors import UserError, choose
from lib.plots import style
from lib.tables import attack_name, backbone_name, dataset_name

# what is scored, at which end of the trade-off, and how much white its marker is filled with
FOCUS = (("clean_acc", 0.0, 0.0), ("robust_acc", 1.0, 0.7))
BYTES, INDEXED = "bytes_norm", "bytes_norm_indexed"


@style.styled
def memory_accuracy(
    metrics: pd.DataFrame,
    reference: pd.DataFrame | None,
    networks: Mapping[str, tuple[str, str]],
    stamp: str = "",
) -> Figure:
    """Draw clean accuracy at lambda = 0 and robust accuracy at lambda = 1 against memory.

    There is one panel for each trained data set and backbone. Memory is that of the published
    network: networks maps the name of a trained backbone, without its width, to the data set and
    backbone in the rows 'bytes_norm'. It is drawn as a multiple of the panel's largest; a thin line
    leads to what it is with the index of the mask, where rows 'bytes_norm_indexed' say so.
    """
    clean, robust = (_at(metrics, name, lam) for name, lam, _ in FOCUS)
    scored = metrics[clean | robust]
    trained = list(dict.fromkeys(zip(scored["dataset"], scored["backbone"], strict=True)))
    if not trained:
        raise UserError("No clean accuracy at λ = 0 or robust accuracy at λ = 1 was measured.")
    attacks = style.unique(scored.loc[scored["metric"] == "robust_acc", "attack"])
    faces = style.faces(style.unique(scored["method"]))
    width = style.NARROW if len(trained) == 1 else style.WIDE
    figure, grid = style.canvas(width, 2.5, stamp, columns=len(trained))
    drawn: list[str] = []
    repeated = len(trained) > scored["dataset"].nunique()
    for axes, (dataset, backbone), letter in zip(grid[0], trained, "abcdef", strict=False):
        network = networks[choose("trained backbone", backbone.partition("-")[0], networks)]
        here = scored[(scored["dataset"] == dataset) & (scored["backbone"] == backbone)]
        plain, indexed = (_memory(metrics, name, network) for name in (BYTES, INDEXED))
        drawn += _published(axes, reference, network, attacks, plain, faces)
        for label in style.unique(here["method"]):
            x = plain[choose("method with memory", label, plain)]
            _ends(axes, here[here["method"] == label], x, indexed.get(label, x), faces[label])
        names = [dataset_name(dataset), *([backbone_name(backbone)] if repeated else [])]
        axes.set_title(f"({letter}) {', '.join(names)}" if len(trained) > 1 else "")
        axes.margins(y=0.1)
        axes.set_xlim(0, 1.06 * max([1, *plain.values(), *indexed.values()]))
        axes.set_xlabel("memory, largest weights = 1")
        axes.set_ylabel("accuracy, %")
    attack = "".join(f" ({attack_name(name)})" for name in attacks)
    index = metrics["metric"].eq(INDEXED).any()
    style.legend(figure, _entries(faces, attack, index, list(dict.fromkeys(drawn))))
    return figure


def _at(metrics: pd.DataFrame, metric: str, lam: float) -> pd.Series:
    return metrics["metric"].eq(metric) & metrics["lam"].eq(lam)


def _memory(metrics: pd.DataFrame, metric: str, network: tuple[str, str]) -> dict[str, float]:
    """Return the memory of each method of a published network, largest weights = 1."""
    dataset, backbone = network
    rows = metrics[(metrics["dataset"] == dataset) & (metrics["backbone"] == backbone)]
    weights = rows.loc[rows["metric"] == BYTES, "value"]
    if weights.empty:
        raise UserError(f"There are no rows '{BYTES}' of {backbone} on {dataset}; count its bytes.")
    own = rows[rows["metric"] == metric]
    return dict(zip(own["method"], own["value"] / weights.max(), strict=True))


def _ends(axes: Axes, rows: pd.DataFrame, memory: float, indexed: float, face: style.Face) -> None:
    """Draw both ends of a method's trade-off, those that were measured."""
    for metric, lam, white in FOCUS:
        end = rows[_at(rows, metric, lam)]
        if len(end):
            style.estimate(axes, memory, end, face, fill=style.tinted(face.colour, white))
            style.extension(axes, memory, indexed, end["value"].mean(), face)


def _published(
    axes: Axes,
    reference: pd.DataFrame | None,
    network: tuple[str, str],
    attacks: list[str],
    memory: Mapping[str, float],
    faces: Mapping[str, style.Face],
) -> list[str]:
    """Draw the paper's accuracies of a network; return its data set if there are any."""
    if reference is None:
        return []
    dataset, backbone = network
    rows = reference[(reference["dataset"] == dataset) & (reference["backbone"] == backbone)]
    rows = rows[rows["method"].isin(faces) & rows["method"].isin(memory)]
    ends = pd.concat([rows[_at(rows, metric, lam)] for metric, lam, _ in FOCUS])
    ends = ends[ends["metric"].eq("clean_acc") | ends["attack"].isin(attacks)]
    for label, own in ends.groupby("method", sort=False):
        style.hollow(axes, [memory[label]] * len(own), own["value"], faces[label].marker)
    return [dataset] if len(ends) else []


def _entries(
    faces: Mapping[str, style.Face], attack: str, indexed: bool, published: list[str]
) -> list[Line2D]:
    names = ("clean accuracy, λ = 0", f"robust accuracy{attack}, λ = 1")
    entries = style.handles(faces)
    for name, (_, _, white) in zip(names, FOCUS, strict=True):
        fill = style.tinted(style.QUIET, white)
        look: style.Look = {"marker": "o", "linestyle": "none", "mfc": fill, "mec": style.QUIET}
        entries.append(Line2D([], [], label=name, **look))
    entries += [style.extension_handle("with the mask's index")] if indexed else []
    return entries + ([style.paper_handle(published)] if published else [])
