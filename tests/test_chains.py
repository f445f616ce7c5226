"""Chains of recipes: train, prune, fine-tune, convert; a kill anywhere changes no bit."""

import io
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from lib import evaluate, paths, records, runs, store, verify
from lib.batch import plan, preview, run, status
from lib.conversions import Compact, Cut
from lib.errors import UserError
from lib.methods import Float, PgdAt, Smart
from lib.models.compaction import channels
from lib.protocol import Protocol
from lib.recipe import Data, Model, Recipe, Train
from lib.sparsity import Admm, Fixed, Momentum
from lib.study import Job, Study
from tests.test_runs import same, unfinished
from tests.tiny import digits

DENSE = digits(PgdAt(0.5), precision="fp32")
PRUNED = replace(DENSE, sparsity=Admm(0.3, rho=0.01, every=1), start=DENSE)
TUNED = replace(DENSE, sparsity=Fixed(), start=PRUNED, seed=1)
CHAIN = {"dense": DENSE, "pruned": PRUNED, "tuned": TUNED}
ZERO = Train(epochs=0, batch=16)
SHELF = [TUNED]
pytestmark = pytest.mark.usefixtures("results")


def weights(recipe: Recipe) -> dict[str, torch.Tensor]:
    return runs.load(recipe).model().state_dict()


def digest(recipe: Recipe) -> str:
    return runs.load(recipe).marks()["weights_sha256"]


def hashes() -> dict[str, str]:
    return {name: digest(r) for name, r in CHAIN.items()}


def test_a_chain_killed_in_each_stage_ends_in_the_same_bits(results, trained):
    straight = hashes()
    assert len(set(straight.values())) == 3
    assert runs.load(TUNED).info["start"] == straight["pruned"]
    assert "start" not in runs.load(DENSE).info
    store.remove(paths.runs())
    code = (
        "import os, signal, sys, torch; torch.set_num_threads(1)\n"
        "from tests.test_chains import CHAIN, TUNED\n"
        "from lib import runs, training; from lib.trainers import Trainer\n"
        "training.SAVE_EVERY = -1\n"
        "epoch, victim = Trainer.epoch, CHAIN[sys.argv[1]]\n"
        "def dying(self, on_step):\n"
        "    def step(share):\n"
        "        on_step(share)\n"
        "        if self.epochs_done and self.recipe == victim: os.kill(os.getpid(), 9)\n"
        "    return epoch(self, step)\n"
        "Trainer.epoch = dying; runs.fit(TUNED)"
    )
    env = os.environ | {"SUITE_RESULTS": str(results), "OMP_NUM_THREADS": "1"}
    for name, recipe in CHAIN.items():
        call = [sys.executable, "-c", code, name]
        killed = subprocess.run(call, cwd=paths.ROOT, env=env, check=False, timeout=120)
        assert killed.returncode == -signal.SIGKILL
        raw = (runs.folder(recipe) / "resume.pt").read_bytes()
        state = torch.load(io.BytesIO(raw[32:]), weights_only=True)["pruner"]
        assert any(u.any() for u in state.get("u", [])) is (name == "pruned")
        done = [n for n, r in CHAIN.items() if runs.load(r)]
        assert done == [*CHAIN][: [*CHAIN].index(name)]
    runs.fit(TUNED)
    assert hashes() == straight


def test_fine_tuning_keeps_the_zeros_that_the_pruning_left(trained):
    before, after = weights(PRUNED), weights(TUNED)
    masked = [name for name in after if name.endswith(".mask")]
    assert masked
    for name in masked:
        layer = name.replace("mask", "weight")
        assert torch.equal(after[name], before[layer] != 0)
        assert not after[layer][~after[name]].any()
        assert not torch.equal(after[layer], before[layer])


def test_zero_epochs_take_the_weights_over_as_they_are(trained):
    again = replace(DENSE, start=DENSE, train=ZERO, seed=3)
    assert same(weights(runs.fit(again).recipe), weights(DENSE))
    assert not len(runs.load(again).history)
    torch.manual_seed(0)
    masked = runs.build(replace(again, sparsity=Momentum()))
    assert all(m.all() for name, m in masked.named_buffers() if name.endswith("mask"))


