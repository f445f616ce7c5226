"""Data sets, sizes, epochs and attack strength of the four presets; nothing else knows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lib.errors import choose
from lib.recipe import Attack, Data, Model, Part, Train

MAIN = "main"
BRIEF = "brief"  # for networks that only one artifact compares; main where a preset has none


@dataclass(frozen=True)
class Setting(Part):
    """A data set with the network and the training that go with it.

    role is 'main', 'brief' or a paper's data set; where the data are others, the setting stands in
    for that data set with the same architecture. paper is the only one that it is for; '' means
    all. images is the number of test images where it differs from the preset's.
    """

    data: Data
    model: Model
    train: Train
    attack: Attack = field(default=Attack())
    role: str = MAIN
    paper: str = ""
    images: int = 0

    @property
    def stands_in(self) -> bool:
        """Return whether other images replace those of the paper's data set."""
        return self.role not in (MAIN, BRIEF, self.data.dataset)


@dataclass(frozen=True)
class Strong(Part):
    """How hard AutoAttack tries: images, iterations, draws of noise per gradient, queries."""

    images: int = 0
    steps: int = 100
    eot: int = 20
    queries: int = 5_000


@dataclass(frozen=True)
class Preset(Part):
    """How large everything is; settings[0] is the main one, the others more data sets.

    images is the number of test images evaluated (0: all), slow_images that under attacks of many
    steps where it is smaller, judge says whether there are enough of them for a verdict,
    timing_rounds how often each training step is timed.
    """

    name: str
    settings: tuple[Setting, ...]
    images: int
    judge: bool = True
    slow_images: int = 0
    strong: Strong = field(default=Strong())
    timing_rounds: int = 15

    def roles(self, names: Iterable[str], paper: str) -> list[Setting]:
        """Return the settings that this preset has for the roles named, in their order."""
        mine = [setting for setting in self.settings if setting.paper in ("", paper)]
        known = {setting.role for setting in mine}
        names = [MAIN if name == BRIEF and BRIEF not in known else name for name in names]
        return [setting for name in names for setting in mine if setting.role == name]


_DIGITS = Attack(eps=0.25)
_TINY = Train(epochs=1, batch=32)
_SHORT = Train(epochs=20, batch=64)
_BRIEF = Train(epochs=7, batch=64)
_BRIEFER = Train(epochs=5, batch=64)
_FEW = Train(epochs=5, batch=64, schedule="onecycle", lr=0.1)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        # one epoch on a handful of 8x8 digits: proves that everything runs
        Preset(
            name="ci",
            settings=(
                Setting(
                    Data("digits", train_images=128), Model("resnet18", width=4), _TINY, _DIGITS
                ),
                Setting(
                    *(Data("digits", train_images=64), Model("wrn16_8", width=1), _TINY, _DIGITS),
                    role="svhn",
                ),
                Setting(
                    *(Data("digits", train_images=64), Model("wrn40_2", width=2), _TINY, _DIGITS),
                    role="stl10",
                ),
            ),
            images=64,
            judge=False,
            strong=Strong(images=8, steps=3, eot=2, queries=10),
            timing_rounds=3,
        ),
        # all digits, long enough for the trends: the default, minutes on a laptop
        Preset(
            name="quick",
            settings=(
                Setting(Data("digits"), Model("resnet18", width=8), _SHORT, _DIGITS),
                Setting(Data("digits"), Model("resnet18", width=8), _BRIEF, _DIGITS, role=BRIEF),
                Setting(
                    *(Data("digits"), Model("wrn16_8", width=1), _BRIEFER, _DIGITS), role="svhn"
                ),
                Setting(
                    *(Data("digits"), Model("wrn40_2", width=2), _BRIEFER, _DIGITS), role="stl10"
                ),
            ),
            images=0,
            strong=Strong(images=100, steps=20, eot=5, queries=200),
            timing_rounds=10,
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
                Setting(
                    *(Data("cifar10", train_images=6_000), Model("wrn16_8", width=2), _FEW),
                    role="svhn",
                    images=500,
                ),
                Setting(
                    *(Data("cifar10", train_images=3_000), Model("wrn40_2", width=4), _FEW),
                    role="stl10",
                    images=500,
                ),
            ),
            images=2_000,
            slow_images=500,
            strong=Strong(images=500, eot=3),
        ),
        # the papers' data sets, networks and epochs
        Preset(
            name="paper",
            settings=(
                Setting(Data("cifar10"), Model("resnet34"), Train()),
                Setting(Data("cifar100"), Model("resnet34"), Train(), role="cifar100"),
                Setting(
                    *(Data("svhn"), Model("wrn16_8", dropout=0.3), Train(epochs=80, lr=0.01)),
                    role="svhn",
                ),
                Setting(Data("stl10"), Model("wrn40_2", dropout=0.3), Train(), role="stl10"),
                *(
                    Setting(
                        *(Data("tiny_imagenet"), Model("resnet34"), Train(epochs=epochs)),
                        role="tiny_imagenet",
                        paper=paper,
                    )
                    for paper, epochs in (("smart", 80), ("float", 120))
                ),
            ),
            images=0,
            timing_rounds=30,
        ),
    )
}


def preset(name: str) -> Preset:
    """Return a preset by name."""
    return PRESETS[choose("preset", name, PRESETS)]
