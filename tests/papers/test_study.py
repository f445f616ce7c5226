"""Planning: names, presets, seeds and overrides are checked before anything runs."""

import subprocess
import sys

import pytest

from lib import papers, paths
from lib.errors import UserError
from lib.papers import smart
from lib.presets import PRESETS
from lib.recipe import Smart


@pytest.mark.parametrize("name", papers.ARTIFACTS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_artifact_plans_in_every_preset(name, preset):
    study = papers.artifact(name)(preset, [0, 1], {})
    assert study.artifact == name
    assert study.folder == paths.artifact(preset, name)
    for job in study.jobs:
        assert job.protocols
        for protocol in job.protocols:
            usual, slow = study.preset.images, study.preset.slow_images
            strong = study.preset.strong.images if protocol.attack == "autoattack" else usual
            own = {s.images for s in study.preset.settings if s.model == job.recipe.model} - {0}
            assert protocol.images in (usual, strong, slow if protocol.steps > 7 else usual, *own)
            if protocol.attack != "none":
                assert protocol.eps == job.recipe.attack.eps


def test_artifacts_share_networks():
    studies = [papers.artifact(n)("quick") for n in papers.ARTIFACTS if n.startswith("smart/")]
    together = {key for study in studies for key in study.recipes}
    assert len(together) < sum(len(study.recipes) for study in studies)
    assert smart.fig1_pareto().recipes.keys() == smart.table2_comparison().recipes.keys()


def test_every_seed_gives_its_own_networks():
    one, two = smart.table1_mask_density(seeds=[0]), smart.table1_mask_density(seeds=[0, 1])
    assert len(two.recipes) == 2 * len(one.recipes)
    assert one.recipes.keys() < two.recipes.keys()


def test_overrides_reach_recipes_and_protocols_and_mark_the_folder():
    changes = {"train.epochs": 3, "attack.eps": 0.1, "evaluation.images": 50}
    study = smart.fig4_lambda_sweep("quick", [0], changes)
    assert {job.recipe.train.epochs for job in study.jobs} == {3}
    protocols = [p for job in study.jobs for p in job.protocols]
    assert {p.images for p in protocols} == {50}
    assert {p.eps for p in protocols if p.attack == "pgd"} == {0.1}
    assert study.results.startswith("quick-custom-")
    assert smart.fig4_lambda_sweep("quick").results == "quick"


def test_a_method_field_reaches_only_the_methods_that_have_it():
    changed = smart.table2_comparison("quick", [0], {"method.overlap": 0.5})
    for new, old in zip(changed.jobs, smart.table2_comparison("quick").jobs, strict=True):
        if isinstance(new.recipe.method, Smart):
            assert new.recipe.method.overlap == 0.5
        else:
            assert new.recipe == old.recipe


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("quik",), "did you mean 'quick'"),
        (("quick", []), "at least one"),
        (("quick", [0, 0]), "none twice"),
        (("quick", [-1]), "between 0"),
        (("quick", ["0"]), "whole number"),
        (("quick", [0], {"train.epoch": 1}), "did you mean 'epochs'"),
        (("quick", [0], {"seed": 1}), "cannot be set"),
        (("quick", [0], {"method.overlep": 0.1}), "names no field"),
        (("quick", [0], {"evaluation.attack": "fgsm"}), "cannot be set"),
        (("quick", [0], {"evaluation.images": -4}), "at least 0"),
        (("quick", [0], {"method.overlap": 0.9}), "between 0 and 0.5"),
    ],
)
def test_a_wrong_plan_is_refused(arguments, words):
    with pytest.raises(UserError, match=words):
        smart.table1_mask_density(*arguments)


def test_patterns_select_papers_names_and_globs():
    assert papers.match([]) == list(papers.ARTIFACTS)
    assert all(name.startswith("smart/") for name in papers.match(["smart"]))
    assert papers.match(["smart/table*"]) == [
        "smart/table1_mask_density",
        "smart/table2_comparison",
    ]
    assert papers.match(["audit/published_numbers"]) == ["audit/published_numbers"]
    with pytest.raises(UserError, match="did you mean 'smart'"):
        papers.match(["smrt"])
    with pytest.raises(UserError, match="Unknown artifact"):
        papers.match(["smart/fig99*"])


@pytest.mark.parametrize(
    "module", ["lib.papers", "lib.claims", "lib.plots", "lib.artifacts", "lib.presets", "lib.paths"]
)
def test_planning_judging_and_plotting_need_no_torch(module):
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, check=False).returncode == 0
