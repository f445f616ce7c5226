"""Accuracy over the noise re-scaling factor of a trained network: FLOAT Figure 4."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.errors import UserError
from lib.plots import style
from lib.tables import attack_name, shown

# of lines under no attack, and under the attacks in order of occurrence
CLEAN = style.Face(style.PATHS["clean"], "o", "-", style.PATHS["clean"])
ATTACKED = tuple(
    style.Face(style.tinted(style.PATHS["adversarial"], tint), marker, "-", style.QUIET)
    for tint, marker in ((0.0, "^"), (-0.5, "s"), (-0.25, "D"))
)
TRAINED = 1.0  # the factor under which the noise is what training left


@style.styled
def rescaling(metrics: pd.DataFrame, stamp: str = "") -> Figure:
    """Draw clean and robust accuracies over lambda_n, one panel for each kind of noise scale.

    lambda_n multiplies every noise scale alpha of a trained network and stands in the column lam.
    Bands are 95 % intervals; seeds are dots where there are several.
    """
    rows = metrics[metrics["metric"].isin(("clean_acc", "robust_acc"))]
    labels = style.unique(rows["method"])
    attacks = style.unique(rows.loc[rows["metric"] == "robust_acc", "attack"])
    if not labels or len(attacks) > len(ATTACKED):
        raise UserError(
            f"Re-scaling is drawn from accuracies under at most {len(ATTACKED)} attacks, but there "
            f"are {len(rows)} rows and {len(attacks)} attacks; select what to draw."
        )
    faces = {"clean": CLEAN} | dict(zip(attacks, ATTACKED, strict=False))
    width = style.NARROW if len(labels) == 1 else style.WIDE
    figure, (panels,) = style.canvas(width, 2.3, stamp, columns=len(labels), sharey=True)
    for panel, label, letter in zip(panels, labels, "abcdef", strict=False):
        own = rows[rows["method"] == label]
        panel.axvline(TRAINED, color=style.QUIET, linewidth=0.8, linestyle="--", zorder=1)
        for name, face in faces.items():
            _line(panel, own[_lines(own) == name], face)
        panel.set_xlabel("noise re-scaling factor λ$_n$")
        panel.set_title(f"({letter}) {label}" if len(labels) > 1 else "")
    panels[0].set_ylabel("accuracy, %")
    named = {name if name == "clean" else attack_name(name): f for name, f in faces.items()}
    guide: style.Look = {"color": style.QUIET, "linewidth": 0.8, "linestyle": "--"}
    trained = Line2D([], [], label="as trained", **guide)
    style.legend(figure, [*style.handles(named, line=True), trained])
    return figure


def _lines(rows: pd.DataFrame) -> pd.Series:
    """Return which line each row belongs to: 'clean' or its attack."""
    return rows["attack"].where(rows["metric"] == "robust_acc", "clean")


def _line(axes: Axes, rows: pd.DataFrame, face: style.Face) -> None:
    if rows.empty:
        return
    found = {float(lam): shown(group) for lam, group in rows.groupby("lam")}
    x, y = list(found), [one.value for one in found.values()]
    low, high = [one.low for one in found.values()], [one.high for one in found.values()]
    axes.fill_between(x, low, high, color=face.colour, alpha=0.2, linewidth=0, zorder=2)
    look: style.Look = {"marker": face.marker, "mec": "white", "mew": 0.5, "zorder": 3}
    axes.plot(x, y, color=face.colour, **look)
    if len(style.unique(rows["seed"])) > 1:
        style.dots(axes, rows["lam"], rows["value"], face.colour, zorder=2.7)
