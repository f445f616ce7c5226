"""The audit: published counts recomputed, and what lies behind the robust accuracies of SMART."""

from collections.abc import Mapping
from dataclasses import replace

from lib.conversions import Cut
from lib.method import Method
from lib.methods import Float, PgdAt, Smart, Trades
from lib.presets import BRIEF, SCORED, Setting
from lib.recipe import Recipe, replace_fields
from lib.sparsity import Fixed
from lib.studies import dnr, float_, gdws, smart
from lib.study import Builder, plan

LOOPS = {"Algorithm 1": "alg1", "released loop": "released"}  # of training, by what labels say
OVERLAPS = (0.25, 0.5, 0.125, 0.375)  # beside 0; a short sweep takes the first
NOISY: dict[str, Float] = {"FLOAT": Float(), "SMART": Smart()}
EOTS = (1, 4, 16, 64, 2, 8, 32)  # draws of noise for a gradient; small presets take the first three


@plan("audit/published_numbers")
def published_numbers(b: Builder) -> None:
    """Plan the recomputation of every figure that follows from others; it trains nothing."""


def masked(overlap: float, pattern: str = "DDSS") -> dict[str, Smart]:
    """Return SMART of one pattern and overlap by its label in Table 1."""
    return {f"SMART [{' '.join(pattern)}] {overlap:g}": Smart(pattern=pattern, overlap=overlap)}


def alone(b: Builder, setting: Setting, seed: int, method: Smart) -> Recipe:
    """Return PGD-AT of the adversarial path alone: its weights at the start, its mask, no noise."""
    blank = replace_fields(setting, {"train.epochs": 0})
    start = b.recipe(blank, seed, replace(method, alpha=0.0))
    path = b.recipe(blank, seed, PgdAt(), start=start, convert=Cut(density=1.0, lam=1.0))
    return b.recipe(setting, seed, PgdAt(), start=path, sparsity=Fixed())


@plan("audit/observations")
def observations(b: Builder) -> None:
    """Plan SMART's Table 1 under two training loops, and controls: other overlaps, one path."""
    b.refuse("method.pattern", "method.overlap", "method.loop")
    methods = smart.MASKS | masked(0.5, "SSSS")
    for overlap in b.swept(OVERLAPS):
        methods |= masked(overlap)
    for setting, seed in b.settings():
        for loop, code in LOOPS.items():
            for label, method in methods.items():
                recipe = b.recipe(setting, seed, replace(method, loop=code))
                b.add(f"{label}, {loop}", recipe, smart.ENDS, [smart.PGD7])
        for label, method in [*smart.MASKS.items()][:2]:
            b.add(f"{label}, one path alone", alone(b, setting, seed, method), (1.0,), [smart.PGD7])
        b.add("PGD-AT", b.recipe(setting, seed, PgdAt()), (1.0,), [smart.PGD7])


@plan("audit/noise_policy")
def noise_policy(b: Builder) -> None:
    """Plan what noise is worth at lam = 1: averaged gradients, frozen noise, none in training."""
    b.refuse("method.noise", "evaluation.noise", "evaluation.eot")
    few = b.slow({})["images"]
    eots = sorted(EOTS[:3] if b.preset.points < len(EOTS) else EOTS)
    attacks = [smart.PGD7, *(smart.PGD20 | {"eot": eot} for eot in eots)]
    methods: Mapping[str, Method] = NOISY | {"FLOAT without noise": Float(noise=False)}
    for setting, seed in b.settings():
        for label, method in {**methods, "PGD-AT": PgdAt()}.items():
            recipe = b.recipe(setting, seed, method)
            b.add(label, recipe, (1.0,), attacks, images=few)
            if method.noise:
                b.add(f"{label}, frozen", recipe, (1.0,), attacks[:2], images=few, noise="frozen")


@plan("audit/cross_path")
def cross_path(b: Builder) -> None:
    """Plan OAT, FLOAT and SMART at every trade-off, attacked as they are scored."""
    for setting, seed in b.settings():
        for label, method in smart.METHODS.items():
            b.add(label, b.recipe(setting, seed, method), smart.LAMBDAS, [smart.PGD7])


@plan("audit/autoattack")
def autoattack(b: Builder) -> None:
    """Plan AutoAttack beside the papers' PGD, on the same images, for the methods of all papers.

    Those of DNR and GDWS are in settings of their own, and PNI in that of its code.
    """

    def add(label: str, recipe: Recipe, lam: float, steps: int = 7, step: float = 0.0) -> None:
        noisy = recipe.method.noise and lam > 0
        strong = b.strong(lam, noisy)[: 2 if noisy else 1]
        attack = {"attack": "pgd", "steps": steps, "step": step or recipe.attack.step}
        b.add(label, recipe, (lam,), [attack, *strong], images=strong[0]["images"])

    for setting, seed in b.settings():
        for lam in smart.ENDS:
            for label, method in {"PGD-AT": PgdAt(lam=lam), **smart.METHODS}.items():
                add(label, b.recipe(setting, seed, method), lam)
    for setting, seed in b.settings((BRIEF,), change=float_.released):
        add("PNI", b.recipe(setting, seed, float_.pni(setting), backbone="resnet20"), 1.0)
    for setting, seed in b.settings(paper="dnr"):
        add("hybrid AT", dnr.trained(b, setting, seed, dnr.VGG), 0.0)
        part = dnr.rewired(setting, dnr.IRREGULAR)
        add("DNR", dnr.trained(b, setting, seed, dnr.VGG, part), 0.0)
    for setting, seed in b.settings((SCORED,), paper="gdws"):
        start = gdws.trained(b, setting, seed, gdws.HYDRA_VGG, Trades())
        pruned = gdws.hydra(b, setting, start, gdws.SHARES[0])
        for label, recipe in {"TRADES": start, "HYDRA": pruned}.items():
            step = recipe.attack.eps / 8
            add(label, recipe, 0.0, 100, step)
            add(f"{label} + GDWS", gdws.converted(b, setting, recipe), 0.0, 100, step)
