"""DNR (Kundu et al. 2021): the networks behind each figure and table."""

import dataclasses
import math
from typing import Any

from lib import datasets
from lib.conversions import Cut
from lib.method import Method
from lib.methods import Hybrid, PgdAt, Plain, Pni
from lib.presets import MAIN, Setting
from lib.recipe import Recipe, replace_fields
from lib.sparsity import Admm, Dnr, Fixed, Lasso, Momentum, Snip, Sparsity
from lib.studies.smart import FGSM, PGD7
from lib.study import Builder, plan

VGG, RESNET = "vgg16", "resnet18"
BETA, RHO = 0.5, 1e-4  # of Eqs. 4 and 6
IRREGULAR, CHANNEL = 0.05, 0.5  # target densities (section 4.5)
KINDS = (("irregular", IRREGULAR, "weight"), ("channel", CHANNEL, "channel"))
ATTACKS = (PGD7, FGSM)

LAYER = 14  # the convolution shown in Figure 1a, counted from 1
CUT = 0.05  # of each layer in turn, what Figure 2b leaves
CONVOLUTIONS = [f"layer{i}.{j}.conv" for i, n in enumerate((2, 2, 3, 3, 3), 1) for j in range(n)]
# Figure 3: densities by weights and by channels, of which the paper prints no list
BY_WEIGHTS, BY_CHANNELS = (0.2, 0.1, 0.05, 0.02, 0.01), (0.69, 0.5, 0.25, 0.1, 0.05)
# Figure 4: iterations, and radii in units of that of the training
ITERATIONS = (1, 2, 4, 7, 10, 20, 50, 100)
RADII = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
COEFFICIENTS = (1e-5, 1e-4, 1e-3)  # of the lasso; the paper prints none
# Table 2: one over the compression ratios of ADMM, and of ADMM with equal ratios
ADMM, NAIVE = {VGG: 1 / 16.78, RESNET: 1 / 14.6}, 1 / 19.74
# Table 3: one over the compression ratios: by weights, by channels
CLEAN = {VGG: (1 / 34.57, 1 / 12.61), RESNET: (1 / 20.32, 1 / 5.67), "resnet50": (1 / 20, None)}
OTHERS = {
    ("cifar100", VGG): (1 / 20, 1 / 2.76),
    ("cifar100", RESNET): (1 / 22.45, 1 / 5.57),
    ("tiny_imagenet", VGG): (1 / 11.55, 1 / 1.74),
}
SNIP = 1 / 32.33
PULLED = 30 * 391  # steps of ADMM's second stage in the paper
WIDE = 16  # at least: at these densities most filters of narrower layers would have no weight


