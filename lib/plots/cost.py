"""What FLOAT costs beside its rivals: training time, storage and delay (FLOAT Figure 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lib.intervals import select
from lib.papers.float_costs import BASE, EACH, PLAIN, SCALAR, machines
from lib.plots import style

ROWS = (EACH, PLAIN, "OAT", "SMART", BASE)
BETWEEN = 0.16  # rows by which the paper's marker is below ours
SHADES = "Blues"
GAIN = "(d) largest OAT / FLOAT of a layer"


@style.styled
def fig8(metrics: pd.DataFrame, text: Mapping[str, float], stamp: str = "") -> Figure:
    """Draw Figure 8: time per epoch, bytes of ResNet-34, delays, and what the delays depend on.

    metrics are rows of `lib.papers.float_costs`, text the numbers of FLOAT's text.
    """
    figure, grid = style.canvas(
        style.WIDE, 2.75, stamp, columns=4, gridspec_kw={"width_ratios": [1, 1, 0.85, 1.75]}
    )
    (time, size, delay, machine) = grid[0]
    _times(time, metrics, text)
    _sizes(size, metrics, text)
    _delays(delay, metrics)
    _machines(machine, metrics, text["delay_vs_oat"])
    for axes in (time, size, delay):
        axes.set_ylim(len(ROWS) - 0.5, -0.5)
        axes.set_yticks(range(len(ROWS)), ["" for _ in ROWS])
        axes.tick_params(axis="y", length=0)
    time.set_yticklabels([_name(label) for label in ROWS])
    for axes, title in zip(grid[0], ("(a)", "(b)", "(c)", GAIN), strict=True):
        axes.set_title(title)
    hollow: style.Look = {"marker": "o", "mfc": "none", "linestyle": "none", "color": style.PAPER}
    tick: style.Look = {"marker": "|", "markersize": 6, "linestyle": "none"}
    entries = [
        Line2D([], [], marker="o", linestyle="none", color=style.QUIET, label="here"),
        Line2D([], [], label="paper", **hollow),
        Line2D([], [], color=style.COLOURS["OAT"], label="OAT with a scalar code of λ", **tick),
        Rectangle((0, 0), 1, 1, fill=False, edgecolor=style.COLOURS["SMART"], linewidth=1.2,
                  label=f"prints the paper's {text['delay_vs_oat']:g}"),
    ]  # fmt: skip
    style.legend(figure, entries)
    return figure


def _name(label: str) -> str:
    """Return a label as it stands at the axis: PGD-AT alone is one network for one lambda."""
    return {PLAIN: "PGD-AT, one λ", EACH: "PGD-AT, four λ"}.get(label, label)


def _point(axes: Axes, label: str, x: float, low: float | None = None, high: float = 0.0) -> None:
    """Draw what we found for a method in its row, with an interval where there is one."""
    own = style.method(label)
    axes.errorbar(
        x,
        ROWS.index(label),
        xerr=None if low is None else [[x - low], [high - x]],
        color=style.COLOURS[own],
        marker=style.MARKERS[own],
        markeredgecolor="white",
        markeredgewidth=0.5,
        elinewidth=0.9,
        zorder=3,
    )
    above: style.Look = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center", "size": 6}
    note = axes.annotate(f"{x:.3g}", (x, ROWS.index(label)), color=style.COLOURS[own], **above)
    note.set_path_effects([withStroke(linewidth=1.5, foreground="white")])
    note.set_in_layout(False)


def _printed(axes: Axes, label: str, x: float) -> None:
    style.hollow(axes, [x], [ROWS.index(label) + BETWEEN], style.MARKERS[style.method(label)])


def _logarithmic(axes: Axes, ticks: Sequence[float], low: float, high: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def _times(axes: Axes, metrics: pd.DataFrame, text: Mapping[str, float]) -> None:
    rows = select(metrics, metric=f"train_ratio:{BASE}").set_index("method")
    axes.axvline(1, color=style.QUIET, linewidth=0.7, zorder=1)
    for label in ROWS:
        _point(axes, label, *rows.loc[label, ["value", "ci_low", "ci_high"]])
    _printed(axes, "OAT", text["train_time_vs_float_oat"])
    _printed(axes, PLAIN, text["train_time_vs_float_pgd_at"])
    four = 4 * text["train_time_vs_float_pgd_at"]
    _printed(axes, EACH, four)
    most = max(four, rows["ci_high"].max())
    _logarithmic(axes, (0.5, 1, 2, 4, 8), 0.8 * rows["ci_low"].min(), 1.2 * most)
    axes.set_xlabel("time of an epoch,\nmultiples of FLOAT's")


def _sizes(axes: Axes, metrics: pd.DataFrame, text: Mapping[str, float]) -> None:
    rows = select(metrics, metric="bytes_8bit", backbone="resnet34").set_index("method")
    size = rows["value"] / 1e6
    for label in ROWS:
        _point(axes, label, size[label])
    scalar: style.Look = {"color": style.COLOURS["OAT"], "markersize": 6, "zorder": 2.8}
    axes.plot([size[SCALAR], size["OAT"]], 2 * [ROWS.index("OAT")], linewidth=0.8, **scalar)
    axes.plot(size[SCALAR], ROWS.index("OAT"), "|", **scalar)
    _printed(axes, "OAT", text["oat_bytes_mb"])
    _printed(axes, BASE, text["bytes_mb"])
    _logarithmic(axes, (15, 20, 30, 50, 80), 0.85 * size.min(), 1.12 * size.max())
    axes.set_xlabel("ResNet-34 stored\nat 8 bit, MB")


def _delays(axes: Axes, metrics: pd.DataFrame) -> None:
    axes.axvline(1, color=style.QUIET, linewidth=0.7, zorder=1)
    for label in (BASE, "OAT"):
        value = {
            name: select(metrics, method=label, metric=f"delay:{name}")["value"].item()
            for name in ("min", "mean", "max")
        }
        _point(axes, label, value["mean"])
        ends: style.Look = {"color": style.COLOURS[label], "linewidth": 0.9, "zorder": 2.8}
        axes.plot([value["min"], value["max"]], 2 * [ROWS.index(label)], **ends)
    axes.set_xlim(0.88, None)
    axes.set_xlabel("delay of a layer (mean,\nrange), plain layer = 1")


def _machines(axes: Axes, metrics: pd.DataFrame, printed: float) -> None:
    """Draw the largest gain over layers on every machine; outlined: rounds to the printed one."""
    gains = machines(metrics)
    shades = LogNorm(1, 1.25 * gains.to_numpy().max())
    axes.imshow(gains, cmap=SHADES, norm=shades, origin="lower", aspect="auto")
    hit: style.Look = {"fill": False, "edgecolor": style.COLOURS["SMART"], "linewidth": 1.2}
    for y, reads in enumerate(gains.index):
        for x, multipliers in enumerate(gains.columns):
            gain = gains.loc[reads, multipliers]
            colour = "white" if shades(gain) > 0.55 else "#1A1A1A"
            centre: style.Look = {"ha": "center", "va": "center", "size": 6}
            axes.text(x, y, f"{gain:.2f}", color=colour, **centre)
            if round(gain, 2) == printed:
                axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, zorder=4, **hit))
    axes.set_xticks(range(len(gains.columns)), gains.columns)
    axes.set_yticks(range(len(gains.index)), gains.index)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("multipliers")
    axes.set_ylabel("weights in one read")
