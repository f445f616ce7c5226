"""The audit's numbers against a ledger worked out by hand."""

import math
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from lib import claims, compare
from lib.readings import converted, ledger, readings

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
VGG = 14_710_464 / 14_728_266  # share of VGG-16's parameters in its convolutions
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


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("float-oat-storage:caveat:scalar code", round((PLAIN + film(1)) / 1e6, 6)),
        ("float-oat-storage:context:as built, two batch norms", 33.355466),
        ("smart-params:caveat:one path", round(1 - MASKED / 2 / PLAIN, 9)),
        ("smart-params:plain:both paths stored", round(1 - MASKED / 4 / PLAIN, 9)),
        ("smart-params:context:both paths and their masks at 2 bits", 1.0),
        ("smart-params:context:one path, every module masked", 0.5006),
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
        ("dnr-density:context:vgg16, dense but for convolutions", round(1 / (1 - 0.95 * VGG), 6)),
        ("dnr-density:context:density that resnet18 needs", round(1 / 21.57, 6)),
        ("dnr-naive:context:vgg16 at x = 95 %", round(1 / (0.05 + 0.95 * 1728 / 14_710_464), 6)),
        ("dnr-lasso-all:context:smallest lead in points, resnet18 fgsm", -0.07),
        ("dnr-l2-vgg:context:what |theta - z|^2 weighs in Eq. 6", 2.5e-5),
        ("gdws-fps-macs:context:wrn28_4 in Table 4, faster 4.00x, fewer at most", 1.730),
        ("gdws-fps-macs:context:preact_resnet50 in Table 1, faster 2.31x, fewer at most", 1.378),
        ("gdws-fps-macs:context:vgg16_hydra in Table 4, faster 2.83x, fewer at most", 2.648),
        ("gdws-ratio-wrn:context:norms and biases whole", 89.12),
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


def delays(reads, multipliers):
    """Yield plain, FLOAT and OAT delays of ResNet-34's 3x3 convolutions by Eqs. 7-9."""
    for k, i, o, size, _ in convolutions():
        if k == 3:
            weights, added = 9 * i * o, 2 * o + 4 * o**2
            read, work = math.ceil(weights / reads) * 9, math.ceil(weights / multipliers) * 4
            more = math.ceil((weights + added) / reads) * 9 + math.ceil(added / multipliers) * 4
            yield read + work * size**2, read + work * (1 + size**2), more + work * size**2


@pytest.mark.parametrize("machine", [(8, 175), (1, 1024), (256, 32), (16, 350)])
def test_delays_are_those_of_layers_computed_by_hand(machine):
    layers, found = [*delays(*machine)], ledger.delay_table([(4, 8), machine]).iloc[1]
    for column, method in ((1, "FLOAT"), (2, "OAT")):
        relative = [layer[column] / layer[0] for layer in layers]
        expected = {"min": min(relative), "max": max(relative), "mean": sum(relative) / 33}
        for name, value in expected.items():
            assert found[f"{method} {name}"] == pytest.approx(value)
    _, noise, modulated = map(sum, zip(*layers, strict=True))
    assert found["whole network"] == pytest.approx(modulated / noise)
    assert found["largest gain"] == pytest.approx(max(film / noise for _, noise, film in layers))


def test_the_published_delay_is_one_layer_of_one_machine():
    found = ledger.delay_table([(8, 175)]).iloc[0]
    assert found["layer"] == "layer4.0.conv1"
    assert found["largest gain"] == pytest.approx(1.6597, abs=5e-5)
    assert (8, 175) in ledger.machines_that_print(1.66)[0]


@pytest.mark.parametrize(
    ("label", "backbone", "millions"),
    [
        ("OAT [scalar code]", "resnet34", (PLAIN + film(1)) / 1e6),
        ("SMART", "resnet34", (PLAIN - MASKED / 4) / 1e6),
        ("FLOAT", "wrn16_8", 10.961),
        ("FLOAT", "wrn40_2", 2.244),
        ("OAT [scalar code]", "wrn16_8", 15.437),
        ("OAT [scalar code]", "wrn40_2", 3.227),
    ],
)
def test_storage_counts_one_batch_norm_and_no_mask(label, backbone, millions):
    assert ledger.published(label, backbone).stored / 1e6 == pytest.approx(millions, abs=1e-3)


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
        ("dnr-lasso-ratio-vgg", "reproduced"),
        ("dnr-c-all", "reproduced"),
        ("dnr-lasso-all", "not reproduced"),
        ("dnr-density", "not reproduced"),
        ("dnr-same-pgd", "not judged"),
        ("gdws-sizes", "reproduced"),
        ("gdws-sizes-admm", "reproduced"),
        ("gdws-sizes-hydra", "not reproduced"),
        ("gdws-ratio-both", "partly"),
        ("gdws-within-admm", "not reproduced"),
        ("gdws-pruned-all", "not reproduced"),
        ("gdws-fps-macs", "not reproduced"),
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


def test_gdws_saves_most_where_layers_have_most_positions():
    rows = [("stem", 3, 4, 64), ("wide", 3, 8, 16), ("late", 3, 8, 4), ("shortcut", 1, 8, 16)]
    names = ("name", "kernel", "out_channels", "positions", "weights", "kind")
    full = [(*row, 2 * row[1] ** 2 * row[2], "conv") for row in rows]
    layers = tuple(SimpleNamespace(**dict(zip(names, row, strict=True))) for row in full)
    macs = sum(row.weights * row.positions for row in layers)
    network = ledger.Count({"macs": macs, "params_union": sum(r.weights for r in layers)}, layers)
    whole = 2 * 9 * (9 + 8)  # a layer with nine kernels for each of its two channels
    size = network.stored + 2 * (whole - 144)
    for gone, less in ((0, 0), (whole, 16 * whole), (whole + 17, 16 * whole + 4 * 17)):
        left = macs + (16 + 4) * (whole - 144) - less
        assert converted.most_saved(network, size - gone) == pytest.approx(macs / left)
