"""FLOAT (Kundu et al. 2022): the networks behind each figure and table."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from lib.method import Method
from lib.methods import Float, FloatSlim, Oat, OatSlim, PgdAt, Pni, Smart
from lib.presets import BRIEF, MAIN, Setting
from lib.recipe import EPS_DEFAULT, Attack
from lib.sparsity import Momentum
from lib.step import default_step
from lib.studies.smart import AVERAGED, ENDS, FGSM, LAMBDAS, PGD7, PGD20, PGD100
from lib.study import Builder, plan

PANELS = (MAIN, "svhn", "stl10")  # Figures 1 and 7
EVERY = (MAIN, "stl10", "svhn", "cifar100", "tiny_imagenet")  # Figure 6
THRESHOLD = 0.5  # lam_th of Eq. 6; the other one is 0
SLIM = (1.0, 0.5)  # slimming factors (section 4.4)
LAYER = 29  # the convolution shown in Figure 5a, counted from 1

IRREGULAR = 0.1  # d of FLOATS-i in Table 1, from its compression of 10
CHANNEL = 0.34  # d of FLOATS-c in Table 1, from its compression of 2.94
GLOBAL = 0.3  # d of Figure 5 and of FLOATS slim (section 4.4)

# Figure 3 does not print its sets: the paper's test set, its ends, and the set of the released OAT
TRAINING_SETS = ((0.0, 0.2, 0.7, 1.0), (0.0, 1.0), (0.0, 0.1, 0.2, 0.3, 0.4, 1.0))
GRANULARITIES = {kind: f"PNI {kind}-wise" for kind in ("layer", "channel", "element")}
RESCALES = (0.0, 0.25, 0.5, 0.75, 1.0)  # lam_n of Figure 4
THRESHOLDS = {"FLOAT, λ_th 0": 0.0, "FLOAT, λ_th 0.5": THRESHOLD}
# Table 1: method, sparsity, slimming factor
VARIANTS: dict[str, tuple[Float, Momentum | None, float]] = {
    "FLOAT": (Float(), None, 1.0),
    "FLOATS-i": (Float(), Momentum(IRREGULAR), 1.0),
    "FLOATS-c": (Float(), Momentum(CHANNEL, granularity="channel"), 1.0),
    "FLOATS slim, SF 0.5": (FloatSlim(), Momentum(GLOBAL), 0.5),
}
SLIMMABLE: dict[str, tuple[Method, Momentum | None]] = {
    "OAT slim": (OatSlim(), None),
    "FLOAT slim": (FloatSlim(), None),
    "FLOATS slim": (FloatSlim(), Momentum(GLOBAL)),
}


def oat_label(lambdas: Sequence[float]) -> str:
    """Return OAT's label with the trade-offs of its training, 'OAT {0, 0.5, 1}'."""
    return "OAT {" + ", ".join(f"{lam:g}" for lam in lambdas) + "}"


def released(setting: Setting) -> Setting:
    """Return a setting with what PNI's code trains by: its decay, momentum, radius and step.

    Those two are printed for a radius of 8/255 and keep their ratio to another.
    """
    train = dataclasses.replace(setting.train, weight_decay=3e-4, nesterov=True)
    scale = setting.attack.eps / EPS_DEFAULT
    attack = Attack(eps=round(0.031 * scale, 4), step=round(0.01 * scale, 4))
    return dataclasses.replace(setting, train=train, attack=attack)


