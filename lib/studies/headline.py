"""The networks behind the headline numbers, by the names that `lib.zoo` loads them under."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from lib.errors import UserError
from lib.studies import dnr, float_, gdws, smart
from lib.study import Job, Plan

# Which plan has it, under which label, and fields that tell it from others of that label
Where = tuple[Plan, str, Mapping[str, Any]]
RESNET18, PREACT, WRN = ({"model.backbone": n} for n in (dnr.RESNET, gdws.RESNET, gdws.WRN))
NETWORKS: dict[str, Where] = {
    "smart-ssss-0": (smart.table1_mask_density, "SMART [S S S S] 0.0", {}),
    "smart-ddss-0": (smart.table1_mask_density, "SMART [D D S S] 0.0", {}),
    "smart-ddss-0.25": (smart.table1_mask_density, "SMART [D D S S] 0.25", {}),
    "pgd-at-0": (smart.table2_comparison, "PGD-AT", {"method.lam": 0.0}),
    "pgd-at-1": (smart.table2_comparison, "PGD-AT", {"method.lam": 1.0}),
    "oat": (smart.table2_comparison, "OAT", {}),
    "float": (smart.table2_comparison, "FLOAT", {}),
    "floats-i-0.1": (float_.table1_variants, "FLOATS-i", {}),
    "floats-c-0.34": (float_.table1_variants, "FLOATS-c", {}),
    "dnr-unpruned": (dnr.table2_admm_lasso, "unpruned", RESNET18),
    "dnr-irregular-0.05": (dnr.fig4_attack_strength, "DNR irregular", {}),
    "dnr-channel-0.5": (dnr.fig4_attack_strength, "DNR channel", {}),
    "admm": (dnr.table2_admm_lasso, "ADMM", RESNET18),
    "preact-resnet18": (gdws.table1_networks, "dense", PREACT),
    "preact-resnet18-gdws": (gdws.table1_networks, "GDWS", PREACT),
    "preact-resnet18-admm-p75": (gdws.table3_admm, "ADMM p75", PREACT),
    "wrn-28-4": (gdws.table1_networks, "dense", WRN),
    "wrn-28-4-hydra-p90": (gdws.table4_hydra, "HYDRA p90", WRN),
}


def network(name: str, preset: str) -> Job:
    """Return the network of a name as a preset trains it, with seed 0."""
    plan, label, where = NETWORKS[name]
    for job in plan(preset).jobs:
        if job.label == label and all(attrgetter(f)(job.recipe) == v for f, v in where.items()):
            return job
    raise UserError(f"Preset {preset} trains no '{name}'; take another preset.")
