"""The plan of SMART's observations under two training loops."""

import pytest

from lib.errors import UserError
from lib.presets import PRESETS
from lib.studies import audit, smart


@pytest.mark.parametrize("preset", PRESETS)
def test_half_of_the_networks_are_those_of_table_1_and_half_differ_by_their_loop(preset):
    table1, study = (p(preset, [0, 1]) for p in (smart.table1_mask_density, audit.observations))
    labels = {f"{masks}, {loop}" for masks in smart.MASKS for loop in audit.LOOPS}
    rows = [job for job in study.jobs if job.label in labels]
    assert len({j.label for j in rows}) == 6 and len({j.recipe.key for j in rows}) == 12
    for job in table1.jobs:
        alg1, released = (study.find(f"{job.label}, {way}", job.recipe.seed) for way in audit.LOOPS)
        assert alg1.recipe == job.recipe and {*alg1.protocols} < {*job.protocols}
        assert released.protocols == alg1.protocols
        one, other = alg1.recipe.to_dict(), released.recipe.to_dict()
        assert (one["method"].pop("loop"), other["method"].pop("loop")) == ("alg1", "released")
        assert one == other


@pytest.mark.parametrize("name", ["method.loop", "method.overlap", "method.pattern"])
def test_what_it_compares_cannot_be_overridden(name):
    with pytest.raises(UserError, match=f"'{name}' is up to audit/observations"):
        audit.observations("quick", [0], {name: "released"})


def test_other_fields_of_the_method_reach_every_network():
    study = audit.observations("quick", [0], {"method.alpha": 0.1, "train.epochs": 2})
    noisy = [job.recipe.method for job in study.jobs if job.recipe.method.noise]
    assert {method.alpha for method in noisy} == {0.1} and len(noisy) == 10
    assert {job.recipe.train.epochs for job in study.jobs} == {2}
