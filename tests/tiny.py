"""What modules of tests share: a training of seconds, its trainer and the files of a folder."""

from pathlib import Path

from lib import data, runs
from lib.recipe import Attack, Data, Model, Recipe, Train
from lib.trainers import Trainer

WEAK = Attack(eps=0.25, steps=1)


def digits(method, backbone="resnet20", images=32, width=4, attack=WEAK, **train) -> Recipe:
    """Return a recipe of some images of digits, for two epochs unless train says otherwise."""
    setting = Train(**{"epochs": 2, "batch": 16} | train)
    return Recipe(Data("digits", images), Model(backbone, width), method, setting, attack)


def trainer(recipe: Recipe, kind: type[Trainer] = Trainer) -> Trainer:
    images = data.load("digits", "train", limit=recipe.data.train_images)
    return kind(runs.build(recipe), recipe, images, "fp32")


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file in a folder and below."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
