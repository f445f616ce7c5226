"""The plans of the audits: what they compare, and that others train most of it."""

import pytest

from lib.errors import UserError
from lib.methods import Float
from lib.presets import PRESETS
from lib.protocol import DRAWS
from lib.studies import audit, dnr, float_, gdws, smart

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


@presets
def test_noise_is_varied_at_the_robust_end_on_the_same_images(preset):
    study = audit.noise_policy(preset, [0])
    (new,) = keys(study) - keys(smart.table2_comparison(preset, [0]))
    assert study.find("FLOAT without noise").recipe.key == new
    assert study.recipes[new].method == Float(noise=False)
    assert len({p.images for job in study.jobs for p in job.protocols}) == 1
    sweep = (1, 4, 16) if preset in ("ci", "quick", "cifar") else (1, 2, 4, 8, 16, 32, 64)
    for label in audit.NOISY:
        fresh, frozen = study.find(label), study.find(f"{label}, frozen")
        assert fresh.recipe == frozen.recipe
        assert tuple(p.eot for p in fresh.protocols if p.steps == 20) == sweep
        assert {p.draws(fresh.recipe.method) for p in fresh.protocols} == {DRAWS}
        assert {p.draws(fresh.recipe.method) for p in frozen.protocols} == {1}
    for label in ("FLOAT without noise", "PGD-AT"):
        assert [p.name for p in study.find(label).protocols] == ["none", "pgd7", "pgd20"]


@pytest.mark.parametrize("name", ["method.noise", "evaluation.noise", "evaluation.eot"])
def test_what_the_noise_policies_compare_cannot_be_overridden(name):
    with pytest.raises(UserError, match=f"'{name}' is up to audit/noise_policy"):
        audit.noise_policy("quick", [0], {name: 4})


@presets
def test_autoattack_meets_networks_of_other_figures_in_the_version_meant_for_each(preset):
    study = audit.autoattack(preset, [0])
    plans = (smart.table2_comparison, float_.fig4_noise_rescaling, dnr.fig2_convergence_sensitivity)
    others = set().union(*(keys(plan(preset, [0])) for plan in (*plans, gdws.table4_hydra)))
    assert keys(study) <= others
    for job in study.jobs:
        clean, pgd, first, *_ = job.protocols
        noisy = job.recipe.method.noise and first.lam > 0
        assert first.name == ("aa-rand" if noisy else "aa")
        assert len({p.images for p in job.protocols}) == 1
        assert len({p.eps for p in job.protocols[1:]}) == 1
        assert (clean.attack, pgd.attack) == ("none", "pgd")
        if noisy:
            (last,) = (p for p in job.protocols if p.name == "aa-rand-all")
            assert last.draws(job.recipe.method) >= 10


@presets
def test_a_path_alone_starts_from_the_masked_weights_of_its_own(preset):
    study = audit.observations(preset, [0])
    for label in [*smart.MASKS][:2]:
        recipe = study.find(f"{label}, one path alone").recipe
        path, smart_ = recipe.start, recipe.start.start
        assert (recipe.method.fixed_lam, recipe.sparsity.kind) == (1.0, "fixed")
        assert (path.convert.kind, path.convert.density, path.convert.lam) == ("cut", 1.0, 1.0)
        assert path.train.epochs == smart_.train.epochs == 0 < recipe.train.epochs
        wanted = smart.MASKS[label]
        assert (smart_.method.pattern, smart_.method.overlap) == (wanted.pattern, wanted.overlap)
        assert smart_.method.alpha == 0  # no noise is baked in


@presets
def test_overlaps_go_from_disjoint_to_identical_masks_under_both_loops(preset):
    study = audit.observations(preset, [0])
    found = {loop: set() for loop in audit.LOOPS}
    for job in study.jobs:
        if (loop := job.label.rpartition(", ")[2]) in found:
            found[loop].add((job.recipe.method.pattern, job.recipe.method.overlap))
    least = {("SSSS", 0.0), ("SSSS", 0.5), ("DDSS", 0.0), ("DDSS", 0.25), ("DDSS", 0.5)}
    more = {("DDSS", 0.125), ("DDSS", 0.375)} if preset in ("gpu", "paper") else set()
    assert set(map(frozenset, found.values())) == {frozenset(least | more)}
