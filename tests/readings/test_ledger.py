"""Storage and delays of the papers' networks, by hand."""

import math

import pytest

from lib.readings import ledger


def stored(label, backbone="resnet34"):
    return ledger.published(label, backbone).stored


def test_storage_counts_one_batch_norm_and_no_mask():
    assert stored("FLOAT") == stored("PGD-AT") == 21_282_122
    assert stored("OAT [scalar code]") == 31_403_978
    assert ledger.published("OAT").total["params"] == 33_355_466
    assert ledger.published("FLOAT").total["params"] == 21_282_122 + 17_024 + 36
    assert stored("SMART") == 21_282_122 - 19_759_104 // 4


@pytest.mark.parametrize(
    ("backbone", "plain", "scalar"), [("wrn16_8", 10.961, 15.437), ("wrn40_2", 2.244, 3.227)]
)
def test_storage_of_the_wide_networks_is_that_of_the_specification(backbone, plain, scalar):
    assert stored("FLOAT", backbone) / 1e6 == pytest.approx(plain, abs=1e-3)
    assert stored("OAT [scalar code]", backbone) / 1e6 == pytest.approx(scalar, abs=1e-3)


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


@pytest.mark.parametrize("machine", [(8, 175), (1, 1024), (256, 32), (16, 350)])
def test_delays_are_those_of_layers_computed_by_hand(machine):
    layers = by_hand(*machine)
    assert len(layers) == 33
    found = ledger.delay_table([(4, 8), machine]).iloc[1]
    for column, method in ((1, "FLOAT"), (2, "OAT")):
        relative = [layer[column] / layer[0] for layer in layers]
        expected = (min(relative), max(relative), sum(relative) / 33)
        assert tuple(found[f"{method} {end}"] for end in ("min", "max", "mean")) == pytest.approx(
            expected
        )
    assert found["largest gain"] == pytest.approx(max(film / noise for _, noise, film in layers))
    expected = sum(film for *_, film in layers) / sum(noise for _, noise, _ in layers)
    assert found["whole network"] == pytest.approx(expected)


def test_the_published_delay_is_one_layer_of_one_machine():
    (found,) = ledger.delay_table([(8, 175)]).to_dict("records")
    assert found["layer"] == "layer4.0.conv1"
    assert found["largest gain"] == pytest.approx(1.6597, abs=5e-5)
    assert (8, 175) in ledger.machines_that_print(1.66)[0]