def warm_up(setting: Setting) -> int:
    """Return how many epochs are clean alone: 5 (section 4.1.2), of short trainings an eighth."""
    return min(5, max(1, setting.train.epochs // 8))


def rewired(setting: Setting, density: float, kind: str = "weight", beta: float = BETA) -> Dnr:
    """Return DNR's part of a recipe; the regulariser stands inside beta."""
    return Dnr(density, granularity=kind, pull=beta * RHO, clean_epochs=warm_up(setting))


def trained(
    b: Builder, setting: Setting, seed: int, backbone: str, part: Sparsity | None = None
) -> Recipe:
    """Return the recipe of a network trained by the hybrid loss (Eq. 6), pruned by a part."""
    method = Hybrid(lam=1 - BETA, clean_epochs=warm_up(setting))
    return b.recipe(setting, seed, method, backbone=backbone, sparsity=part)


def stage(b: Builder, setting: Setting, share: float = 1.0) -> Setting:
    """Return a later stage: a tenth of the rate, a share of the epochs, then with a cosine."""
    train = setting.train
    new: dict[str, Any] = {"epochs": max(2, round(share * train.epochs)), "lr": 0.1 * train.lr}
    if share < 1 and "train.schedule" not in b.overrides:
        new |= {"schedule": "cosine", "milestones": ()}
    return dataclasses.replace(setting, train=dataclasses.replace(train, **new))


def tuned(b: Builder, setting: Setting, seed: int, backbone: str, start: Recipe) -> Recipe:
    """Return the last stage: training of what another one has left."""
    how: dict[str, Any] = {"backbone": backbone, "sparsity": Fixed(), "start": start}
    return b.recipe(stage(b, setting), seed, PgdAt(lam=1 - BETA), **how)


def pulling(part: Admm, short: Setting) -> Admm:
    """Return ADMM's part for a stage as short as a setting has it, which pulls as the paper's."""
    images = short.data.train_images or datasets.spec(short.data.dataset).count(short.data.split)
    steps = short.train.epochs * math.ceil((images or 50_000) / short.train.batch)
    rho = part.rho * max(1.0, PULLED / steps)
    return dataclasses.replace(part, rho=rho, every=max(1, short.train.epochs // 10))


def admm(b: Builder, setting: Setting, seed: int, backbone: str, part: Admm) -> Recipe:
    """Return the last of three stages; the second takes 30 of 200 epochs (section 4.3).

    All of them have the loss, the attack and the decay of DNR, and the second one cosine of rates.
    The released code trains on attacked images alone and begins its rates anew with every update.
    Where steps are fewer, rho is as much larger, so that the whole stage pulls alike.
    """
    short = stage(b, setting, 0.15)
    start = trained(b, setting, seed, backbone)
    how: dict[str, Any] = {"backbone": backbone, "sparsity": pulling(part, short), "start": start}
    pruned = b.recipe(short, seed, PgdAt(lam=1 - BETA), **how)
    return tuned(b, setting, seed, backbone, pruned)


@plan("dnr/fig1_weight_distributions")
def fig1_weight_distributions(b: Builder) -> None:
    """Plan a ResNet-18 trained on clean, attacked, and attacked images with weight noise."""
    for setting, seed in b.settings():
        methods: dict[str, Method] = {"normal": Plain(), "adversarial": PgdAt(lam=1.0)}
        methods["noisy adversarial"] = Pni(clean_epochs=warm_up(setting))
        for label, method in methods.items():
            recipe = b.recipe(setting, seed, method, backbone=RESNET)
            b.add(label, recipe, (1.0,), ATTACKS)


@plan("dnr/fig2_convergence_sensitivity")
def fig2_convergence_sensitivity(b: Builder) -> None:
    """Plan a VGG-16, whole and rewired, and the whole one with one layer cut at a time."""
    b.refuse("model.backbone", "convert.layer")
    for setting, seed in b.settings():
        whole = trained(b, setting, seed, VGG)
        b.add("unpruned", whole, (0.0,), ATTACKS)
        b.add("DNR", trained(b, setting, seed, VGG, rewired(setting, IRREGULAR)), (0.0,), ATTACKS)
        untrained = replace_fields(setting, {"train.epochs": 0})
        for layer in CONVOLUTIONS:
            part = Cut(density=CUT, layer=layer)
            cut = b.recipe(untrained, seed, whole.method, backbone=VGG, start=whole, convert=part)
            b.add(f"without {layer}", cut, (0.0,), [PGD7])


@plan("dnr/fig3_compression_accuracy")
def fig3_compression_accuracy(b: Builder) -> None:
    """Plan accuracy against compression, by weights and by channels, of two networks."""
    for role, backbone in ((MAIN, VGG), ("cifar100", RESNET)):
        for setting, seed in b.settings((role,)):
            b.add("unpruned", trained(b, setting, seed, backbone), (0.0,), ATTACKS)
            for kind, densities in (("weight", BY_WEIGHTS), ("channel", BY_CHANNELS)):
                for density in densities:
                    part = rewired(setting, density, kind)
                    recipe = trained(b, setting, seed, backbone, part)
                    b.add(f"{kind} {density:g}", recipe, (0.0,), ATTACKS)


@plan("dnr/fig4_attack_strength")
def fig4_attack_strength(b: Builder) -> None:
    """Plan ResNet-18, pruned by weights and by channels, under stronger and stronger PGD."""
    for setting, seed in b.settings():
        for label, density, kind in KINDS:
            recipe = trained(b, setting, seed, RESNET, rewired(setting, density, kind))
            a = recipe.attack
            steps = [PGD7 | {"steps": n} for n in ITERATIONS]
            radii = [PGD7 | {"eps": r * a.eps, "step": r * a.step} for r in RADII if r != 1]
            b.add(f"DNR {label}", recipe, (0.0,), [b.slow(attack) for attack in (*steps, *radii)])


@plan("dnr/table1_tiny_imagenet")
def table1_tiny_imagenet(b: Builder) -> None:
    """Plan a VGG-16 on Tiny-ImageNet, whole and pruned; other presets take their own images."""
    role = "tiny_imagenet" if b.preset.roles(("tiny_imagenet",), "dnr") else MAIN
    for setting, seed in b.settings((role,)):
        b.add("unpruned", trained(b, setting, seed, VGG), (0.0,), ATTACKS)
        for label, density, kind in (KINDS[0], ("channel", BY_CHANNELS[0], "channel")):
            recipe = trained(b, setting, seed, VGG, rewired(setting, density, kind))
            b.add(f"DNR {label}", recipe, (0.0,), ATTACKS)


@plan("dnr/table2_admm_lasso")
def table2_admm_lasso(b: Builder) -> None:
    """Plan ADMM in its three stages, with ratios by layer and equal ones, the lasso, and DNR."""
    b.refuse("model.backbone")
    if b.overrides.get("data.split") != "train":
        b.refuse("data.split")
    for setting, seed in b.settings():
        # One seed's networks choose the lasso's coefficient on validation images that none saw
        setting = replace_fields(setting, {"data.split": "train"})
        for backbone in (VGG, RESNET):
            rows: dict[str, Recipe] = {
                "unpruned": trained(b, setting, seed, backbone),
                "ADMM": admm(b, setting, seed, backbone, Admm(ADMM[backbone])),
                "ADMM naive": admm(b, setting, seed, backbone, Admm(NAIVE, ratios="uniform")),
            }
            for coefficient in COEFFICIENTS:
                start = trained(b, setting, seed, backbone, Lasso(coefficient))
                rows[f"L1 lasso {coefficient:g}"] = tuned(b, setting, seed, backbone, start)
            rows["DNR"] = trained(b, setting, seed, backbone, rewired(setting, IRREGULAR))
            for label, recipe in rows.items():
                b.add(label, recipe, (0.0,), ATTACKS)
                if label.startswith("L1 lasso") and seed == next(iter(b.seeds)):
                    b.add(f"{label}, validation", recipe, (0.0,), [], split="val", images=0)


@plan("dnr/table3_clean_pruning")
def table3_clean_pruning(b: Builder) -> None:
    """Plan DNR without attacks, SNIP and sparse learning; their speed is measured, too."""
    b.refuse("model.backbone")
    networks = {(MAIN, name): densities for name, densities in CLEAN.items()} | OTHERS
    for (role, backbone), (weights, channels) in networks.items():
        for setting, seed in b.settings((role,)):
            if backbone != RESNET and setting.model.width:
                setting = replace_fields(setting, {"model.width": max(WIDE, setting.model.width)})
            parts: dict[str, Sparsity | None] = {"unpruned": None}
            if role == MAIN and backbone == VGG:
                parts |= {"SNIP": Snip(SNIP), "sparse learning": Momentum(SNIP)}
            parts["DNR-C irregular"] = rewired(setting, weights, beta=1.0)
            if channels:
                parts["DNR-C channel"] = rewired(setting, channels, "channel", beta=1.0)
            for label, part in parts.items():
                recipe = b.recipe(setting, seed, Plain(), backbone=backbone, sparsity=part)
                b.add(label, recipe, (0.0,), [])


@plan("dnr/table4_dynamic_l2")
def table4_dynamic_l2(b: Builder) -> None:
    """Plan DNR with its regulariser, without, and with as much more plain weight decay."""
    b.refuse("model.backbone")
    for setting, seed in b.settings():
        decay = setting.train.weight_decay + BETA * RHO
        decayed = replace_fields(setting, {"train.weight_decay": decay})
        for backbone in (VGG, RESNET):
            for label, density, kind in KINDS:
                plain = Momentum(density, granularity=kind)
                for how, where, part in (
                    ("with dynamic L2", setting, rewired(setting, density, kind)),
                    ("without", setting, plain),
                    ("with weight decay", decayed, plain),
                ):
                    recipe = trained(b, where, seed, backbone, part)
                    b.add(f"{label} {how}", recipe, (0.0,), ATTACKS)
