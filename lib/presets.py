"""Data sets, sizes, epochs and attack strength of the four presets; nothing else knows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from lib.errors import choose
from lib.recipe import Attack, Data, Model, Part, Train


@dataclass(frozen=True)
class Setting(Part):
    """A data set with the network and the training that go with it."""

    data: Data
    model: Model
    train: Train
    attack: Attack = field(default=Attack())


@dataclass(frozen=True)
class Preset(Part):
    """How large everything is; settings[0] is the main one, the others more data sets.

    images is the number of test images evaluated (0: all), judge says whether there are enough of
    them for a verdict.
    """

    name: str
    settings: tuple[Setting, ...]
    images: int
    judge: bool = True


_DIGITS = Attack(eps=0.25)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        # one epoch on a handful of 8x8 digits: proves that everything runs
        Preset(
            name="ci",
            settings=(
                Setting(
                    data=Data("digits", train_images=128),
                    model=Model("resnet18", width=4),
                    train=Train(epochs=1, batch=32),
                    attack=_DIGITS,
                ),
            ),
            images=64,
            judge=False,
        ),
        # all digits, long enough for the trends: the default, minutes on a laptop
        Preset(
            name="quick",
            settings=(
                Setting(
                    data=Data("digits"),
                    model=Model("resnet18", width=8),
                    train=Train(epochs=20, batch=64),
                    attack=_DIGITS,
                ),
            ),
            images=0,
        ),
        # real 32x32 images, a narrow network, a third of the images and a few epochs
        Preset(
            name="cifar",
            settings=(
                Setting(
                    data=Data("cifar10", train_images=15_000),
                    model=Model("resnet18", width=16),
                    train=Train(epochs=6, batch=128, schedule="onecycle", lr=0.2),
                ),
            ),
            images=2_000,
        ),
        # the papers' data sets, networks and epochs
        Preset(
            name="paper",
            settings=(
                Setting(Data("cifar10"), Model("resnet34"), Train()),
                Setting(Data("cifar100"), Model("resnet34"), Train()),
                Setting(Data("stl10"), Model("wrn40_2", dropout=0.3), Train()),
                Setting(Data("tiny_imagenet"), Model("resnet34"), Train(epochs=80)),
            ),
            images=0,
        ),
    )
}


def preset(name: str) -> Preset:
    """Return a preset by name."""
    return PRESETS[choose("preset", name, PRESETS)]
