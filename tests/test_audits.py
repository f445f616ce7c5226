"""The plans of the audits: what they compare, and that others train most of it."""

import pytest

from lib.presets import PRESETS
from lib.studies import audit, smart

presets = pytest.mark.parametrize("preset", PRESETS)


def keys(study):
    return set(study.recipes)


@presets
def test_paths_are_crossed_in_networks_of_other_figures(preset):
    study = audit.cross_path(preset, [0, 1])
    assert keys(study) < keys(smart.table2_comparison(preset, [0, 1]))
    for job in study.jobs:
        asked = [(p.lam, p.attack, p.steps) for p in job.protocols if p.attack != "none"]
        assert asked == [(lam, "pgd", 7) for lam in smart.LAMBDAS]
