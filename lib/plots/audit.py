"""Recomputed over published numbers, figure by figure: the audit of analytic figures."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from lib.claims import NOT_REPRODUCED, PARTLY, REPRODUCED
from lib.plots import style

VERDICTS = {REPRODUCED: "#009E73", PARTLY: "#E69F00", NOT_REPRODUCED: "#D55E00"}
TICKS = (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.5, 2)


def ratios(metrics: pd.DataFrame, claims: pd.DataFrame) -> pd.DataFrame:
    """Return id, claim, verdict, role and recomputed / published of every judged figure.

    Of several caveats the one nearest to the published number is kept.
    """
    parts = metrics["metric"].str.split(":", n=2, expand=True)
    rows = metrics.assign(id=parts[0], role=parts[1])
    published = rows[rows["role"] == "published"].set_index("id")["value"]
    rows = rows[rows["role"].isin(["plain", "caveat"])]
    rows = rows.assign(ratio=rows["value"] / rows["id"].map(published))
    rows = rows.assign(off=(rows["ratio"] - 1).abs()).sort_values("off")
    rows = rows.drop_duplicates(["id", "role"])[["id", "role", "ratio"]]
    judged = claims[claims["id"].isin(rows["id"])]
    return judged[["id", "claim", "verdict"]].merge(rows, on="id")


@style.styled
def audit_figure(metrics: pd.DataFrame, claims: pd.DataFrame, stamp: str = "") -> Figure:
    """Draw one line for each figure: recomputed / published, on a logarithmic axis.

    Filled: the plain reading; hollow: the nearest reading with a caveat. Figures stand in order
    of verdict, then of how far the plain reading is off.
    """
    rows = ratios(metrics, claims)
    plain = rows[rows["role"] == "plain"].assign(off=lambda r: (r["ratio"] - 1).abs())
    rank = plain["verdict"].map({verdict: i for i, verdict in enumerate(VERDICTS)})
    order = plain.assign(rank=rank).sort_values(["rank", "off"]).reset_index(drop=True)
    caveats = rows[rows["role"] == "caveat"].set_index("id")["ratio"]
    figure, grid = style.canvas(style.WIDE, 0.7 + 0.15 * len(order), stamp)
    axes = grid[0, 0]
    axes.axvline(1, color=style.QUIET, linewidth=0.8, zorder=1)
    for y, row in order.iterrows():
        colour = VERDICTS[row["verdict"]]
        nearest = caveats.get(row["id"], 1.0)
        axes.plot([row["ratio"], 1], [y, y], color=colour, linewidth=0.9, alpha=0.5)
        if row["id"] in caveats:
            axes.plot([row["ratio"], nearest], [y, y], color=colour, linewidth=0.9, alpha=0.5)
            axes.plot(nearest, y, "o", mfc="white", mec=colour, mew=0.9, zorder=3)
        axes.plot(row["ratio"], y, "o", color=colour, mec="white", mew=0.5, zorder=4)
    axes.set_yticks(range(len(order)), order["claim"].str.replace(r" \(.*\)$", "", regex=True))
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xscale("log")
    low, high = rows["ratio"].min(), rows["ratio"].max()
    axes.set_xlim(0.93 * low, 1.07 * high)
    axes.set_xticks([t for t in TICKS if 0.93 * low <= t <= 1.07 * high])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("recomputed / published (logarithmic)")
    axes.grid(axis="y", visible=False)
    dot: dict[str, Any] = {"marker": "o", "linestyle": "none"}
    entries = [Line2D([], [], color=c, label=v, **dot) for v, c in VERDICTS.items()]
    caveat: dict[str, Any] = {"mfc": "white", "mec": style.QUIET, "label": "with a caveat"}
    style.legend(figure, [*entries, Line2D([], [], **caveat, **dot)])
    return figure