def pni(setting: Setting, granularity: str = "layer") -> Pni:
    """Return PNI with as many clean epochs as in its code, 5 of 160, in proportion."""
    return Pni(granularity=granularity, clean_epochs=min(5, setting.train.epochs // 32))


def irregular(setting: Setting) -> Momentum:
    """Return the density of FLOATS-i: Table 1's on ResNet, Figure 5's on wide ResNets."""
    return Momentum(IRREGULAR if setting.role == MAIN else GLOBAL)


@plan("float/fig1_memory_accuracy")
def fig1_memory_accuracy(b: Builder) -> None:
    """Plan accuracy against memory of OAT, FLOAT and FLOATS-i on three architectures."""
    for setting, seed in b.settings(PANELS):
        pruned = irregular(setting)
        networks = (("OAT", Oat(), None), ("FLOAT", Float(), None), ("FLOATS-i", Float(), pruned))
        for label, method, sparsity in networks:
            recipe = b.recipe(setting, seed, method, sparsity=sparsity)
            b.add(label, recipe, ENDS, [PGD7], images=b.images(setting))


@plan("float/fig3_oat_lambda_choices")
def fig3_oat_lambda_choices(b: Builder) -> None:
    """Plan OAT trained on different sets of trade-offs, tested on the same four.

    lam enters as a number, not as a code, so that a network can be asked for one it never saw.
    """
    for setting, seed in b.settings((BRIEF,)):
        for lambdas in TRAINING_SETS:
            method = Oat(lambdas=lambdas, encoding="none")
            b.add(oat_label(lambdas), b.recipe(setting, seed, method), LAMBDAS, [PGD7])


@plan("float/fig4_noise_rescaling")
def fig4_noise_rescaling(b: Builder) -> None:
    """Plan PNI, a ResNet-20 with one noise scale a layer, channel or weight, re-scaled."""
    for setting, seed in b.settings((BRIEF,), change=released):
        for granularity, label in GRANULARITIES.items():
            recipe = b.recipe(setting, seed, pni(setting, granularity), backbone="resnet20")
            b.add(label, recipe, RESCALES, [PGD7, FGSM])


@plan("float/fig5_channel_density")
def fig5_channel_density(b: Builder) -> None:
    """Plan a WRN-40-2 pruned by weights and by channels to the same density."""
    for setting, seed in b.settings(("stl10",)):
        for label, granularity in (("FLOATS-i", "weight"), ("FLOATS-c", "channel")):
            sparsity = Momentum(GLOBAL, granularity=granularity)
            recipe = b.recipe(setting, seed, Float(), sparsity=sparsity)
            b.add(label, recipe, ENDS, [PGD7], images=b.images(setting))


@plan("float/fig6_lambda_threshold")
def fig6_lambda_threshold(b: Builder) -> None:
    """Plan FLOAT under both thresholds between its batch norms, on every data set.

    At the ends both are the same function (Eq. 6), which is measured once.
    """
    for setting, seed in b.settings(EVERY):
        recipe = b.recipe(setting, seed, Float())
        for label, threshold in THRESHOLDS.items():
            for lam in LAMBDAS:
                used = 0.0 if lam in ENDS else threshold
                b.add(label, recipe, (lam,), [PGD7], threshold=used, images=b.images(setting))


@plan("float/fig7_oat_pgdat")
def fig7_oat_pgdat(b: Builder) -> None:
    """Plan FLOAT and OAT, trained once, against PGD-AT trained once per trade-off."""
    for setting, seed in b.settings(PANELS):
        networks: list[tuple[str, Method]] = [("PGD-AT", PgdAt(lam=lam)) for lam in LAMBDAS]
        attacks = [PGD7, b.slow(AVERAGED)] if setting.role == MAIN else [PGD7]
        for label, method in (*networks, ("OAT", Oat()), ("FLOAT", Float())):
            recipe = b.recipe(setting, seed, method)
            b.add(label, recipe, LAMBDAS, attacks, images=b.images(setting))


@plan("float/fig8_cost")
def fig8_cost(b: Builder) -> None:
    """Plan the training steps and forward passes to be timed; it trains nothing."""
    setting, seed = next(b.settings())
    methods = {"PGD-AT": PgdAt(lam=1.0), "OAT": Oat(), "FLOAT": Float(), "SMART": Smart()}
    b.timed |= {label: b.recipe(setting, seed, method) for label, method in methods.items()}


@plan("float/table1_variants")
def table1_variants(b: Builder) -> None:
    """Plan FLOAT whole, pruned by weights, by channels, and slimmed and pruned."""
    for setting, seed in b.settings((BRIEF,)):
        for label, (method, sparsity, slim) in VARIANTS.items():
            recipe = b.recipe(setting, seed, method, sparsity=sparsity)
            b.add(label, recipe, ENDS, [PGD7, b.slow(AVERAGED)], slim=slim)


@plan("float/fig9_slimmable")
def fig9_slimmable(b: Builder) -> None:
    """Plan slimmable FLOAT, FLOATS and OAT at both widths, and the training steps to be timed."""
    for setting, seed in b.settings((BRIEF,)):
        for label, (method, sparsity) in SLIMMABLE.items():
            recipe = b.recipe(setting, seed, method, sparsity=sparsity)
            for slim in SLIM:
                b.add(f"{label}, SF {slim:g}", recipe, LAMBDAS, [PGD7], slim=slim)
            b.timed.setdefault(label, recipe)


@plan("float/fig10_other_attacks")
def fig10_other_attacks(b: Builder) -> None:
    """Plan FLOAT and OAT under PGD-20 and FGSM, FLOAT and PGD-AT under PGD-100 and AutoAttack.

    PGD-20 keeps the step of PGD-7 in one reading of section 4.5 and its sum of steps in the other.
    """
    for setting, seed in b.settings():
        eps = b.recipe(setting, seed, Float()).attack.eps
        slow = b.slow(PGD20)
        others: list[Mapping[str, Any]] = [slow, slow | {"step": default_step(eps, 20)}, FGSM]
        oat = b.recipe(setting, seed, Oat())
        b.add("OAT", oat, LAMBDAS, others)
        for lam in LAMBDAS:
            long = [b.slow(PGD100)] if lam == 1 else []
            hard = [*others, *long, *b.strong(lam, noisy=True)]
            b.add("FLOAT", b.recipe(setting, seed, Float()), (lam,), hard)
            plain = b.recipe(setting, seed, PgdAt(lam=lam))
            b.add("PGD-AT", plain, (lam,), [*long, *b.strong(lam, noisy=False)])
