"""A run made by other code counts as current only if its first epochs come out alike."""

from dataclasses import replace

import pytest

from lib import evaluate, networks, runs, scoring, store, verify
from lib.__main__ import main
from lib.batch import status
from lib.errors import UserError
from lib.methods import Pni
from lib.models.depthwise import GeneralizedDepthwise
from lib.models.gdws import convert, error_weights
from lib.protocol import Protocol
from lib.sparsity import Dnr, Lasso, Momentum
from lib.trainers import Trainer
from lib.trainers.pruners.lasso import L1
from lib.trainers.pruners.momentum import SparseMomentum
from tests.test_conversions import DENSE, KINDS, WEIGHED
from tests.test_runs import RECIPE


@pytest.fixture
def run(results):
    return runs.fit(RECIPE)


def test_a_run_of_todays_code_is_current(run):
    assert runs.is_current(run)


def test_a_change_that_trains_alike_is_verified_and_kept(run, monkeypatch):
    monkeypatch.setattr(runs, "code_fingerprint", lambda recipe: "reworded")
    assert not runs.is_current(run) and verify.verify(run) and runs.is_current(run)
    monkeypatch.setattr(runs, "code_fingerprint", lambda recipe: "changed again")
    assert not runs.is_current(run)


def test_a_change_that_matters_is_noticed(run, monkeypatch):
    monkeypatch.setattr(runs, "code_fingerprint", lambda recipe: "changed")
    once = Trainer._attack
    monkeypatch.setattr(Trainer, "_attack", lambda *of: once(*of) - 1e-3)
    assert not verify.verify(run) and not runs.is_current(run)


def test_a_conversion_is_made_again_to_the_last_bit(results, monkeypatch):
    runs.fit(DENSE)
    weighed, run = (runs.fit(recipe) for recipe in (WEIGHED, KINDS["layer"]))
    monkeypatch.setattr(runs, "code_fingerprint", lambda recipe: "changed")
    assert verify.verify(run) and runs.is_current(run)
    monkeypatch.delattr(GeneralizedDepthwise, "forward")  # it is attacked in its dense form
    assert verify.verify_evaluation(run, evaluate.evaluate(run, ATTACKED))
    monkeypatch.setattr(networks, "error_weights", lambda f, x: error_weights(f, x[1:]))
    monkeypatch.setattr(networks, "convert", lambda f, beta, **how: convert(f, 2 * beta, **how))
    assert not verify.verify(run) and not verify.verify(weighed)


def test_a_run_that_is_named_is_trained_again_even_if_todays_code_made_it(run, capsys):
    assert main(["verify", run.key]) == 0
    history = run.history.assign(loss=lambda rows: rows["loss"] + 1e-3)
    history.to_csv(run.folder / "history.csv", index=False)
    store.seal(run.folder, list(store.read_json(run.folder / store.MANIFEST)))
    assert runs.is_current(run) and main(["verify", run.key]) == 1
    assert "differs" in capsys.readouterr().out


@pytest.mark.parametrize("other", [{"device": "abacus"}, {"processes": 2}])
def test_bits_are_not_compared_across_machines_or_numbers_of_processes(run, other):
    store.write_json(run.folder / "run.json", run.info | other)
    with pytest.raises(UserError, match=" ".join(f"{k} {v}" for k, v in other.items())):
        verify.verify(run)


def test_a_run_that_cannot_be_verified_does_not_end_the_others(run, monkeypatch, capsys):
    other = runs.fit(RECIPE.override({"seed": 1}))
    monkeypatch.setattr(runs, "code_fingerprint", lambda recipe: "reworded")
    first, second = sorted([run, other], key=lambda r: r.key)
    store.write_json(first.folder / "run.json", first.info | {"device": "abacus"})
    store.seal(first.folder, list(store.read_json(first.folder / store.MANIFEST)))
    assert main(["verify"]) == 1
    same, refused = capsys.readouterr().out.splitlines()
    assert same.startswith(f"{second.key}  the same") and "device abacus" in refused


def test_a_doctored_verification_does_not_count(run, monkeypatch):
    monkeypatch.setattr(runs, "code_fingerprint", lambda recipe: "reworded")
    store.write_json(run.folder / store.VERIFIED, {"code": "reworded", "sha256": "0"})
    assert not runs.is_current(run)


