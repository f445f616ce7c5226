"""Figures that follow from a model of time or from other published numbers."""

from __future__ import annotations

from typing import Any

from lib import published
from lib.methods import Float, Oat, PgdAt
from lib.readings.ledger import count, layer_delays, machines_that_print
from lib.readings.reading import Reading, printed


def time() -> dict[str, Reading]:
    """Return delays by Eqs. 7-9 and training time by counted passes."""
    printed_gain = published.text("float")["delay_vs_oat"]

    def gain(reads: int, multipliers: int, **options: Any) -> float:
        return float(layer_delays(reads, multipliers, **options)["gain"].max())

    machines, _ = machines_that_print(printed_gain)
    reads, multipliers = machines[0]
    net, largest = layer_delays(reads, multipliers), gain(reads, multipliers)
    six = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    methods = (Float(), Float(loop="released"), PgdAt(lam=0.5), Oat(), Oat(lambdas=six))
    algorithm, released, pgd_at, oat4, oat6 = (method.passes(steps=7) for method in methods)
    return {
        "float-delay": Reading(
            "slowest layer, 8 weights a read and 128 multipliers",
            gain(8, 128),
            {f"{reads} weights a read and {multipliers} multipliers, not printed": largest},
            {
                "mean over layers, same machine": net["gain"].mean(),
                "whole network, same machine": net["OAT"].sum() / net["FLOAT"].sum(),
                "128-dimensional code, same machine": gain(reads, multipliers, code=128),
                "if shortcuts had FiLM, same machine": gain(reads, multipliers, kernels=(1, 3)),
                "4 weights a read and 175 multipliers": gain(4, 175),
                "16 weights a read and 175 multipliers": gain(16, 175),
                "8 weights a read and 256 multipliers": gain(8, 256),
            },
        ),
        "float-time-oat": Reading(
            "passes, four lambdas, FLOAT's Algorithm 1",
            oat4 / algorithm,
            {"FLOAT's released loop, clean loss over the whole batch": oat4 / released},
            {"six lambdas, FLOAT's released loop": oat6 / released},
        ),
        "float-time-pgd-at": Reading(
            "passes, FLOAT's Algorithm 1",
            pgd_at / algorithm,
            {"FLOAT's released loop, clean loss over the whole batch": pgd_at / released},
        ),
    }


def variants() -> dict[str, Reading]:
    """Return what FLOAT prints of its pruned and slim variants."""
    text = published.text("float")
    table, slim = "float/table1_variants", "FLOATS slim, SF 0.5"

    def compression(method: str) -> float:
        return printed(table, method=method, metric="compression_ratio")

    def accuracy(method: str, metric: str) -> float:
        return printed(table, method=method, metric=metric, lam=1.0)

    density = text["slim_density"]
    plain, half = count("plain").stored, count("plain half").stored
    ratio = count("oat scalar").stored / plain
    missing = "the density behind it is not printed"
    return {
        "float-irregular-compression": Reading(
            missing, None, context={"density it needs": 1 / compression("FLOATS-i")}
        ),
        "float-channel-compression": Reading(
            missing, None, context={"density it needs": 1 / compression("FLOATS-c")}
        ),
        "float-slim-compression": Reading(
            "1 / d with d = 0.3, as the table defines it",
            1 / density,
            context={
                "full network over d of the half-width one": plain / (density * half),
                "density it needs": 1 / compression(slim),
            },
        ),
        "float-slim-params": Reading(
            "d = 0.3, scalar code",
            ratio / density,
            context={"d = 0.5, scalar code": ratio / 0.5},
        ),
        "float-slim-storage": Reading(
            "quotient of the compressions in Table 1",
            compression(slim) / compression("FLOATS-c"),
        ),
        "float-slim-gain": Reading(
            "robust accuracy at lam = 1",
            accuracy(slim, "robust_acc") - accuracy("FLOATS-c", "robust_acc"),
            context={
                "clean accuracy at lam = 1": accuracy(slim, "clean_acc")
                - accuracy("FLOATS-c", "clean_acc")
            },
        ),
    }


def tables() -> dict[str, Reading]:
    """Return numbers that the papers print more than once."""
    text = published.text("float")
    table1, table2 = "smart/table1_mask_density", "smart/table2_comparison"
    robust = {"metric": "robust_acc"}
    own = printed("float/table1_variants", method="FLOAT", lam=0.0, **robust)
    pgd_at = printed(table2, method="PGD-AT", lam=0.0, **robust)
    smart = printed(table2, method="SMART", lam=1.0, **robust)
    other = printed(table2, method="FLOAT", lam=1.0, **robust)
    return {
        "float-robust-gain": Reading(
            "FLOAT's own accuracy in Table 1, more than which it cannot gain",
            own,
            context={"less PGD-AT's in SMART Table 2": own - pgd_at},
        ),
        "float-abstract-clean": Reading("the maximum of section 4.3", text["clean_gain_vs_oat"]),
        "float-abstract-robust": Reading("the maximum of section 4.3", text["robust_gain_vs_oat"]),
        "smart-robust-gain": Reading("Table 2, lam = 1", smart - other),
        "smart-same-model": Reading(
            "the same network in Table 1",
            printed(table1, method="SMART [D D S S] 0.25", lam=0.0, **robust),
        ),
        "smart-float-row": Reading(
            "FLOAT's own table differs; a second training would explain it",
            None,
            context={
                "FLOAT Table 1": own,
                "spread that FLOAT section 2.3 gives for OAT": text["fig3_robust_spread"],
            },
        ),
    }