def test_a_link_of_a_chain_is_verified_and_evaluated_as_any_run(trained, monkeypatch):
    run = runs.load(TUNED)
    record = evaluate.evaluate(run, Protocol(images=20))
    assert record["recipe_key"] == TUNED.key and record["n"] == 20
    monkeypatch.setattr(runs, "code_fingerprint", lambda recipe: "reworded")
    assert not runs.is_current(run) and verify.verify(run) and runs.is_current(run)


def test_compaction_is_a_recipe_that_can_be_tuned_and_evaluated(trained):
    pruned = replace(DENSE, sparsity=Momentum(0.4, granularity="channel"), start=DENSE)
    narrow = replace(DENSE, start=pruned, convert=Compact(), train=ZERO)
    tuned = replace(narrow, train=DENSE.train)
    x = torch.rand(4, 1, 8, 8)
    wide, small = runs.fit(pruned).model(), runs.fit(narrow).model()
    torch.testing.assert_close(small(x), wide(x))
    live = [kept for kept, _ in channels(wide).values()]
    assert [kept for kept, _ in channels(small).values()] == live
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in wide.parameters())
    assert evaluate.evaluate(runs.fit(narrow), Protocol(images=20))["n"] == 20
    assert runs.fit(tuned).model().state_dict().keys() == small.state_dict().keys()
    assert not same(weights(tuned), weights(narrow))
    noisy = replace(DENSE, method=Float())
    frozen = replace(DENSE, start=noisy, convert=Compact(lam=1.0), train=ZERO)
    first = weights(runs.fit(frozen).recipe)
    assert same(first, weights(runs.fit(frozen, fresh=True).recipe))  # one draw of noise, seeded


@pytest.mark.parametrize("layer", ["layer2.0.conv1", ""])
def test_a_cut_keeps_the_largest_weights_of_the_layer_it_names_or_of_each(trained, layer):
    cut = replace(DENSE, start=DENSE, train=ZERO, convert=Cut(0.1, layer))
    before, after = weights(DENSE), weights(runs.fit(cut).recipe)
    for name, old in before.items():
        if old.dim() == 4 and name.startswith(layer):
            least = old.abs().flatten().sort(descending=True).values[round(0.1 * old.numel()) - 1]
            old = old * (old.abs() >= least)
            assert int((old != 0).sum()) == round(0.1 * old.numel())
        assert torch.equal(after[name], old)


MASKED = replace(DENSE, method=Smart(pattern="DSS"))
OTHER = {
    "width": (replace(DENSE, model=Model("resnet20", 8), start=DENSE), "width is 8 but 4"),
    "backbone": (replace(DENSE, model=Model("resnet18", 4), start=DENSE), "backbone is resnet18"),
    "method": (replace(DENSE, method=Float(), start=DENSE), "bn1.adv.bias is not in the network"),
    "classes": (replace(DENSE, data=Data("cifar10"), start=DENSE), "conv1.weight has the shape"),
    "mask": (replace(DENSE, start=PRUNED), "mask .* has no place in it"),
    "density": (
        replace(MASKED, method=replace(MASKED.method, density=0.4), start=MASKED),
        "density is 0.4 but 0.5",
    ),
    "plain": (replace(DENSE, method=Float(), start=DENSE, convert=Compact()), "plain, pgd_at"),
    "masks": (replace(PRUNED, convert=Compact()), "plain network without masks"),
    "layer": (replace(DENSE, start=DENSE, convert=Cut(layer="layer2.0.conv")), "did you mean"),
}


@pytest.mark.parametrize(("recipe", "words"), OTHER.values(), ids=OTHER)
def test_what_does_not_fit_its_start_is_refused_in_one_sentence(recipe, words, trained):
    with pytest.raises(UserError, match=words) as caught:
        runs.check(recipe)
        runs.fit(recipe.start)
        runs.build(recipe)
    assert "\n" not in str(caught.value)


