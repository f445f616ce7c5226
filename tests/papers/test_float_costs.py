"""Costs of FLOAT: storage, delays and passes by hand, and the paper's own numbers as evidence."""

import math
import subprocess
import sys

import pandas as pd
import pytest

from lib import paths
from lib.errors import UserError
from lib.papers import float_cost_claims, float_costs
from lib.rows import frame
from lib.studies import ARTIFACTS


@pytest.fixture(scope="module")
def study():
    return ARTIFACTS["float/fig8_cost"]("ci")


@pytest.fixture(scope="module")
def counted(study):
    rows = [*float_costs.storage(study), *float_costs.delays(study), *float_costs.passes(study)]
    return frame(rows)


def seconds(batch=None, **columns):
    rows = [(i, label, s) for label, own in columns.items() for i, s in enumerate(own)]
    found = pd.DataFrame(rows, columns=["round", "label", "seconds"])
    found["label"] = found["label"].str.replace("_", "-")
    return found if batch is None else found.assign(batch=batch)


def near(value):
    """Return three rounds of about so many seconds."""
    return [0.999 * value, value, 1.001 * value]


def with_times(study, counted, oat=1.5, pgd_at=1.4, answer=(1.0, 1.2, 1.05)):
    training = seconds(FLOAT=near(1), OAT=near(oat), PGD_AT=near(pgd_at), SMART=near(1))
    names = ("PGD_AT", "OAT", "FLOAT")
    latency = [
        seconds(batch, **dict(zip(names, map(near, answer), strict=True))) for batch in (1, 8)
    ]
    return pd.concat([counted, frame(float_costs.times(study, training, latency))])


def at(rows, method, metric, backbone="resnet34"):
    found = rows[(rows["method"] == method) & (rows["metric"] == metric)]
    return found[found["backbone"] == backbone]["value"].item()


def test_storage_is_that_of_the_ledger(counted):
    assert at(counted, "FLOAT", "bytes_8bit") == at(counted, "PGD-AT", "bytes_8bit") == 21_282_122
    assert at(counted, "OAT [scalar code]", "bytes_8bit") == 31_403_978
    assert at(counted, "OAT", "bytes_8bit:as built") == 33_355_466
    assert at(counted, "FLOAT", "bytes_8bit:as built") == 21_282_122 + 17_024 + 36
    assert at(counted, "SMART", "bytes_8bit") == 21_282_122 - 19_759_104 // 4
    assert at(counted, float_costs.EACH, "bytes_8bit") == 4 * 21_282_122


@pytest.mark.parametrize(
    ("backbone", "plain", "scalar"), [("wrn16_8", 10.961, 15.437), ("wrn40_2", 2.244, 3.227)]
)
def test_storage_of_the_wide_networks_is_that_of_the_specification(
    counted, backbone, plain, scalar
):
    assert at(counted, "FLOAT", "bytes_8bit", backbone) / 1e6 == pytest.approx(plain, abs=1e-3)
    found = at(counted, "OAT [scalar code]", "bytes_8bit", backbone)
    assert found / 1e6 == pytest.approx(scalar, abs=1e-3)


def by_hand(reads, multipliers):
    """Return plain, FLOAT and OAT delays of ResNet-34's 3x3 convolutions by Eqs. 7-9."""
    layers, before = [(3, 64, 32)], 64
    for channels, blocks, size in ((64, 3, 32), (128, 4, 16), (256, 6, 8), (512, 3, 4)):
        for _ in range(blocks):
            layers += [(before, channels, size), (channels, channels, size)]
            before = channels
    out = []
    for inputs, outputs, size in layers:
        weights, film = 9 * inputs * outputs, 2 * outputs + 4 * outputs**2
        read, work = math.ceil(weights / reads) * 9, math.ceil(weights / multipliers) * 4
        more = math.ceil((weights + film) / reads) * 9 + math.ceil(film / multipliers) * 4
        out.append((read + work * size**2, read + work * (1 + size**2), more + work * size**2))
    return out


def test_delays_are_those_of_layers_computed_by_hand(counted):
    layers = by_hand(8, 175)
    assert len(layers) == 33
    for column, method in ((1, "FLOAT"), (2, "OAT")):
        relative = [layer[column] / layer[0] for layer in layers]
        assert at(counted, method, "delay:min") == pytest.approx(min(relative))
        assert at(counted, method, "delay:max") == pytest.approx(max(relative))
        assert at(counted, method, "delay:mean") == pytest.approx(sum(relative) / 33)


def test_the_published_delay_is_one_layer_of_one_machine(counted):
    assert at(counted, "OAT", "delay_ratio:max:layer4.0.conv1") == pytest.approx(1.6597, abs=5e-5)
    assert at(counted, "OAT", "delay_ratio:mean") == pytest.approx(1.18, abs=5e-3)
    assert at(counted, "OAT", "delay_ratio:network") == pytest.approx(1.219, abs=1e-3)


