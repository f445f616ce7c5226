"""Planning: names, presets, seeds and overrides are checked before anything runs."""

import subprocess
import sys

import pytest

from lib import artifacts, claims, paths, rows, studies
from lib.conversions import Weighed
from lib.errors import UserError
from lib.methods import Smart
from lib.presets import PRESETS
from lib.studies import beyond, dnr, float_, gdws, smart


@pytest.mark.parametrize("name", studies.ARTIFACTS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_artifact_plans_in_every_preset(name, preset):
    study = studies.artifact(name)(preset, [0, 1], {})
    assert study.artifact == name
    assert study.folder == paths.artifact(preset, name)
    for job in study.jobs:
        assert job.protocols or not (job.recipe.start or job.recipe.train.epochs)
        assert job.recipe.data.split == "train" or not getattr(job.recipe.convert, "points", 0)
        for protocol in job.protocols:
            usual, slow = study.preset.images, study.preset.slow_images
            hard = job.union or protocol.attack == "autoattack"
            strong = study.preset.strong.images if hard else usual
            own = {s.images for s in study.preset.settings if s.model == job.recipe.model} - {0}
            swept = name == "dnr/fig4_attack_strength"
            many = protocol.steps > 7 or protocol.eot > 1 or swept
            usual, slow = (strong, strong) if job.union else (usual, slow)
            wanted = (usual, strong, slow if many else usual, *own)
            wanted += (300, 1_000) if name == "gdws/table6_union" else ()  # as the paper, or fewer
            alike = {"audit/noise_policy": slow, "audit/autoattack": study.preset.strong.images}
            wanted += (alike[name],) if name in alike else ()  # as many as the slowest attack
            assert protocol.images in ((0,) if protocol.split == "val" else wanted)
            if protocol.attack != "none" and protocol.norm == "linf":
                times = protocol.eps / job.recipe.attack.eps
                radii = dnr.RADII if swept else ()
                radii = beyond.STRENGTHS if name == "beyond/explore_lambda" else radii
                least = name == "beyond/gdws_everywhere" and times < 1  # of the smallest radius
                assert times == 1 or least or times in radii


def test_what_is_chosen_on_validation_images_is_so_without_training_on_them():
    for name in PRESETS:
        study = dnr.table2_admm_lasso(name, [3, 0])
        chosen = [job for job in study.jobs if job.label.endswith("validation")]
        assert {p.split for job in chosen for p in job.protocols} == {"val"}
        assert {job.recipe.data.split for job in study.jobs} == {"train"}
        assert [job.recipe.seed for job in chosen] == [3] * 6
        with pytest.raises(UserError, match="split' is up to dnr"):
            dnr.table2_admm_lasso(name, [0], {"data.split": "all"})
        with pytest.raises(UserError, match="chooses beta on validation images"):
            gdws.table1_networks(name, [0], {"data.split": "all"})


@pytest.mark.parametrize("preset", ["quick", "cifar", "gpu"])
def test_admm_pulls_as_much_in_few_steps_as_in_the_papers(preset):
    stages = [job.recipe.start for job in dnr.table2_admm_lasso(preset).jobs if "ADMM" in job.label]
    images = {"quick": 1_097, "cifar": 6_000, "gpu": 45_000}[preset]
    pulls = [s.train.epochs * -(-images // s.train.batch) * s.sparsity.rho for s in stages]
    assert pulls == pytest.approx([30 * 391 * 1e-3] * 4)


def test_a_notebook_opened_by_hand_changes_nothing_that_git_keeps(changed):
    study = smart.fig5_fgsm("ci")
    artifacts.save(study, rows.frame([rows.row(study, value=1.0)]), claims.table([]))
    assert (study.folder / "run.json").is_file()
    assert changed() == ""


def test_artifacts_share_networks():
    planned = [studies.artifact(n)("quick") for n in studies.ARTIFACTS if n.startswith("smart/")]
    together = {key for study in planned for key in study.recipes}
    assert len(together) < sum(len(study.recipes) for study in planned)
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


def test_what_a_plan_derives_follows_the_overrides():
    own = {"train.epochs": 40, "train.weight_decay": 1e-3, "attack.eps": 0.1, "data.split": "train"}
    last = dnr.table2_admm_lasso("quick", [0], own).find("ADMM").recipe
    assert [r.train.epochs for r in (*last.ancestors, last)] == [40, 6, 40]
    recipe = dnr.table4_dynamic_l2("quick", [0], own).jobs[2].recipe
    assert recipe.train.weight_decay == 1e-3 + 5e-5 and recipe.method.clean_epochs == 5
    recipe = float_.fig4_noise_rescaling("quick", [0], own).jobs[0].recipe
    assert (recipe.train.weight_decay, recipe.attack.eps) == (1e-3, 0.1)  # not PNI's own
    own = {"train.batch": 4, "method.lambdas": [0.0, 1.0]}  # too small for OAT's own four
    assert smart.table2_comparison("quick", [0], own).find("OAT").recipe.train.batch == 4


def test_fields_of_a_start_reach_the_chains_that_have_them():
    own = {"start.sparsity.density": 0.3, "start.train.epochs": 3, "train.schedule": "constant"}
    last = dnr.table2_admm_lasso("quick", [0], own).find("ADMM").recipe
    assert last.start.sparsity.density == 0.3 and last.start.train.schedule == "constant"
    assert [r.train.epochs for r in (*last.ancestors, last)] == [3, 3, 8]


def test_layers_are_cut_as_asked_and_what_cannot_be_is_refused():
    plan = dnr.fig2_convergence_sensitivity
    assert plan("quick", [0], {"convert.density": 0.1}).jobs[-1].recipe.convert.density == 0.1
    wrong = {"evaluation.weights": "best", "start.sparsity.density": 1, "model.backbone": "vgg11"}
    said = ("trains no epochs", "names no field", "is up to dnr/")
    for (name, value), words in zip(wrong.items(), said, strict=True):
        with pytest.raises(UserError, match=words):
            plan("quick", [0], {name: value, "train.validate_every": 1})


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
        (("quick", [-1]), "at least 0"),
        (("quick", ["0"]), "of type int"),
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


@pytest.mark.parametrize(
    "overrides",
    [
        {"train.epochs": 1},
        {"data.train_images": 64},
        {"model.width": 4},
        {"evaluation.images": 50},
        {"attack.eps": 0.1},
        {"method.density": 0.4, "train.lr": 0.1},
    ],
)
def test_what_is_not_the_presets_size_is_not_judged(overrides):
    study = smart.table2_comparison("quick", [0], overrides)
    assert not study.judged
    assert study.altered == tuple(name for name in overrides if "method" not in name)


def test_the_presets_own_sizes_and_other_methods_are_judged():
    assert smart.table2_comparison("quick", [0, 1]).judged
    assert smart.table2_comparison("quick", [0], {"method.density": 0.4}).judged
    assert smart.fig2_layer_sensitivity("quick", [0], {"sparsity.density": 0.3}).judged
    assert not smart.table2_comparison("ci").judged
    changes = {"method.clean_epochs": 2, "sparsity.pull": 0.0}
    assert dnr.fig4_attack_strength("quick", [0], changes).altered == (*changes,)


def test_patterns_select_papers_names_and_globs():
    assert studies.match([]) == list(studies.ARTIFACTS)
    assert all(name.startswith("smart/") for name in studies.match(["smart"]))
    tables = ["smart/table1_mask_density", "smart/table2_comparison"]
    assert studies.match(["smart/table*"]) == tables
    assert studies.match(["audit/published_numbers"]) == ["audit/published_numbers"]
    with pytest.raises(UserError, match="did you mean 'smart'"):
        studies.match(["smrt"])
    with pytest.raises(UserError, match="Unknown artifact"):
        studies.match(["smart/fig99*"])


@pytest.mark.parametrize("module", ["studies", "claims", "plots", "presets", "paths"])
def test_planning_judging_and_plotting_need_no_torch(module):
    code = f"import lib.{module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, check=False).returncode == 0


def test_pni_trains_by_the_numbers_of_its_code_and_keeps_their_ratio_elsewhere():
    (one, *_), (small, *_) = (float_.fig4_noise_rescaling(p).jobs for p in ("paper", "quick"))
    for recipe in (one.recipe, small.recipe):
        assert (recipe.train.weight_decay, recipe.train.nesterov) == (3e-4, True)
    assert (one.recipe.attack.eps, one.recipe.attack.step) == (0.031, 0.01)
    ratio = small.recipe.attack.eps / small.recipe.attack.step
    assert ratio == pytest.approx(3.1, rel=2e-3)
    assert {p.eps for p in one.protocols if p.attack != "none"} == {0.031}


def test_gdws_is_trained_and_attacked_as_in_the_paper():
    dense = [job for job in gdws.table1_networks("paper").jobs if job.label == "dense"]
    assert [job.recipe.model.backbone for job in dense] == list(gdws.CONVERTED)
    for job in dense:
        train, attack = job.recipe.train, job.recipe.attack
        assert (train.epochs, train.milestones, train.lr) == (200, (100, 150), 0.1)
        assert (attack.steps, attack.step, attack.eps) == (10, 2 / 255, 8 / 255)
        assert job.recipe.model.width == 0
        assert [(p.attack, p.steps, p.step) for p in job.protocols[1:]] == [("pgd", 100, 1 / 255)]
    last = gdws.table4_hydra("paper").find("HYDRA p95").recipe
    stages = [(r.train.epochs, round(r.train.lr, 6)) for r in (*last.ancestors, last)]
    assert stages == [(100, 0.1), (20, 0.1), (100, 0.01)]
    assert [r.train.weight_decay for r in (*last.ancestors, last)] == [1e-4] * 3
    scored = (gdws.table5_imagenet(preset).find("HYDRA p95") for preset in ("quick", "paper"))
    assert [job.recipe.start.sparsity.kind for job in scored] == ["hydra_still", "hydra"]
    (msd, *rows) = gdws.table6_union("paper").jobs
    part, attack = msd.recipe.method, msd.recipe.attack
    assert (part.l2, part.l1, part.l2_step, part.l1_step) == (0.3, 12.0, 0.05, 1.0)
    assert (attack.eps, attack.step, attack.steps, msd.recipe.train.epochs) == (0.03, 0.003, 50, 50)
    tried = {(p.norm, p.eps, p.steps, p.restarts) for p in msd.protocols[1:]}
    assert tried == {("linf", 0.03, 100, 10), ("l2", 0.5, 500, 10), ("l1-sparse", 12.0, 100, 10)}
    assert len(rows) == 3 and all(job.union and job.protocols == msd.protocols for job in rows)


def test_gdws_converts_what_other_tables_have_trained():
    tables = {n: studies.artifact(f"gdws/{n}")("quick") for n in ("table1_networks", "table3_admm")}
    light = {job.recipe.start.start.key for job in gdws.table2_lightweight("quick").jobs[:2]}
    assert light < tables["table1_networks"].recipes.keys() & {
        job.recipe.key for job in tables["table3_admm"].jobs
    }
    others = (smart.table2_comparison, float_.table1_variants, dnr.table4_dynamic_l2)
    known = {key for plan in others for key in plan("cifar").recipes}
    made = beyond.gdws_everywhere("cifar")
    shared = {job.label.split()[0] for job in made.jobs if job.recipe.trained.key in known}
    assert shared == {"PGD-AT", "SMART", "FLOAT", "DNR"}
    ends = {job.label: job.lam(job.protocols[0]) for job in made.jobs}
    assert [ends[f"SMART {path} + GDWS mild"] for path in ("clean", "adversarial")] == [0.0, 1.0]
    for job in made.jobs:
        if "GDWS" in job.label:
            assert isinstance(job.recipe.start.convert, Weighed) and not job.recipe.train.epochs
            assert job.recipe.start.convert.dataset == job.recipe.data.dataset
    assert len(gdws.table4_hydra("quick").jobs) < len(gdws.table4_hydra("gpu").jobs)
    for name in ("convert.beta", "convert.images", "model.backbone"):
        with pytest.raises(UserError, match="is up to gdws"):
            gdws.table1_networks("quick", [0], {name: 1})
    own = {"data.dataset": "cifar10", "attack.eps": 0.02, "convert.least": 0}
    for job in gdws.table1_networks("quick", [0], own).jobs:
        assert [r.attack.eps for r in (*job.recipe.ancestors, job.recipe)][-1] == 0.02
        assert job.recipe.convert is None or job.recipe.convert.dataset == "cifar10"
