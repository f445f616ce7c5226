"""A run made by other code counts as current only if its first epochs come out alike."""

from dataclasses import replace

import pytest
import torch

from lib import paths, runs, store, verify
from lib.__main__ import main
from lib.errors import UserError
from lib.methods import Pni
from lib.recipe import Momentum
from lib.trainers.pruners.momentum import SparseMomentum
from tests.test_runs import RECIPE


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    return runs.fit(RECIPE)


def test_a_run_of_todays_code_is_current(run):
    assert verify.is_current(run)


def test_a_change_that_trains_alike_is_verified_and_kept(run, monkeypatch):
    monkeypatch.setattr(runs, "code_fingerprint", lambda: "reworded")
    assert not verify.is_current(run)
    assert verify.verify(run)
    assert verify.is_current(run)
    monkeypatch.setattr(runs, "code_fingerprint", lambda: "changed again")
    assert not verify.is_current(run)


def test_a_change_that_matters_is_noticed(run, monkeypatch):
    monkeypatch.setattr(runs, "code_fingerprint", lambda: "changed")
    original = runs.Trainer._attack
    monkeypatch.setattr(
        runs.Trainer,
        "_attack",
        lambda self, f, x, y, g: torch.clamp(original(self, f, x, y, g) + 1e-3, 0, 1),
    )
    assert not verify.verify(run)
    assert not verify.is_current(run)


def test_a_run_that_is_named_is_trained_again_even_if_todays_code_made_it(run, capsys):
    assert main(["verify", run.key]) == 0
    history = run.history.assign(loss=lambda rows: rows["loss"] + 1e-3)
    history.to_csv(run.folder / "history.csv", index=False)
    store.seal(run.folder, list(store.read_json(run.folder / store.MANIFEST)))
    assert verify.is_current(run) and main(["verify", run.key]) == 1
    assert "differs" in capsys.readouterr().out


def test_bits_are_not_compared_across_machines(run):
    info = run.info | {"device": "abacus"}
    store.write_json(run.folder / "run.json", info)
    with pytest.raises(UserError, match="device abacus"):
        verify.verify(run)


def test_a_doctored_verification_does_not_count(run, monkeypatch):
    monkeypatch.setattr(runs, "code_fingerprint", lambda: "reworded")
    store.write_json(run.folder / store.VERIFIED, {"code": "reworded", "sha256": "0"})
    assert not verify.is_current(run)


def rewired(epochs):
    train = replace(RECIPE.train, epochs=epochs)
    return replace(RECIPE, train=train, sparsity=Momentum(density=0.5))


def test_a_run_that_rewires_is_verified_over_its_first_rewiring(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    run = runs.fit(rewired(2))
    monkeypatch.setattr(runs, "code_fingerprint", lambda: "reworded")
    assert verify.verify(run)
    monkeypatch.setattr(SparseMomentum, "rewire", lambda self, momentum, epoch: None)
    assert not verify.verify(run)  # the first epoch alone would not have told


@pytest.mark.parametrize(
    ("recipe", "epochs"),
    [
        (RECIPE, 1),
        (rewired(9), 2),
        (replace(RECIPE, method=Pni(clean_epochs=3)), 4),
        (replace(RECIPE, method=Pni(clean_epochs=0)), 1),
    ],
)
def test_enough_epochs_are_compared_for_all_that_a_training_does(recipe, epochs):
    assert verify.telling_epochs(recipe) == epochs
