"""The audit's figure from small frames."""

import pandas as pd
import pytest

from lib import claims
from lib.plots.audit import audit_figure, ratios


@pytest.fixture
def frames():
    metrics = pd.DataFrame(
        [
            ("a:published:Table 1", 2.0),
            ("a:plain:whole", 2.0),
            ("b:published:Table 2", 10.0),
            ("b:plain:whole: with a colon", 5.0),
            ("b:caveat:far", 20.0),
            ("b:caveat:near", 10.1),
            ("b:context:other", 10.0),
            ("c:published:text", 3.0),
        ],
        columns=["metric", "value"],
    )
    table = claims.table(
        [
            claims.analytic("b", "B (text)", 10, 5, 0.2, {"near": 10.1, "far": 20}),
            claims.analytic("a", "A (text)", 2, 2, 0.1),
            claims.Claim("c", "C (text)", "analytic", "3", "", "", "", claims.NOT_JUDGED),
        ]
    )
    return metrics, table


def test_ratios_hold_the_plain_reading_and_the_nearest_caveat(frames):
    rows = ratios(*frames).set_index(["id", "role"])["ratio"]
    assert rows.to_dict() == pytest.approx(
        {("a", "plain"): 1.0, ("b", "plain"): 0.5, ("b", "caveat"): 1.01}
    )


def test_figures_are_ordered_by_verdict_and_unjudged_ones_left_out(frames):
    axes = audit_figure(*frames, stamp="preset ci").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["A", "B"]
    low, high = axes.get_xlim()
    assert low < 0.5 and high > 1.01
