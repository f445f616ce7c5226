"""Trained networks by name: the weights of the repository, and a card that is true."""

import hashlib

import pandas as pd
import pytest
import torch

from lib import paths, runs, zoo
from lib.batch import status
from lib.errors import UserError

HERE = "cifar10/dnr-channel-0.5"  # its weights are in the repository


def test_every_name_is_one_network_that_the_plans_train():
    recipes = {name: zoo.job(name).recipe for name in zoo.names() if name.startswith("cifar10/")}
    assert HERE in recipes and len({recipe.key for recipe in recipes.values()}) == len(recipes)
    assert {recipe.data.dataset for recipe in recipes.values()} == {"cifar10"}
    assert recipes["cifar10/smart-ddss-0.25"].method.overlap == 0.25
    assert [recipes[f"cifar10/pgd-at-{lam}"].method.lam for lam in (0, 1)] == [0, 1]
    assert len(zoo.names()) == 2 * len(recipes)


@pytest.fixture
def repository(monkeypatch):
    """Look into the results of the repository, wherever else tests put theirs."""
    monkeypatch.setattr(paths, "RESULTS", paths.ROOT / "results")
    return monkeypatch


def test_what_the_repository_has_the_weights_of_is_loaded_with_a_card_that_is_true(repository):
    repository.setattr(runs.training, "train", None)
    model, card = zoo.load(HERE)
    assert not model.training and model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    file = paths.records() / card.made["run"] / "weights.safetensors"
    assert card.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    for text in (HERE, card.sha256, "'density': 0.5", "'epochs': 6", "flag: fewer than 3 seeds"):
        assert text in str(card)
    rows = pd.read_csv(paths.RESULTS / "cifar/dnr/fig4_attack_strength/metrics.csv")
    rows = rows[(rows["method"] == "DNR channel") & rows["detail"].isna()]
    published = rows[["lam", "n", "value", "ci_low", "ci_high"]].to_numpy()
    mine = card.scores[["lam", "images", "right, %", "low", "high"]].to_numpy(float)
    assert len(published) == 9  # clean, and PGD of eight lengths
    for row in published:
        assert any(row == pytest.approx(one) for one in mine)
    clean, attacked = (card.scores[card.scores["attack"] == a] for a in ("clean", "pgd100-step2.6"))
    assert clean["right, %"].item() > attacked["right, %"].item()
    assert (clean["eps, 1/255"].item(), attacked["eps, 1/255"].item()) == (0, pytest.approx(8))


def test_a_card_says_what_is_stale(repository):
    repository.setattr(runs, "code_fingerprint", lambda recipe: "reworded")
    _, card = zoo.load(HERE)
    assert any(flag.startswith("trained by other code than today's") for flag in card.flags)
    assert "flag: trained by other code" in str(card)


def test_a_network_without_weights_says_how_to_train_it(results):
    with pytest.raises(UserError) as error:
        zoo.load("digits/smart-ddss-0.25")
    key = zoo.job("digits/smart-ddss-0.25").recipe.key
    assert f"python -m lib train {key}" in str(error.value)
    assert status.job_of(key).recipe.key == key  # which that command finds
    with pytest.raises(UserError, match=r"did you mean 'cifar10/dnr-channel-0\.5'"):
        zoo.load("cifar10/dnr-chanel-0.5")
