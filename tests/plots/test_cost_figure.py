"""The figure of costs shows its rows, and the paper's numbers where the paper has them."""

import numpy as np
import pandas as pd
import pytest

from lib import published
from lib.papers.float_costs import EACH, MULTIPLIERS, READS
from lib.plots import style
from lib.plots.cost import ROWS, fig8

TEXT = published.text("float")
TIMES = {"FLOAT": 1.0, "PGD-AT": 1.7, EACH: 6.8, "OAT": 1.6, "SMART": 1.1}
BYTES = {"FLOAT": 21.28, "PGD-AT": 21.28, EACH: 85.1, "OAT": 33.3, "OAT [scalar code]": 31.4,
         "SMART": 16.3}  # fmt: skip


@pytest.fixture
def metrics():
    rows = [
        {
            "method": m,
            "metric": "train_ratio:FLOAT",
            "value": x,
            "ci_low": 0.9 * x,
            "ci_high": 2 * x,
        }
        for m, x in TIMES.items()
    ]
    rows += [
        {"method": m, "backbone": "resnet34", "metric": "bytes_8bit", "value": 1e6 * x}
        for m, x in BYTES.items()
    ]
    rows += [
        {"method": m, "metric": f"delay:{name}", "value": 1 + scale * x}
        for m, scale in (("FLOAT", 0.01), ("OAT", 0.3))
        for name, x in (("min", 0.1), ("mean", 1.0), ("max", 2.0))
    ]
    rows += [
        {"method": "OAT", "metric": f"delay_ratio:R{r}:N{n}", "value": 1 + (n / r) ** 0.5 / 10}
        for r in READS
        for n in MULTIPLIERS
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def axes(metrics):
    figure = fig8(metrics, TEXT, "preset ci")
    assert figure.get_figwidth() == style.WIDE and figure.legends
    return figure.axes


def markers(panel, hollow):
    """Return x and row of every marker of a panel, the paper's or ours."""
    return {
        (round(float(x), 4), int(np.floor(y + 0.01)))
        for line in panel.lines
        if line.get_marker() in style.MARKERS.values()
        and (line.get_markerfacecolor() == "none") == hollow
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }


def test_times_and_sizes_stand_in_the_row_of_their_method(axes):
    assert markers(axes[0], False) == {(x, ROWS.index(m)) for m, x in TIMES.items()}
    sizes = {(x, ROWS.index(m)) for m, x in BYTES.items() if m in ROWS}
    assert markers(axes[1], False) == sizes
    assert (31.4, ROWS.index("OAT")) in {
        (round(float(line.get_xdata()[0]), 4), line.get_ydata()[0])
        for line in axes[1].lines
        if line.get_marker() == "|"
    }


def test_intervals_of_times_are_drawn(axes):
    ends = {tuple(np.round(c.get_segments()[0][:, 0], 6)) for c in axes[0].collections}
    assert ends == {(round(0.9 * x, 6), 2 * x) for x in TIMES.values()}


def test_published_numbers_are_hollow(axes):
    pgd_at, oat = TEXT["train_time_vs_float_pgd_at"], TEXT["train_time_vs_float_oat"]
    assert markers(axes[0], True) == {
        (oat, ROWS.index("OAT")),
        (pgd_at, ROWS.index("PGD-AT")),
        (round(4 * pgd_at, 4), ROWS.index(EACH)),
    }
    assert markers(axes[1], True) == {
        (TEXT["oat_bytes_mb"], ROWS.index("OAT")),
        (TEXT["bytes_mb"], ROWS.index("FLOAT")),
    }


def test_every_machine_has_its_number_and_those_that_print_the_papers_an_outline(axes):
    panel = axes[3]
    written = {t.get_position(): t.get_text() for t in panel.texts}
    assert len(written) == len(READS) * len(MULTIPLIERS)
    x, y = MULTIPLIERS.index(350), READS.index(8)
    assert written[x, y] == f"{1 + (350 / 8) ** 0.5 / 10:.2f}"
    outlined = {(p.get_x() + 0.5, p.get_y() + 0.5) for p in panel.patches}
    assert outlined == {at for at, text in written.items() if text == f"{TEXT['delay_vs_oat']:g}"}
    assert outlined


def test_no_published_time_is_cut_off_where_ours_are_smaller(metrics):
    times = metrics["metric"] == "train_ratio:FLOAT"
    metrics.loc[times, ["value", "ci_low", "ci_high"]] = 1.0
    low, high = fig8(metrics, TEXT).axes[0].get_xlim()
    assert low < 1 and high > 4 * TEXT["train_time_vs_float_pgd_at"]
