"""For every artifact, the recipes it needs; importable without torch or Jupyter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatch

from lib.errors import choose
from lib.papers import audit, smart
from lib.papers.study import Builder, Job, Study

__all__ = ["ARTIFACTS", "Builder", "Job", "Study", "artifact", "match"]

ARTIFACTS: dict[str, Callable[..., Study]] = {
    "smart/fig1_pareto": smart.fig1_pareto,
    "smart/fig2_layer_sensitivity": smart.fig2_layer_sensitivity,
    "smart/fig3_bn_statistics": smart.fig3_bn_statistics,
    "smart/table1_mask_density": smart.table1_mask_density,
    "smart/fig4_lambda_sweep": smart.fig4_lambda_sweep,
    "smart/table2_comparison": smart.table2_comparison,
    "smart/fig5_fgsm": smart.fig5_fgsm,
    "audit/published_numbers": audit.published_numbers,
}


def artifact(name: str) -> Callable[..., Study]:
    """Return the function that plans an artifact."""
    return ARTIFACTS[choose("artifact", name, ARTIFACTS)]


def match(patterns: Iterable[str]) -> list[str]:
    """Return the artifacts that papers, names or globs select, in the suite's order; none: all."""
    chosen: set[str] = set()
    papers = {name.split("/")[0] for name in ARTIFACTS}
    for pattern in patterns:
        found = {n for n in ARTIFACTS if fnmatch(n, pattern) or n.split("/")[0] == pattern}
        if not found:
            choose("artifact", pattern, {*ARTIFACTS, *papers})
        chosen |= found
    return [name for name in ARTIFACTS if name in chosen or not chosen]
