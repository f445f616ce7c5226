"""Pins that stores rest on: keys of recipes, and the names and shapes of networks' states.

pins.json was written when the committed runs were. A value in it never changes; what is new adds.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lib import paths
from lib.data import fingerprint, load
from lib.models import create
from lib.recipe import Recipe

PINS = json.loads(Path(__file__).with_name("pins.json").read_text())


@pytest.mark.parametrize("key", PINS["recipes"])
def test_recipes_keep_their_keys(key):
    tree = PINS["recipes"][key]
    recipe = Recipe.from_dict(tree)
    assert recipe.key == key and recipe.to_dict(full=False) == tree
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_every_recorded_recipe_has_the_key_that_names_its_folder():
    for path in (paths.ROOT / "results/records").glob("*/recipe.json"):
        assert Recipe.from_dict(json.loads(path.read_text())).key == path.parent.name


def test_every_recorded_evaluation_met_the_images_that_all_others_met():
    met: dict[tuple[Any, ...], set[str]] = {}
    for path in (paths.ROOT / "results/records").glob("*/evaluations.json"):
        said, recipe = (json.loads(p.read_text()) for p in (path, path.with_name("recipe.json")))
        for one in [said["all"] | own for own in said["own"].values()]:
            p = {"split": "test", "images": 0} | said["all"]["protocol"] | one["protocol"]
            images = recipe["data"]["dataset"], p["split"], p["images"]
            met.setdefault(images, set()).add(one["data_fingerprint"])
    assert {len(hashes) for hashes in met.values()} == {1}
    assert met == met | {n: {fingerprint(load(*n))} for n in met if n[0] == "digits"}


def state_hash(method: str, backbone: str, prunable: bool) -> str:
    with torch.random.fork_rng(devices=[]):
        model = create(method, backbone, width=4, prunable=prunable)
    lines = [f"{name} {list(t.shape)} {t.dtype}" for name, t in model.state_dict().items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", PINS["states"])
def test_states_keep_their_names_shapes_and_order(name):
    method, backbone, *prunable = name.split()
    assert state_hash(method, backbone, bool(prunable)) == PINS["states"][name]
