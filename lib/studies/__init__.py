"""For every artifact, the recipes it needs; importable without torch or Jupyter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatch

from lib.errors import choose
from lib.studies import audit, float_, smart
from lib.study import Builder, Job, Study

__all__ = ["ARTIFACTS", "Builder", "Job", "Study", "artifact", "match"]

ARTIFACTS: dict[str, Callable[..., Study]] = {
    "smart/fig1_pareto": smart.fig1_pareto,
    "smart/fig2_layer_sensitivity": smart.fig2_layer_sensitivity,
    "smart/fig3_bn_statistics": smart.fig3_bn_statistics,
    "smart/table1_mask_density": smart.table1_mask_density,
    "smart/fig4_lambda_sweep": smart.fig4_lambda_sweep,
    "smart/table2_comparison": smart.table2_comparison,
    "smart/fig5_fgsm": smart.fig5_fgsm,
    "float/fig1_memory_accuracy": float_.fig1_memory_accuracy,
    "float/fig3_oat_lambda_choices": float_.fig3_oat_lambda_choices,
    "float/fig4_noise_rescaling": float_.fig4_noise_rescaling,
    "float/fig5_channel_density": float_.fig5_channel_density,
    "float/fig6_lambda_threshold": float_.fig6_lambda_threshold,
    "float/fig7_oat_pgdat": float_.fig7_oat_pgdat,
    "float/fig8_cost": float_.fig8_cost,
    "float/table1_variants": float_.table1_variants,
    "float/fig9_slimmable": float_.fig9_slimmable,
    "float/fig10_other_attacks": float_.fig10_other_attacks,
    "audit/published_numbers": audit.published_numbers,
    "audit/observations": audit.observations,
}


def artifact(name: str) -> Callable[..., Study]:
    """Return the function that plans an artifact."""
    return ARTIFACTS[choose("artifact", name, ARTIFACTS)]


def match(patterns: Iterable[str]) -> list[str]:
    """Return the artifacts that papers, names or globs select, in the suite's order; none: all.

    Upper case counts as lower case, which all names are.
    """
    chosen: set[str] = set()
    papers = {name.split("/")[0] for name in ARTIFACTS}
    for pattern in (word.lower() for word in patterns):
        found = {n for n in ARTIFACTS if fnmatch(n, pattern) or n.split("/")[0] == pattern}
        if not found:
            choose("artifact", pattern, {*ARTIFACTS, *papers})
        chosen |= found
    return [name for name in ARTIFACTS if name in chosen or not chosen]