def test_every_machine_of_the_grid_is_computed(counted):
    largest = float_costs.machines(counted)
    whole = float_costs.machines(counted, "network_ratio")
    assert list(largest.index) == list(whole.index) == list(float_costs.READS)
    assert list(largest.columns) == list(float_costs.MULTIPLIERS)
    for reads, multipliers in ((1, 1024), (256, 32), (16, 350)):
        layers = by_hand(reads, multipliers)
        expected = max(film / noise for _, noise, film in layers)
        assert largest.loc[reads, multipliers] == pytest.approx(expected)
        expected = sum(film for *_, film in layers) / sum(noise for _, noise, _ in layers)
        assert whole.loc[reads, multipliers] == pytest.approx(expected)
    assert (largest >= whole).all(axis=None)


def test_passes_are_counted_by_hand(counted):
    rows = counted[counted["metric"] == "pass_ratio:FLOAT"].set_index("method")["value"]
    assert rows.to_dict() == pytest.approx(
        {
            "FLOAT": 1,
            "SMART": 1,
            "PGD-AT": (7 * 2 + 3) / (7 + 3),
            "OAT": (0.75 * 7 * 2 + 3 + 0.75 * 3) / (7 + 3),
        }
    )


def test_times_become_ratios_of_either_base(study, counted):
    rows = with_times(study, counted, oat=3.0, pgd_at=2.0)
    small = "resnet18-4"
    assert at(rows, "OAT", "train_ratio:FLOAT", small) == pytest.approx(3)
    assert at(rows, "OAT", "train_ratio:PGD-AT", small) == pytest.approx(1.5)
    assert at(rows, float_costs.EACH, "train_ratio:FLOAT", small) == pytest.approx(8)
    assert at(rows, "OAT", "latency_ratio:FLOAT:B8", small) == pytest.approx(1.2 / 1.05)
    measured = rows[rows["n"].notna()]
    assert (measured["n"] == 3).all()
    assert (measured["ci_low"] <= measured["value"]).all()
    assert (measured["value"] <= measured["ci_high"]).all()


def verdicts(rows, judge=True):
    return float_cost_claims.fig8_cost(rows, judge).set_index("id")["verdict"]


def test_times_as_printed_bear_out_the_claims(study, counted):
    found = verdicts(with_times(study, counted))
    own = found[found.index.str.startswith("fig8")]
    assert set(own.drop("fig8-delay-order")) == {"reproduced"} and len(own) == 7


def test_where_reading_costs_nothing_float_is_slower_than_oat(study, counted):
    # FLOAT multiplies each of 9 Ci Co weights once more, OAT only the 4 Co^2 + 2 Co of FiLM
    claims = float_cost_claims.fig8_cost(with_times(study, counted)).set_index("id")
    slower = sum(
        sum(noise for _, noise, _ in layers) >= sum(film for *_, film in layers)
        for reads in float_costs.READS
        for layers in (by_hand(reads, n) for n in float_costs.MULTIPLIERS)
    )
    assert slower > 0
    assert claims.loc["fig8-delay-order", "our_value"] == f"{81 - slower} of 81"
    assert claims.loc["fig8-delay-order", "verdict"] == "partly"


def test_a_smaller_gain_is_partly_reproduced_and_a_loss_is_not(study, counted):
    found = verdicts(with_times(study, counted, oat=1.2, pgd_at=0.9, answer=(1.0, 1.1, 1.3)))
    assert found["fig8-time-oat"] == "partly"
    assert found["fig8-time-pgd-at"] == "not reproduced"
    assert found["fig8-latency-oat"] == found["fig8-latency-float"] == "not reproduced"


def test_times_are_not_judged_where_the_preset_is_too_small(study, counted):
    rows = float_cost_claims.fig8_cost(with_times(study, counted), judge=False)
    kinds = rows.groupby("kind")["verdict"].agg(set)
    assert kinds["measured"] == {"not judged"}
    assert "not judged" not in kinds["analytic"]


def test_a_missing_measurement_is_named(counted):
    with pytest.raises(UserError, match="train_ratio:FLOAT"):
        float_cost_claims.fig8_cost(counted)


def test_verdicts_and_figure_need_no_torch(study, counted, tmp_path):
    with_times(study, counted).to_csv(tmp_path / "metrics.csv", index=False)
    script = f"""
import sys
import pandas as pd
from lib import published
from lib.papers import float_cost_claims
from lib.plots.cost import fig8
metrics = pd.read_csv(r"{tmp_path / "metrics.csv"}")
assert len(float_cost_claims.fig8_cost(metrics)) == 12
fig8(metrics, published.text("float"), "preset ci").savefig(r"{tmp_path / "figure.png"}")
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], cwd=paths.ROOT, check=True, timeout=120)
    assert (tmp_path / "figure.png").stat().st_size > 5000
