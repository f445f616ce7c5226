"""GDWS (Dbouk and Shanbhag 2021): the networks behind each figure and table."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lib import datasets
from lib.conversions import Compact, Conversion, Gdws, Weighed
from lib.datasets import WHOLE
from lib.errors import UserError
from lib.method import Method
from lib.methods import Msd, PgdAt, Trades
from lib.presets import LARGE, MAIN, SCORED, UNION, Setting
from lib.recipe import Recipe, replace_fields
from lib.sparsity import AdmmInner, FixedAll, Hydra, HydraStill
from lib.studies import dnr
from lib.study import Builder, Job, plan

RESNET, RESNET50, WRN, VGG = "preact_resnet18", "preact_resnet50", "wrn28_4", "vgg16_bn"
HYDRA_VGG = "vgg16_hydra"  # of HYDRA's code, as in Table 4
CONVERTED = (RESNET50, WRN, RESNET, VGG)  # of Table 1, beside RobNet
LIGHT = {
    "MobileNetV1": "mobilenet_v1",
    "MobileNetV2": "mobilenet_v2",
    "ResNet-18 (DWS)": "resnet18_dws",
    "ResNet-20": "resnet20_40",
}
# The widths of the paper; narrower networks are so by the same factor
WIDTHS = {"mobilenet_v1": 32, "mobilenet_v2": 32, "resnet20_40": 40, "robnet_free": 36, WRN: 16}
# Points of clean accuracy on validation images that a conversion may cost, which choose beta; the
# paper chooses it by hand for each network
SWEEP = {"mild": 0.5, "middle": 1.0, "strong": 2.0}
SHARES = (0.9, 0.95, 0.99)  # of weights that HYDRA takes away
FILTERS = (0.25, 0.5, 0.75)  # of channels that ADMM does
# Table 6: radii in units of that in Linf, for a pixel, and steps in units of the radii
L2, L2_TRAINED, L1 = (r / 0.03 for r in (0.5 / math.sqrt(3072), 0.3 / math.sqrt(3072), 12 / 3072))


def pgd(b: Builder, recipe: Recipe, steps: int = 100) -> dict[str, Any]:
    """Return the paper's attack, PGD-100 with steps of an eighth of the radius (section 4.1)."""
    return b.slow({"attack": "pgd", "steps": steps, "step": recipe.attack.eps / 8})


def sized(setting: Setting, backbone: str) -> Setting:
    """Return a setting with another backbone, as narrow as its own is."""
    narrow = setting.model.width
    width = max(1, round(WIDTHS.get(backbone, 64) * narrow / 64)) if narrow else 0
    return replace_fields(setting, {"model.backbone": backbone, "model.width": width})


def trained(
    b: Builder, setting: Setting, seed: int, backbone: str, method: Method | None = None
) -> Recipe:
    """Return the recipe of a network trained on attacked images, or by another method."""
    return b.recipe(sized(setting, backbone), seed, method or PgdAt())


def made(b: Builder, setting: Setting, start: Recipe, part: Conversion, lam: float = 0) -> Recipe:
    """Return the recipe of what a conversion makes of a network; a conditional one, at lam."""
    method = PgdAt(lam=lam) if start.method.conditional else start.method
    zero = replace_fields(setting, {"train.epochs": 0})
    zero = dataclasses.replace(zero, model=start.model, data=start.data)
    return b.recipe(zero, start.seed, method, start=start, convert=part)


def weighed(b: Builder, setting: Setting, start: Recipe, lam: float = 0.0) -> Recipe:
    """Return the recipe of a network that knows what errors of its weights do (Eq. 8)."""
    return made(b, setting, start, Weighed(start.data.dataset, lam, b.preset.weighed), lam)


def converted(b: Builder, setting: Setting, start: Recipe, lam: float = 0.0, **how: Any) -> Recipe:
    """Return the recipe of a GDWS network; how are fields of its conversion.

    Every channel that has weights keeps a kernel, as the released code intends.
    """
    how = {"points": SWEEP["middle"], "least": 1} | how
    if how["points"] and start.data.split == WHOLE:
        raise UserError("GDWS chooses beta on validation images; train on data.split=train.")
    return made(b, setting, weighed(b, setting, start, lam), Gdws(start.data.dataset, **how))


