"""Recipes: equal values share a key, everything else is refused by name."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import paths
from lib.conversions import Compact
from lib.errors import UserError
from lib.methods import METHODS, FloatSlim, Oat, OatSlim, PgdAt, Smart
from lib.recipe import Attack, Data, Model, Recipe, Train
from lib.sparsity import Fixed, Momentum

BASE = Recipe(Data("digits"), Model("resnet18", 8), Smart())


def test_equal_values_give_equal_keys_however_they_are_written():
    data, method = Data("digits", train_images=0, augment=True), Smart(pattern="DDSS", density=0.5)
    train = Train(epochs=200, lr=0.1)
    written_out = Recipe(data, Model("resnet18", width=8), method, train, Attack(), None, 0)
    assert written_out.key == BASE.key
    assert Recipe(Data("digits"), Model("resnet18"), PgdAt(lam=1)).key == (
        Recipe(Data("digits"), Model("resnet18"), PgdAt(lam=1.0)).key
    )
    assert Oat(lambdas=[0, 1]) == Oat(lambdas=(0.0, 1.0))


def test_every_changed_field_changes_the_key():
    changes = {
        "data.dataset": "cifar10",
        "data.train_images": 10,
        "data.augment": False,
        "data.padding": "reflect",
        "model.backbone": "resnet34",
        "model.width": 4,
        "train.epochs": 3,
        "train.precision": "fp32",
        "attack.eps": 0.25,
        "method.overlap": 0.1,
        "method.loop": "released",
        "seed": 1,
    }
    keys = {BASE.override({path: value}).key for path, value in changes.items()}
    assert len(keys | {BASE.key}) == len(changes) + 1


def test_methods_with_the_same_fields_have_different_keys():
    keys = {Recipe(Data("digits"), Model("resnet18"), method()).key for method in METHODS.values()}
    assert len(keys) == len(METHODS)


@pytest.mark.parametrize("method", METHODS.values())
def test_a_tree_of_json_comes_back_as_the_same_recipe(method):
    recipe = Recipe(Data("digits"), Model("resnet18"), method(), sparsity=Momentum(0.1), seed=3)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@given(
    epochs=st.integers(0, 500), lr=st.floats(0, 10), lam=st.floats(0, 1), seed=st.integers(0, 99)
)
def test_key_is_a_function_of_the_values(epochs, lr, lam, seed):
    def make():
        train = Train(epochs=epochs, lr=lr)
        return Recipe(Data("digits"), Model("resnet18"), PgdAt(lam), train, seed=seed)

    assert make().key == make().key
    assert Recipe.from_dict(json.loads(json.dumps(make().to_dict()))).key == make().key


def test_key_does_not_depend_on_the_process():
    code = "from tests.test_recipe import BASE; print(BASE.key)"
    out = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=paths.ROOT)
    assert out.strip() == BASE.key


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("train.epoch", 3, "did you mean 'epochs'"),
        ("trian.epochs", 3, "did you mean 'train'"),
        ("train.epochs", "three", "must be of type int"),
        ("train.epochs", 2.5, "must be of type int"),
        ("train.epochs", True, "must be of type int"),
        ("train.epochs", -1, "at least 0"),
        ("train.schedule", "cosin", "did you mean 'cosine'"),
        ("train.schedule", "milestones", "set both or neither"),
        ("train.milestones", (3,), "set both or neither"),
        ("train.milestones", (3, 3), "rising numbers of epochs"),
        ("train.gamma", 1.5, "between 0 and 1"),
        ("data.padding", "reflekt", "did you mean 'reflect'"),
        ("data.split", "val", "Unknown split 'val'"),
        ("train", 3, "fields of its own"),
        ("train.epochs.x", 3, "goes deeper"),
        ("start.train.epochs", 3, "goes deeper than the field 'start', which holds None"),
        ("attack.eps", -0.1, "at least 0"),
        ("attack.eps", float("nan"), "at least 0"),
        ("attack.eps", 8, "attack.eps is 8 but pixels span 0 to 1 .* are 8/255"),
        ("train.epochs", 2**31, "train.epochs must be a number between"),
        ("train.lr", 10**400, "train.lr must be a number between"),
        ("seed", -(2**31), "recipe.seed must be a number between"),
        ("method.overlap", 0.6, "between 0 and 0.5"),
        ("method.density", 1.5, "between 0 and 1"),
        ("method.lam", 0.5, "Unknown field"),
        ("sparsity.granularity", "channels", "did you mean 'channel'"),
    ],
)
def test_a_wrong_override_is_refused_in_one_sentence(path, value, words):
    with pytest.raises(UserError, match=words) as caught:
        replace(BASE, sparsity=Momentum()).override({path: value})
    assert "\n" not in str(caught.value)


def test_overrides_are_judged_together_in_any_order():
    for changes in (
        {"attack.eps": 3.0, "attack.norm": "l2"},
        {"method.overlap": 0.1, "method.density": 0.2},
        {"method.density": 0.9, "method.overlap": 0.85},
    ):
        backwards = dict(reversed(changes.items()))
        made = BASE.override(changes)
        assert made == BASE.override(backwards)
        for path, value in changes.items():
            part, name = path.split(".")
            assert getattr(getattr(made, part), name) == value


def test_who_trains_on_all_images_has_none_to_validate_on():
    with pytest.raises(UserError, match="leaves no images to validate on; use 'train'"):
        BASE.override({"data.split": "all", "train.validate_every": 1})


def test_a_slim_method_needs_the_batch_of_its_base():
    def batch(method, size):
        return Recipe(Data("digits"), Model("resnet18"), method, Train(batch=size))

    for method, least in ((FloatSlim(), 4), (OatSlim(), 5)):
        assert batch(method, least).train.batch == least
        with pytest.raises(UserError, match=f"at least {least}"):
            batch(method, least - 1)


def test_unknown_and_missing_fields_of_a_file_are_refused():
    tree = BASE.to_dict()
    for wrong, words in (
        (tree | {"train": {"epoch": 3}}, "did you mean 'epochs'"),
        (tree | {"method": {"kind": "smrat"}}, "Unknown method"),
        ({"data": {"dataset": "digits"}, "method": {"kind": "plain"}}, "lacks the field 'model'"),
        (["digits"], "must be a table"),
    ):
        with pytest.raises(UserError, match=words):
            Recipe.from_dict(wrong)


def test_chains_have_keys_of_all_their_links_and_come_back_from_json():
    plain = replace(BASE, method=PgdAt())
    tuned = replace(plain, sparsity=Fixed(), start=replace(plain, sparsity=Momentum(), start=BASE))
    assert [link.key for link in tuned.ancestors] == [BASE.key, tuned.start.key]
    assert Recipe.from_dict(json.loads(json.dumps(tuned.to_dict()))) == tuned
    changed = tuned.override({"start.start.train.epochs": 3, "start.sparsity.density": 0.5})
    assert changed.start.start == BASE.override({"train.epochs": 3})
    compact = replace(plain, start=tuned.start, convert=Compact())
    assert replace(compact, start=compact).trained == tuned.start and tuned.trained == tuned
    assert Recipe.from_dict(json.loads(json.dumps(compact.to_dict()))) == compact
    other = replace(compact, convert=Compact(lam=1))
    keys = {r.key for r in (plain, tuned, tuned.start, changed, compact, other)}
    assert len(keys) == 6
    for alone in ({"convert": Compact()}, {"sparsity": Fixed()}):
        with pytest.raises(UserError, match="name its recipe in start"):
            replace(plain, **alone)
    with pytest.raises(UserError, match="Unknown convert 'compct'; did you mean 'compact'"):
        Recipe.from_dict(compact.to_dict() | {"convert": {"kind": "compct"}})
    with pytest.raises(UserError, match="start must be a table"):
        Recipe.from_dict(compact.to_dict() | {"start": 3})