def test_a_child_is_superseded_when_its_start_was_trained_to_other_weights(trained, caplog):
    store.remove(runs.folder(DENSE))
    assert runs.load(TUNED) and runs.load(PRUNED)  # what is finished needs no start
    other = runs.fit(replace(DENSE, seed=5))
    store.remove(runs.folder(DENSE))
    other.folder.rename(runs.folder(DENSE))
    store.write_json(runs.folder(DENSE) / "recipe.json", DENSE.to_dict())
    store.seal(runs.folder(DENSE), list(store.read_json(runs.folder(DENSE) / store.MANIFEST)))
    for recipe in (PRUNED, TUNED):
        assert "started from other weights" in plan.look(recipe)[0]
    assert runs.load(TUNED) is None and "set aside" in caplog.text
    before = digest(DENSE)
    assert runs.fit(TUNED).info["start"] == digest(PRUNED)
    assert runs.load(PRUNED).info["start"] == before


def test_an_unfinished_child_starts_over_when_its_start_has_other_weights(monkeypatch, caplog):
    runs.fit(DENSE)
    unfinished(PRUNED)
    assert (runs.folder(PRUNED) / "resume.pt").is_file()
    monkeypatch.setattr(runs.Run, "marks", lambda run: {"weights_sha256": "other"})
    runs.fit(PRUNED)
    assert "Start of" in caplog.text


def test_records_of_a_chain_are_kept_together_and_count_without_weights(trained, monkeypatch):
    home = records.keep(TUNED)
    assert {p.name for p in home.parent.iterdir()} == {r.key for r in CHAIN.values()}
    store.remove(paths.runs())
    assert runs.find(TUNED) is None
    monkeypatch.setenv("SUITE_FROM_RECORDS", "1")
    assert all(runs.fit(recipe).folder.parent == home.parent for recipe in CHAIN.values())
    with pytest.raises(UserError, match=f"no record of run {replace(TUNED, seed=9).key}"):
        runs.fit(replace(TUNED, seed=9))


def test_a_start_that_is_gone_is_asked_for_by_its_key(trained):
    store.remove(runs.folder(PRUNED))
    assert runs.load(TUNED).model() is not None
    with pytest.raises(UserError, match=f"python -m lib train {PRUNED.key}"):
        runs.build(TUNED)
    assert status.recipe_of(TUNED.key).ancestors == [DENSE, PRUNED]


def planned(monkeypatch, *jobs, **options) -> plan.Plan:
    from lib.presets import preset

    study = Study("tiny/chain", preset("ci"), (0,), {}, jobs)
    monkeypatch.setattr(plan.studies, "artifact", lambda name: lambda *rest: study)
    return plan.make(["tiny/chain"], "ci", (0,), {}, **options)


def test_the_plan_holds_ancestors_once_and_only_as_far_as_they_are_wanted(monkeypatch, capsys):
    clean = (Protocol(images=8),)
    compact = replace(DENSE, start=PRUNED, convert=Compact(), train=ZERO)
    jobs = (Job("tuned", TUNED, clean), Job("dense", DENSE, clean), Job("compact", compact, clean))
    made = planned(monkeypatch, *jobs)
    assert set(made.needs) == {r.key for r in (*CHAIN.values(), compact)}
    assert made.needs[PRUNED.key].label == "start of tuned" and made.needs[DENSE.key].protocols
    (study,) = made.studies.values()
    assert [n.recipe.key for n in made.of(study)] == [j.recipe.key for j in jobs]
    assert made.with_starts(study)[0].recipe == PRUNED
    batch = run.Batch(("tiny/chain",), "ci")
    assert preview.dry(batch) == 0
    assert re.search(r"tiny/chain +4 +4 +3 +execute", capsys.readouterr().out)
    tasks = run._jobs(batch)
    assert tasks[TUNED.key].needs == [tasks[DENSE.key], tasks[PRUNED.key]]
    assert not tasks[DENSE.key].needs
    runs.fit(TUNED)
    runs.fit(compact)
    store.remove(runs.folder(PRUNED))
    assert set(planned(monkeypatch, jobs[0]).needs) == {TUNED.key}  # evaluated as it is
    assert set(planned(monkeypatch, jobs[2]).needs) == {compact.key}
    assert set(planned(monkeypatch, jobs[0], fresh=True).needs) == {r.key for r in CHAIN.values()}
