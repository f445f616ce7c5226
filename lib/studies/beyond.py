"""What no paper asks: the networks behind comparisons of our own."""

import dataclasses
from typing import Any

from lib.methods import Float, PgdAt, Smart, Trades
from lib.presets import BRIEF, SCORED, WIDE, Setting
from lib.recipe import Recipe, Train
from lib.studies import dnr, gdws
from lib.studies.smart import ENDS, LAMBDAS, METHODS, PGD7, PGD20
from lib.study import Builder, plan

EVERYWHERE = {"mild": 0.02, "strong": 0.1}  # of all layers together
STRENGTHS = (0.25, 0.5, 1.0, 1.5, 2.0)  # of an attack, in radii of the training


@plan("beyond/gdws_everywhere")
def gdws_everywhere(b: Builder) -> None:
    """Plan GDWS of networks of all the papers, path by path, and what pruned ones would be whole.

    All are attacked alike, within the smallest radius that any of them was trained for.
    """
    gdws.refuse(b)
    starts: list[tuple[str, Setting, Recipe, tuple[float, ...]]] = []
    for setting, seed in b.settings((BRIEF,)):
        starts += [
            ("PGD-AT", setting, b.recipe(setting, seed, PgdAt()), (1.0,)),
            ("SMART", setting, b.recipe(setting, seed, Smart()), ENDS),
            ("FLOAT", setting, b.recipe(setting, seed, Float()), ENDS),
        ]
    for setting, seed in b.settings(paper="dnr"):
        part = dnr.rewired(setting, dnr.IRREGULAR)
        starts += [("DNR", setting, dnr.trained(b, setting, seed, dnr.VGG, part), (0.5,))]
        starts += [("unpruned DNR", setting, dnr.trained(b, setting, seed, dnr.VGG), (0.5,))]
    for setting, seed in b.settings((SCORED,), paper="gdws"):
        start = gdws.trained(b, setting, seed, gdws.HYDRA_VGG, Trades())
        starts += [("HYDRA", setting, gdws.hydra(b, setting, start, gdws.SHARES[0]), (1.0,))]
        starts += [("unpruned HYDRA", setting, start, (1.0,))]
    attack = PGD7 | {"eps": min(recipe.attack.eps for _, _, recipe, _ in starts), "step": 0.0}
    for label, setting, recipe, lams in starts:
        if recipe.method.conditional:
            b.add(label, recipe, lams[-1:], [attack])
        for lam in lams:
            path = {0.0: f"{label} clean", 1.0: f"{label} adversarial"}  # with one draw of noise
            own = path[lam] if recipe.method.conditional else label
            b.add(own, gdws.weighed(b, setting, recipe, lam), (lam,), [attack])
            for name, beta in EVERYWHERE.items() if "unpruned" not in label else ():
                how: dict[str, Any] = {"beta": beta, "points": 0.0, "scope": "network", "least": 0}
                made = gdws.converted(b, setting, recipe, lam, **how)
                b.add(f"{own} + GDWS {name}", made, (lam,), [attack])


def tuned(setting: Setting) -> Train:
    """Return how a network is trained on: half of the epochs, at half of the rate."""
    train = setting.train
    return dataclasses.replace(train, epochs=max(1, train.epochs // 2), lr=train.lr / 2)


@plan("beyond/gdws_speed")
def gdws_speed(b: Builder) -> None:
    """Plan a network of the paper's width, itself trained on, and what GDWS makes of it."""
    gdws.refuse(b)
    for setting, seed in b.settings((WIDE,), paper="gdws"):
        start = gdws.trained(b, setting, seed, gdws.RESNET)
        longer = dataclasses.replace(setting, train=tuned(setting), model=start.model)
        more = b.recipe(longer, seed, start.method, start=start)
        rows = {
            "dense": start,
            "dense, trained on": more,
            "GDWS": gdws.converted(b, setting, start),
        }
        for label, recipe in rows.items():
            b.add(label, recipe, (0.0,), [gdws.pgd(b, recipe, steps=20)])


@plan("beyond/explore_lambda")
def explore_lambda(b: Builder) -> None:
    """Plan four methods at every trade-off under weak and strong attacks; others train them."""
    b.refuse("evaluation.eps", "evaluation.step")
    lams, strengths = (LAMBDAS, STRENGTHS) if b.preset.judge else (ENDS, STRENGTHS[2::2])
    for setting, seed in b.settings():
        for method in (*(PgdAt(lam=lam) for lam in lams), *METHODS.values()):
            recipe = b.recipe(setting, seed, method)
            radii = (strength * recipe.attack.eps for strength in strengths)
            attacks = [b.slow(PGD20 | {"eps": eps, "step": 0.0}) for eps in radii]
            b.add(method.label, recipe, lams, attacks)
