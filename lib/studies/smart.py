"""SMART (ICASSP 2023): the networks behind each figure and table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lib.methods import Float, Method, Oat, PgdAt, Smart
from lib.presets import MAIN
from lib.recipe import Momentum
from lib.study import Builder, Study

LAMBDAS = (0.0, 0.2, 0.7, 1.0)  # the test set of trade-offs (section 5.2)
DATASETS = (MAIN, "cifar100", "stl10", "tiny_imagenet")  # of Figure 4
PGD7 = {"attack": "pgd", "steps": 7}
PGD20 = {"attack": "pgd", "steps": 20}
FGSM = {"attack": "fgsm"}
DENSITIES = (0.2, 0.15, 0.1)  # Fig. 2: the largest is in the text, the other two are ours

# Table 1: which stages hold path masks, and the share of weights common to both paths
MASKS: dict[str, Smart] = {
    "SMART [S S S S] 0.0": Smart(pattern="SSSS", overlap=0.0),
    "SMART [D D S S] 0.0": Smart(overlap=0.0),
    "SMART [D D S S] 0.25": Smart(),
}
# Table 2 and Fig. 1; PGD-AT is one network per trade-off
METHODS: dict[str, Method] = {"OAT": Oat(), "FLOAT": Float(), "SMART": Smart()}

Overrides = Mapping[str, Any]


def _compared(b: Builder, lams: tuple[float, ...], attacks: list[Mapping[str, Any]]) -> Study:
    for setting, seed in b.settings():
        for lam in lams:
            b.add("PGD-AT", b.recipe(setting, seed, PgdAt(lam=lam)), lams, attacks)
        for label, method in METHODS.items():
            b.add(label, b.recipe(setting, seed, method), lams, attacks)
    return b.study()


def fig1_pareto(
    preset: str = "quick", seeds: Iterable[int] = (0,), overrides: Overrides | None = None
) -> Study:
    """Plan accuracy and robustness against parameters and operations (the networks of Table 2)."""
    b = Builder("smart/fig1_pareto", preset, seeds, overrides)
    return _compared(b, (0.0, 1.0), [PGD7])


def fig2_layer_sensitivity(
    preset: str = "quick", seeds: Iterable[int] = (0,), overrides: Overrides | None = None
) -> Study:
    """Plan the density of each layer after sparse momentum learning of a ResNet-18."""
    b = Builder("smart/fig2_layer_sensitivity", preset, seeds, overrides)
    for setting, seed in b.settings():
        for density in DENSITIES:
            recipe = b.recipe(
                setting, seed, PgdAt(lam=0.5), backbone="resnet18", sparsity=Momentum(density)
            )
            b.add(f"d = {density:g}", recipe, (0.0,), [PGD7])
    return b.study()


def fig3_bn_statistics(
    preset: str = "quick", seeds: Iterable[int] = (0,), overrides: Overrides | None = None
) -> Study:
    """Plan the statistics of both batch norms, second norm of the fourth block."""
    b = Builder("smart/fig3_bn_statistics", preset, seeds, overrides)
    for setting, seed in b.settings():
        b.add("SMART", b.recipe(setting, seed, Smart()), (0.0, 1.0), [PGD7])
    return b.study()


def table1_mask_density(
    preset: str = "quick", seeds: Iterable[int] = (0,), overrides: Overrides | None = None
) -> Study:
    """Plan the ablation of where path masks sit and how much they overlap."""
    b = Builder("smart/table1_mask_density", preset, seeds, overrides)
    for setting, seed in b.settings():
        for label, method in MASKS.items():
            b.add(label, b.recipe(setting, seed, method), (0.0, 1.0), [PGD7])
    return b.study()


def fig4_lambda_sweep(
    preset: str = "quick", seeds: Iterable[int] = (0,), overrides: Overrides | None = None
) -> Study:
    """Plan SMART, trained once, against PGD-AT trained once per trade-off, on every data set."""
    b = Builder("smart/fig4_lambda_sweep", preset, seeds, overrides)
    for setting, seed in b.settings(DATASETS, stand_ins=False):
        for lam in LAMBDAS:
            b.add("PGD-AT", b.recipe(setting, seed, PgdAt(lam=lam)), LAMBDAS, [PGD7])
        wide = setting.model.backbone.startswith("wrn")
        method = Smart(pattern="DSS") if wide else Smart()
        b.add("SMART", b.recipe(setting, seed, method), LAMBDAS, [PGD7])
    return b.study()


def table2_comparison(
    preset: str = "quick", seeds: Iterable[int] = (0,), overrides: Overrides | None = None
) -> Study:
    """Plan PGD-AT, OAT, FLOAT and SMART at both ends of the trade-off."""
    b = Builder("smart/table2_comparison", preset, seeds, overrides)
    return _compared(b, (0.0, 1.0), [PGD7, PGD20])


def fig5_fgsm(
    preset: str = "quick", seeds: Iterable[int] = (0,), overrides: Overrides | None = None
) -> Study:
    """Plan SMART and OAT under FGSM at every trade-off."""
    b = Builder("smart/fig5_fgsm", preset, seeds, overrides)
    for setting, seed in b.settings():
        for label in ("OAT", "SMART"):
            b.add(label, b.recipe(setting, seed, METHODS[label]), LAMBDAS, [FGSM])
    return b.study()
