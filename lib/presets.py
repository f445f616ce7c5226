"""Data sets, sizes, epochs and attack strength of the five presets; nothing else knows them."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from lib.errors import choose
from lib.part import Part
from lib.recipe import Attack, Data, Model, Train

MAIN = "main"
BRIEF = "brief"  # for networks that only one artifact compares
LARGE, SCORED, UNION = "large", "scored", "union"  # slow ones; for HYDRA; against several norms
WIDE = "wide"  # networks of the paper's width, where they are to be fast
USES = (BRIEF, LARGE, SCORED, UNION, WIDE)  # of the main data; main where a preset has none


@dataclass(frozen=True)
class Setting(Part):
    """A data set with the network and the training that go with it.

    role is 'main', one of USES or a paper's data set; where the data are others, the setting stands
    in for that data set with the same architecture. paper is the only one that it is for, where it
    wins over the one for all, ''. images is the number of test images where it is not the preset's.
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
        return self.role not in (MAIN, *USES, self.data.dataset)


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
    timing_rounds how often each training step is timed, thorough whether networks are timed for
    seconds each, and also as torch.compile makes them, many how many images are classified at a
    time where speed is measured beside that for one, weighed how many images say what errors of
    weights do, restarts how often an attack begins in each of several norms, points how many
    values, from the first, of what is swept are planned where each asks for trainings.
    """

    name: str
    settings: tuple[Setting, ...]
    images: int
    judge: bool = True
    slow_images: int = 0
    strong: Strong = field(default=Strong())
    timing_rounds: int = 15
    thorough: bool = True
    many: int = 64
    weighed: int = 1_000
    restarts: int = 1
    points: int = 9

    def roles(self, names: Iterable[str], paper: str) -> list[Setting]:
        """Return the settings of the roles named, in their order, as far as this preset has them.

        One for the paper wins over one for all of them.
        """
        mine = sorted((s for s in self.settings if s.paper in ("", paper)), key=lambda s: s.paper)
        known = {setting.role: setting for setting in mine}
        names = [MAIN if name in USES and name not in known else name for name in names]
        return [known[name] for name in names if name in known]


def _on(dataset: str, backbone: str, train: Train, **fields: Any) -> Setting:
    """Return a setting; fields are its own, those of its data and those of its network."""
    own = {f.name: fields.pop(f.name) for f in dataclasses.fields(Setting) if f.name in fields}
    names = [name for name in ("train_images", "split", "padding") if name in fields]
    parts = {name: fields.pop(name) for name in names}
    return Setting(Data(dataset, **parts), Model(backbone, **fields), train, **own)


_DIGITS = {"attack": Attack(eps=0.25)}
_TINY = Train(epochs=1, batch=32)
_SHORT, _BRIEF, _BRIEFER = (Train(epochs=epochs, batch=64) for epochs in (20, 7, 5))
_REWIRED = Train(epochs=8, batch=64, lr=0.05)
_FEW = Train(epochs=5, batch=64, schedule="onecycle", lr=0.1)
_SLOW = replace(_FEW, epochs=6, batch=128)
_REAL = replace(_SLOW, lr=0.2)
_LESS = {"images": 500}
_EIGHTTH: dict[str, Any] = {"train_images": 6_000, "width": 16}
_CYCLE = replace(_REAL, epochs=30)
_WHOLE: dict[str, Any] = {"split": "all"}
_DEEP = _WHOLE | {"dropout": 0.3}
_DNR: dict[str, Any] = {"padding": "reflect", "paper": "dnr", "attack": Attack(step=0.01)}
# In a smaller radius than the others, which a twentieth of a narrow network can learn to withstand;
# the step keeps its ratio to it
_DNR_DIGITS = _DNR | {"attack": Attack(eps=0.15, step=0.048)}
_GDWS: dict[str, Any] = {"paper": "gdws", "attack": Attack(steps=10, step=2 / 255)}
_GDWS_DIGITS = _GDWS | {"attack": Attack(eps=0.1, steps=5, step=0.04)}
_GDWS_BRIEF = _GDWS | {"attack": Attack(eps=0.1, steps=3, step=0.083)}
_GDWS_TINY = _GDWS | {"attack": Attack(eps=0.1, steps=2, step=0.025)}
_GDWS_CIFAR = _GDWS | {"attack": Attack(steps=5, step=4 / 255)}
_WIDE_CIFAR = _GDWS | {"role": WIDE, "attack": Attack(steps=3, step=0.026), "train_images": 6_000}
_LARGE_TINY = _GDWS_TINY | {"role": LARGE}  # of fewer channels nothing would survive HYDRA
_HANDFUL: dict[str, Any] = {"train_images": 64}
_MSD = _GDWS | {"role": UNION, "attack": Attack(eps=0.03, steps=50, step=0.003)}
_MSD_CIFAR = _MSD | {"attack": Attack(eps=0.03, steps=5, step=0.012)}
_MSD_DIGITS = _MSD | {"attack": Attack(eps=0.1, steps=5, step=0.04)}
_SIX, _FIVE = (Train(epochs=n, batch=64, schedule="onecycle", lr=0.05) for n in (6, 5))
_DROPS = Train(schedule="milestones", milestones=(80, 120, 160), gamma=0.2)
_HALF = replace(_DROPS, epochs=60, milestones=(30, 50))
_TWICE = Train(schedule="milestones", milestones=(100, 150))
_HYDRA, _FIFTY = Train(epochs=100, weight_decay=1e-4), Train(epochs=50)
_LONG, _SVHN, _SMART = Train(), Train(epochs=80, lr=0.01), Train(epochs=80)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        # one epoch on a handful of 8x8 digits: proves that everything runs
        Preset(
            name="ci",
            settings=(
                _on("digits", "resnet18", _TINY, train_images=128, width=4, **_DIGITS),
                _on("digits", "resnet18", _TINY, train_images=64, width=4, **_DNR_DIGITS),
                _on("digits", "preact_resnet18", _TINY, **_HANDFUL, width=4, **_GDWS_TINY),
                _on("digits", "preact_resnet18", _TINY, **_HANDFUL, width=8, **_LARGE_TINY),
                _on("digits", "wrn16_8", _TINY, train_images=64, width=1, role="svhn", **_DIGITS),
                _on("digits", "wrn40_2", _TINY, train_images=64, width=2, role="stl10", **_DIGITS),
            ),
            images=64,
            judge=False,
            strong=Strong(images=8, steps=3, eot=2, queries=10),
            timing_rounds=3,
            thorough=False,
            many=4,
            weighed=16,
            points=2,
        ),
        # all digits, long enough for the trends: the default, minutes on a laptop
        Preset(
            name="quick",
            settings=(
                _on("digits", "resnet18", _SHORT, width=8, **_DIGITS),
                _on("digits", "resnet18", _BRIEF, width=8, role=BRIEF, **_DIGITS),
                _on("digits", "resnet18", _REWIRED, width=8, **_DNR_DIGITS),
                _on("digits", "preact_resnet18", _SIX, width=8, **_GDWS_DIGITS),
                _on("digits", "preact_resnet18", _FIVE, width=8, role=LARGE, **_GDWS_BRIEF),
                _on("digits", "preact_resnet18", _SIX, width=8, **_MSD_DIGITS),
                _on("digits", "wrn16_8", _BRIEFER, width=1, role="svhn", **_DIGITS),
                _on("digits", "wrn40_2", _BRIEFER, width=2, role="stl10", **_DIGITS),
            ),
            images=0,
            slow_images=300,
            strong=Strong(images=100, steps=40, eot=3, queries=400),
            timing_rounds=10,
            thorough=False,
            many=8,
            weighed=200,
            points=2,
        ),
        # real 32x32 images, a narrow network, a third of the images and a few epochs
        Preset(
            name="cifar",
            settings=(
                _on("cifar10", "resnet18", _REAL, train_images=15_000, width=16),
                _on("cifar10", "resnet18", _SLOW, train_images=6_000, width=16, **_DNR),
                _on("cifar10", "preact_resnet18", _SLOW, **_EIGHTTH, **_GDWS_CIFAR),
                _on("cifar10", "preact_resnet18", _SLOW, **_EIGHTTH, **_MSD_CIFAR),
                _on("cifar10", "preact_resnet18", _SLOW, **_WIDE_CIFAR),
                _on("cifar10", "wrn16_8", _FEW, train_images=6_000, width=2, role="svhn", **_LESS),
                _on("cifar10", "wrn40_2", _FEW, train_images=3_000, width=4, role="stl10", **_LESS),
            ),
            images=2_000,
            slow_images=500,
            strong=Strong(images=500, eot=3),
            weighed=500,
            points=2,
        ),
        # every image of CIFAR-10, networks of full width, a short schedule: for one GPU
        Preset(
            name="gpu",
            settings=(
                _on("cifar10", "resnet34", _CYCLE, **_WHOLE),
                _on("cifar10", "resnet18", _CYCLE, role=BRIEF, **_WHOLE),
                _on("cifar10", "resnet18", _CYCLE, **_WHOLE, **_DNR),
                # GDWS chooses beta on the validation images, so that these do not train on them
                _on("cifar10", "preact_resnet18", _CYCLE, **_GDWS),
                _on("cifar10", "preact_resnet18", _CYCLE, **_MSD),
                _on("cifar10", "wrn16_8", _CYCLE, role="svhn", **_DEEP),
                _on("cifar10", "wrn40_2", _CYCLE, role="stl10", **_DEEP),
            ),
            images=0,
            strong=Strong(images=1_000),
            timing_rounds=30,
            restarts=10,
        ),
        # the papers' data sets, networks and epochs
        Preset(
            name="paper",
            settings=(
                _on("cifar10", "resnet34", _LONG),
                _on("cifar100", "resnet34", _LONG, role="cifar100"),
                _on("svhn", "wrn16_8", _SVHN, dropout=0.3, role="svhn"),
                _on("stl10", "wrn40_2", _LONG, dropout=0.3, role="stl10"),
                _on("tiny_imagenet", "resnet34", Train(epochs=120), role="tiny_imagenet"),
                _on("tiny_imagenet", "resnet34", _SMART, role="tiny_imagenet", paper="smart"),
                _on("cifar10", "resnet18", _DROPS, **_DNR),
                _on("cifar100", "resnet18", replace(_DROPS, epochs=170), role="cifar100", **_DNR),
                _on("tiny_imagenet", "vgg16", _HALF, role="tiny_imagenet", **_DNR),
                _on("cifar10", "preact_resnet18", _TWICE, **_GDWS),
                _on("cifar10", "preact_resnet18", _HYDRA, role=SCORED, **_GDWS),
                _on("cifar10", "preact_resnet18", _FIFTY, **_MSD),
            ),
            images=0,
            timing_rounds=30,
            restarts=10,
        ),
    )
}


def preset(name: str) -> Preset:
    """Return a preset by name."""
    return PRESETS[choose("preset", name, PRESETS)]
