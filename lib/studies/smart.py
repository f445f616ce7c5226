"""SMART (ICASSP 2023): the networks behind each figure and table."""

from collections.abc import Mapping
from typing import Any

from lib.method import Method
from lib.methods import Float, Oat, PgdAt, Smart
from lib.presets import MAIN
from lib.sparsity import Momentum
from lib.study import Builder, plan

LAMBDAS = (0.0, 0.2, 0.7, 1.0)  # the test set of trade-offs (SMART section 5.2, FLOAT 4.2)
ENDS = (0.0, 1.0)
DATASETS = (MAIN, "cifar100", "stl10", "tiny_imagenet")  # of Figure 4
PGD7 = {"attack": "pgd", "steps": 7}
PGD20 = {"attack": "pgd", "steps": 20}
PGD100 = {"attack": "pgd", "steps": 100}
FGSM = {"attack": "fgsm"}
# For networks with noise, which gradients of single draws and one start flatter
AVERAGED = PGD7 | {"eot": 3, "restarts": 2}
DENSITIES = (0.2, 0.15, 0.1)  # Fig. 2: the largest is in the text, the other two are ours

# Table 1: which stages hold path masks, and the share of weights common to both paths
MASKS: dict[str, Smart] = {
    "SMART [S S S S] 0.0": Smart(pattern="SSSS", overlap=0.0),
    "SMART [D D S S] 0.0": Smart(overlap=0.0),
    "SMART [D D S S] 0.25": Smart(),
}
# Table 2 and Fig. 1; PGD-AT is one network per trade-off
METHODS: dict[str, Method] = {"OAT": Oat(), "FLOAT": Float(), "SMART": Smart()}


def _compared(b: Builder, lams: tuple[float, ...], attacks: list[Mapping[str, Any]]) -> None:
    for setting, seed in b.settings():
        for lam in lams:
            b.add("PGD-AT", b.recipe(setting, seed, PgdAt(lam=lam)), lams, attacks)
        for label, method in METHODS.items():
            b.add(label, b.recipe(setting, seed, method), lams, attacks)


@plan("smart/fig1_pareto")
def fig1_pareto(b: Builder) -> None:
    """Plan accuracy and robustness against parameters and operations (the networks of Table 2)."""
    _compared(b, ENDS, [PGD7])


@plan("smart/fig2_layer_sensitivity")
def fig2_layer_sensitivity(b: Builder) -> None:
    """Plan the density of each layer after sparse momentum learning of a ResNet-18."""
    for setting, seed in b.settings():
        for density in DENSITIES:
            recipe = b.recipe(
                setting, seed, PgdAt(lam=0.5), backbone="resnet18", sparsity=Momentum(density)
            )
            b.add(f"d = {density:g}", recipe, (0.0,), [PGD7])


@plan("smart/fig3_bn_statistics")
def fig3_bn_statistics(b: Builder) -> None:
    """Plan the statistics of both batch norms, second norm of the fourth block."""
    for setting, seed in b.settings():
        b.add("SMART", b.recipe(setting, seed, Smart()), ENDS, [PGD7])


@plan("smart/table1_mask_density")
def table1_mask_density(b: Builder) -> None:
    """Plan the ablation of where path masks sit and how much they overlap."""
    for setting, seed in b.settings():
        for label, method in MASKS.items():
            b.add(label, b.recipe(setting, seed, method), ENDS, [PGD7, b.slow(AVERAGED)])


@plan("smart/fig4_lambda_sweep")
def fig4_lambda_sweep(b: Builder) -> None:
    """Plan SMART, trained once, against PGD-AT trained once per trade-off, on every data set."""
    for setting, seed in b.settings(DATASETS):
        if setting.stands_in:
            continue
        for lam in LAMBDAS:
            b.add("PGD-AT", b.recipe(setting, seed, PgdAt(lam=lam)), LAMBDAS, [PGD7])
        method = Smart(pattern="DSS") if setting.model.backbone.startswith("wrn") else Smart()
        b.add("SMART", b.recipe(setting, seed, method), LAMBDAS, [PGD7])


@plan("smart/table2_comparison")
def table2_comparison(b: Builder) -> None:
    """Plan PGD-AT, OAT, FLOAT and SMART at both ends of the trade-off."""
    _compared(b, ENDS, [PGD7, PGD20, b.slow(AVERAGED)])


@plan("smart/fig5_fgsm")
def fig5_fgsm(b: Builder) -> None:
    """Plan SMART and OAT under FGSM at every trade-off."""
    for setting, seed in b.settings():
        for label in ("OAT", "SMART"):
            b.add(label, b.recipe(setting, seed, METHODS[label]), LAMBDAS, [FGSM])