CLEAN, ATTACKED = Protocol(images=120), Protocol(images=120, attack="pgd", steps=1, lam=1.0)


@pytest.fixture
def scored(run, monkeypatch):
    """A run with two evaluations, made by other code than today's."""
    for protocol in (CLEAN, ATTACKED):
        evaluate.evaluate(run, protocol)
    monkeypatch.setattr(scoring, "code_fingerprint", lambda recipe, protocol: "reworded")
    return run


def test_evaluations_that_are_scored_alike_count_on(scored, monkeypatch, capsys):
    before = {p: p.read_bytes() for p in (scored.folder / "evaluations").iterdir()}
    assert not evaluate.find(scored, CLEAN) and status.stale() == [scored.key]
    assert main(["status"]) == 0 and "finished, 2 evaluations stale" in capsys.readouterr().out
    assert main(["verify"]) == 0 and "the same  2 of 2 evaluations" in capsys.readouterr().out
    assert evaluate.find(scored, CLEAN)["code"] != "reworded" and status.stale() == []
    assert {p: p.read_bytes() for p in before} == before
    assert runs.is_current(scored)  # what was known of the training is not lost
    monkeypatch.setattr(scoring, "code_fingerprint", lambda recipe, protocol: "again")
    assert not evaluate.find(scored, CLEAN)


def opposite(record):
    """Return a record of the other answer for every image."""
    hits = ~evaluate.unpack(record["bits"], record["n"])
    return record | {"bits": evaluate.pack(hits), "correct": int(hits.sum())}


def test_an_evaluation_that_is_scored_otherwise_does_not_count(scored, capsys):
    path = scored.folder / "evaluations" / f"{ATTACKED.key}.json"
    store.write_json(path, store.signed(opposite(store.read_signed(path))))
    assert main(["verify"]) == 1
    shown = capsys.readouterr().out
    assert "differs  pgd1" in shown and "the same  1 of 2 evaluations" in shown
    assert evaluate.find(scored, CLEAN) and not evaluate.find(scored, ATTACKED)


def test_the_proof_of_a_record_is_not_another_ones(scored):
    assert main(["verify"]) == 0
    record = evaluate.find(scored, CLEAN)
    path = scored.folder / "evaluations" / f"{CLEAN.key}.json"
    store.write_json(path, store.signed(opposite(record)))
    assert not evaluate.find(scored, CLEAN)


def test_without_weights_the_training_is_verified_and_evaluations_are_named(scored, capsys):
    (scored.folder / store.WEIGHTS["last"]).unlink()
    assert main(["verify", scored.key]) == 1
    shown = capsys.readouterr().out
    assert "the same  smart" in shown
    assert "2 evaluations by other code, which cannot be scored without its weights" in shown


def rewired(epochs):
    train = replace(RECIPE.train, epochs=epochs)
    return replace(RECIPE, train=train, sparsity=Momentum(density=0.5))


def test_a_run_that_rewires_is_verified_over_its_first_rewiring(results, monkeypatch):
    run = runs.fit(rewired(2))
    monkeypatch.setattr(runs, "code_fingerprint", lambda recipe: "reworded")
    assert verify.verify(run)
    monkeypatch.setattr(SparseMomentum, "rewire", lambda self, momentum, epoch: None)
    assert not verify.verify(run)  # the first epoch alone would not have told


def test_what_is_pruned_after_the_last_loss_is_verified_as_well(results, monkeypatch):
    run = runs.fit(replace(rewired(2), sparsity=Lasso(threshold=0.3)))
    assert verify.verify(run)
    monkeypatch.setattr(L1, "after_epoch", lambda self, epoch, momentum: None)
    assert not verify.verify(run)


@pytest.mark.parametrize(
    ("recipe", "epochs"),
    [
        (RECIPE, 1),
        (rewired(9), 2),
        (replace(rewired(9), sparsity=Dnr(0.5, clean_epochs=3)), 4),
        (replace(rewired(9), sparsity=Lasso()), 9),
        (replace(RECIPE, method=Pni(clean_epochs=3)), 4),
        (replace(RECIPE, method=Pni(clean_epochs=0)), 1),
    ],
)
def test_enough_epochs_are_compared_for_all_that_a_training_does(recipe, epochs):
    assert verify.telling_epochs(recipe) == epochs
