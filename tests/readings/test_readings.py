"""The audit's numbers against a ledger worked out by hand."""

import subprocess
import sys
from dataclasses import replace

import pytest

from lib import claims, compare
from lib.readings import ledger, readings

# channels, blocks, output size of ResNet-34's stages
STAGES = [(64, 3, 32), (128, 4, 16), (256, 6, 8), (512, 3, 4)]


def convolutions():
    """Yield kernel, inputs, outputs, size and stage of every convolution (stage 0 is the stem)."""
    yield 3, 3, 64, 32, 0
    before = 64
    for stage, (channels, blocks, size) in enumerate(STAGES, start=1):
        for _ in range(blocks):
            yield 3, before, channels, size, stage
            yield 3, channels, channels, size, stage
            if before != channels:
                yield 1, before, channels, size, stage
            before = channels


WEIGHTS = sum(k * k * i * o for k, i, o, _, _ in convolutions())
NORMS = sum(2 * o for _, _, o, _, _ in convolutions())
PLAIN = WEIGHTS + NORMS + 5130
MASKED = sum(9 * i * o for k, i, o, _, stage in convolutions() if k == 3 and stage > 2)
MACS = sum(k * k * i * o * s * s for k, i, o, s, _ in convolutions()) + 5120
FILM = [o for k, _, o, _, _ in convolutions() if k == 3]


def film(code):
    return sum(2 * c * code + 4 * c * c + 4 * c for c in FILM)


@pytest.fixture(scope="module")
def found():
    return readings()


@pytest.fixture(scope="module")
def at(found):
    """Return numbers by figure, role and reading, as 'float-params:plain:one batch norm'."""
    return {
        f"{id}:{role}:{name}": value
        for id, reading in found.items()
        for role, values in (
            ("plain", {reading.name: reading.value}),
            ("caveat", reading.caveats),
            ("context", reading.context),
        )
        for name, value in values.items()
    }


def test_the_ledger_by_hand_is_the_one_of_the_papers():
    assert (WEIGHTS, PLAIN, MACS, len(FILM)) == (21_259_968, 21_282_122, 1_159_402_496, 33)


def test_storage_of_oat(at):
    name = "float-oat-storage"
    assert at[f"{name}:caveat:scalar code"] == (PLAIN + film(1)) / 1e6
    assert at[f"{name}:plain:128-dimensional code, one batch norm"] == (PLAIN + film(128)) / 1e6
    both = (PLAIN + NORMS + film(128)) / 1e6
    assert at[f"{name}:context:as built, two batch norms"] == both


def test_shares_of_smart(at):
    assert at["smart-params:caveat:one path"] == pytest.approx(1 - MASKED / 2 / PLAIN)
    assert at["smart-params:plain:both paths stored"] == pytest.approx(1 - MASKED / 4 / PLAIN)
    assert at["smart-params:context:both paths and their masks at 2 bits"] == pytest.approx(1)
    assert at["smart-params:context:one path, every module masked"] == pytest.approx(
        0.5006, abs=5e-5
    )


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("float-oat-ratio:context:WRN-16-8, scalar code", 1.408),
        ("float-oat-ratio:context:WRN-40-2, 128-dimensional code", 1.730),
        ("smart-params:context:WRN-40-2, one path", 0.528),
        ("smart-params:context:WRN-40-2, one path, last group masked", 0.622),
        ("smart-params:context:one path, shortcuts masked", 0.5319),
        ("smart-oat-ratio:context:one path, scalar code", 2.754),
        ("smart-oat-ratio:context:both paths stored, scalar code", 1.922),
        ("float-flops:context:linear layers twice, batch norms four times", 1.1635),
        ("smart-oat-macs:context:built to fit: modulation twice and batch norms", 14.98),
        ("float-delay:context:mean over layers, same machine", 1.18),
        ("float-delay:context:whole network, same machine", 1.219),
        ("float-delay:context:128-dimensional code, same machine", 1.88),
        ("float-delay:context:if shortcuts had FiLM, same machine", 7.06),
        ("float-time-oat:context:six lambdas, FLOAT's released loop", 1.49),
    ],
)
def test_numbers_of_an_independent_recount(at, metric, value):
    digits = len(str(value).split(".")[1])
    assert at[metric] == pytest.approx(value, abs=0.51 * 10**-digits)


def test_film_operations_do_not_count_biases(at):
    macs = sum(2 * c + 4 * c * c for c in FILM) / 1e6
    assert at["smart-oat-macs:caveat:scalar code"] == macs
    same = at["float-oat-flops:context:scalar code"]
    assert same == pytest.approx(100 * macs * 1e6 / MACS)


@pytest.mark.parametrize(
    ("reads", "multipliers", "expected"),
    [
        (8, 175, (1.001, 1.015, 1.007, 1.021, 1.685, 1.188, 1.660, "layer4.0.conv1", 1.219)),
        (4, 175, (1.001, 1.009, 1.005, 1.040, 1.837, 1.256, 1.835, "conv1", 1.302)),
        (16, 175, (1.001, 1.025, 1.010, 1.011, 1.561, 1.130, 1.524, "layer4.0.conv1", 1.140)),
        (8, 128, (1.001, 1.019, 1.008, 1.016, 1.633, 1.160, 1.602, "layer4.0.conv1", 1.182)),
        (8, 256, (1.001, 1.011, 1.006, 1.030, 1.738, 1.224, 1.719, "layer4.0.conv1", 1.266)),
    ],
)
def test_delays_of_an_independent_recount(reads, multipliers, expected):
    row = ledger.delay_table([(reads, multipliers)]).iloc[0]
    names = ["FLOAT min", "FLOAT max", "FLOAT mean", "OAT min", "OAT max", "OAT mean"]
    for name, value in zip([*names, "largest gain"], expected, strict=False):
        assert row[name] == pytest.approx(value, abs=1e-3), name
    assert row["layer"] == expected[7]
    assert row["whole network"] == pytest.approx(expected[8], abs=1e-3)


@pytest.mark.parametrize(
    ("id", "verdict"),
    [
        ("float-params", "reproduced"),
        ("smart-adds", "reproduced"),
        ("smart-energy-gap", "reproduced"),
        ("float-oat-ratio", "partly"),
        ("smart-params", "partly"),
        ("smart-oat-ratio", "partly"),
        ("float-delay", "partly"),
        ("smart-oat-macs", "not reproduced"),
        ("smart-adds-text", "not reproduced"),
        ("float-add-share", "not reproduced"),
        ("float-robust-gain", "not reproduced"),
        ("float-sparse-ratio", "not judged"),
    ],
)
def test_verdicts_of_well_understood_figures(found, id, verdict):
    claim = claims.stated("audit/published_numbers").set_index("id", drop=False).loc[id]
    assert compare.reading(claim, found[id]).fixed == verdict
    without = replace(found[id], context={})
    assert compare.reading(claim, without) == compare.reading(claim, found[id])


def test_every_published_figure_has_a_reading_and_none_besides(found):
    stated = claims.stated("audit/published_numbers")
    assert set(stated["test"]) == {"reading"} and set(stated["kind"]) == {"analytic"}
    assert set(stated.loc[stated["why_not"] == "", "id"]) == set(found)


def test_planning_the_audit_needs_no_torch():
    code = "import sys, lib.studies.audit; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