def pruned(b: Builder, setting: Setting, start: Recipe, share: float) -> Recipe:
    """Return the recipe of a network without a share of its channels: ADMM, tuned, compact."""
    short, tuning = dnr.stage(b, setting, 0.15), dnr.stage(b, setting)
    how: dict[str, Any] = {"backbone": start.model.backbone}
    narrow = [dataclasses.replace(s, model=start.model) for s in (short, tuning)]
    part = dnr.pulling(AdmmInner(1 - share), short)
    stage = b.recipe(narrow[0], start.seed, start.method, sparsity=part, start=start, **how)
    last = b.recipe(narrow[1], start.seed, start.method, sparsity=FixedAll(), start=stage, **how)
    return made(b, setting, last, Compact())


def hydra(b: Builder, setting: Setting, start: Recipe, share: float) -> Recipe:
    """Return the recipe of a network without a share of its weights, by HYDRA.

    The scores take a fifth of the epochs at the full rate, fine-tuning all at a tenth of it. Of a
    narrow ResNet-50, which loses many filters, batch norms stand still while scores are trained.
    """
    kind = HydraStill if start.model.backbone == RESNET50 and start.model.width else Hydra
    short = {"train.epochs": max(2, setting.train.epochs // 5)}
    last = {"train.lr": 0.1 * setting.train.lr}
    for changes, part in ((short, kind(1 - share)), (last, FixedAll())):
        stage = dataclasses.replace(replace_fields(setting, changes), model=start.model)
        start = b.recipe(stage, start.seed, start.method, sparsity=part, start=start)
    return start


def add(b: Builder, rows: Mapping[str, Recipe], steps: int = 100) -> None:
    """Add networks under clean images and the paper's attack."""
    for label, recipe in rows.items():
        b.add(label, recipe, (0.0,), [pgd(b, recipe, steps)])


def imagenet(setting: Setting) -> Setting:
    """Return a setting with the paper's radius for ImageNet, trained much as HYDRA's code does.

    That takes 90 epochs for four steps of "free" adversarial training, a shorter setting fewer.
    """
    epochs = min(90, setting.train.epochs)
    train = {"epochs": epochs, "schedule": "cosine", "milestones": (), "weight_decay": 1e-4}
    attack = {"eps": 4 / 255, "step": 1 / 255, "steps": 4}
    changes = {f"train.{name}": value for name, value in train.items()}
    return replace_fields(setting, changes | {f"attack.{n}": v for n, v in attack.items()})


def refuse(b: Builder) -> None:
    """Refuse what these plans compare, and what they take from the data set."""
    taken = "beta", "points", "dataset", "images", "lam"
    b.refuse("model.backbone", *(f"convert.{name}" for name in taken))


def sweep(b: Builder, setting: Setting, start: Recipe) -> dict[str, Recipe]:
    """Return a network and what GDWS makes of it, by label."""
    found = {f"GDWS {name}": converted(b, setting, start, points=p) for name, p in SWEEP.items()}
    return {"dense": start, **found}


@plan("gdws/fig1_fps_robustness")
def fig1_fps_robustness(b: Builder) -> None:
    """Plan HYDRA, ADMM, GDWS and HYDRA with GDWS of one VGG-16."""
    refuse(b)
    for setting, seed in b.settings((SCORED,)):
        start = trained(b, setting, seed, HYDRA_VGG, Trades())
        rows = sweep(b, setting, start)
        for share in b.swept(SHARES):
            rows[label := f"HYDRA p{100 * share:g}"] = hydra(b, setting, start, share)
            rows[f"{label} + GDWS"] = converted(b, setting, rows[label])
        rows |= {f"ADMM p{100 * s:g}": pruned(b, setting, start, s) for s in b.swept(FILTERS)}
        add(b, rows)


def spared(b: Builder) -> bool:
    """Return whether a preset is for narrow networks, and too short for a RobNet."""
    return any(setting.model.width for setting in b.preset.settings)


@plan("gdws/table1_networks")
def table1_networks(b: Builder) -> None:
    """Plan four networks, what GDWS makes of them, and RobNet, trained where there is time."""
    refuse(b)
    for setting, seed in b.settings((LARGE,)):
        if spared(b):
            blank = replace_fields(setting, {"train.epochs": 0})
            b.jobs.append(Job("RobNet", trained(b, blank, seed, "robnet_free")))
        else:
            add(b, {"RobNet": trained(b, setting, seed, "robnet_free")})
    for role, backbones in ((LARGE, CONVERTED[:1]), (MAIN, CONVERTED[1:])):
        for setting, seed in b.settings((role,)):
            for backbone in backbones:
                start = trained(b, setting, seed, backbone)
                add(b, {"dense": start, "GDWS": converted(b, setting, start)})


@plan("gdws/table2_lightweight")
def table2_lightweight(b: Builder) -> None:
    """Plan lightweight networks against what GDWS makes of larger ones."""
    refuse(b)
    for setting, seed in b.settings():
        for label, backbone in (("ResNet-18 + GDWS", RESNET), ("VGG-16 + GDWS", VGG)):
            add(b, {label: converted(b, setting, trained(b, setting, seed, backbone))})
        add(b, {label: trained(b, setting, seed, name) for label, name in LIGHT.items()})


@plan("gdws/table3_admm")
def table3_admm(b: Builder) -> None:
    """Plan GDWS against networks without some of their channels, of the same beginnings."""
    refuse(b)
    for setting, seed in b.settings():
        for backbone in (VGG, RESNET):
            start = trained(b, setting, seed, backbone)
            add(b, {"dense": start, "GDWS": converted(b, setting, start)})
            shares = b.swept(FILTERS[::2] + FILTERS[1::2])  # both ends first
            add(b, {f"ADMM p{100 * s:g}": pruned(b, setting, start, s) for s in shares})


def _scored(
    b: Builder, setting: Setting, start: Recipe, shares: Sequence[float], steps: int = 100
) -> None:
    rows = {"dense": start, "GDWS": converted(b, setting, start)}
    for share in shares:
        rows[label := f"HYDRA p{100 * share:g}"] = hydra(b, setting, start, share)
        rows[f"{label} + GDWS"] = converted(b, setting, rows[label])
    add(b, rows, steps)


@plan("gdws/table4_hydra")
def table4_hydra(b: Builder) -> None:
    """Plan two networks pruned by HYDRA, and what GDWS makes of each."""
    refuse(b)
    for backbone in (HYDRA_VGG, WRN):
        for setting, seed in b.settings((SCORED,)):
            start = trained(b, setting, seed, backbone, Trades())
            _scored(b, setting, start, b.swept(SHARES))


@plan("gdws/table5_imagenet")
def table5_imagenet(b: Builder) -> None:
    """Plan a ResNet-50 pruned by HYDRA; of ImageNet where data.dataset is a folder of it.

    It is trained by the cross-entropy of attacked images, as HYDRA's code trains that of ImageNet.
    Of a hundredth of the weights a narrow one is left too few in most layers to learn anything.
    """
    refuse(b)
    folder = str(b.overrides.get("data.dataset", "")).startswith("imagefolder")
    change = imagenet if folder else (lambda setting: setting)
    for setting, seed in b.settings((LARGE,), change):
        start = trained(b, setting, seed, "resnet50_imagenet" if folder else RESNET50)
        _scored(b, setting, start, SHARES[1:2] if setting.model.width else SHARES[1:], steps=50)


@plan("gdws/table6_union")
def table6_union(b: Builder) -> None:
    """Plan a ResNet-18 trained by MSD, and what GDWS makes of it, under three norms at once."""
    refuse(b)
    for setting, seed in b.settings((UNION,)):
        eps, spec = setting.attack.eps, datasets.spec(setting.data.dataset)
        pixels = spec.channels * spec.size**2
        radii = {"l2": L2_TRAINED * eps * math.sqrt(pixels), "l1": L1 * eps * pixels}
        speed = setting.attack.step / (0.1 * eps)  # over the paper's
        steps = {"l2_step": speed * radii["l2"] / 6, "l1_step": speed * radii["l1"] / 12}
        method = Msd(**{name: round(r, 4) for name, r in (radii | steps).items()})
        start = trained(b, setting, seed, RESNET, method)
        radius = round(L2 * eps * math.sqrt(pixels), 4)
        tries = {"steps": b.preset.strong.steps, "restarts": b.preset.restarts}
        more = 1 if b.preset.slow_images else 5  # steps in L2, as in the paper
        attacks = [
            {"attack": "pgd", **tries, "step": 0.1 * eps},
            {"attack": "pgd", **tries, "norm": "l1-sparse", "eps": method.l1}
            | {"step": method.l1 / 12},
            {"attack": "pgd", **tries, "norm": "l2", "eps": radius, "step": 0.1 * radius / more}
            | {"steps": more * b.preset.strong.steps},
        ]
        few = b.preset.slow_images or b.preset.strong.images or 1_000  # as in section 4.3
        for label, recipe in sweep(b, setting, start).items():
            b.add(label, recipe, (0.0,), attacks, union=True, images=few)
