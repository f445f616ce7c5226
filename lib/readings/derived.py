"""Figures that follow from a model of time or from other published numbers."""

from typing import Any

from lib import published
from lib.methods import Float, Oat, PgdAt
from lib.readings.ledger import count, layer_delays, machines_that_print
from lib.readings.reading import Numbers, printed


def time() -> dict[str, Numbers]:
    """Return delays by Eqs. 7-9 and training time by counted passes."""
    (machine, *_), _ = machines_that_print(published.text("float")["delay_vs_oat"])
    reads, multipliers = machine
    net = layer_delays(*machine)

    def gain(reads: int, multipliers: int, **options: Any) -> float:
        return float(layer_delays(reads, multipliers, **options)["gain"].max())

    fitting = f"{reads} weights a read and {multipliers} multipliers, not printed"
    whole = net["OAT"].sum() / net["FLOAT"].sum()
    six = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    methods = (Float(), Float(loop="released"), PgdAt(lam=0.5), Oat(), Oat(lambdas=six))
    algorithm, released, pgd_at, oat4, oat6 = (method.passes(steps=7) for method in methods)
    loop = "FLOAT's released loop, clean loss over the whole batch"
    return {
        "float-delay": [
            ("plain", "slowest layer, 8 weights a read and 128 multipliers", gain(8, 128)),
            ("caveat", fitting, gain(*machine)),
            ("context", "mean over layers, same machine", net["gain"].mean()),
            ("context", "whole network, same machine", whole),
            ("context", "128-dimensional code, same machine", gain(*machine, code=128)),
            ("context", "if shortcuts had FiLM, same machine", gain(*machine, kernels=(1, 3))),
            ("context", "4 weights a read and 175 multipliers", gain(4, 175)),
            ("context", "16 weights a read and 175 multipliers", gain(16, 175)),
            ("context", "8 weights a read and 256 multipliers", gain(8, 256)),
        ],
        "float-time-oat": [
            ("plain", "passes, four lambdas, FLOAT's Algorithm 1", oat4 / algorithm),
            ("caveat", loop, oat4 / released),
            ("context", "six lambdas, FLOAT's released loop", oat6 / released),
        ],
        "float-time-pgd-at": [
            ("plain", "passes, FLOAT's Algorithm 1", pgd_at / algorithm),
            ("caveat", loop, pgd_at / released),
        ],
    }


def variants() -> dict[str, Numbers]:
    """Return what FLOAT prints of its pruned and slim variants."""
    table = "float/table1_variants"
    irregular, channel, slim = (
        {
            "compression": printed(table, method=method, metric="compression_ratio"),
            "clean": printed(table, method=method, metric="clean_acc", lam=1.0),
            "robust": printed(table, method=method, metric="robust_acc", lam=1.0),
        }
        for method in ("FLOATS-i", "FLOATS-c", "FLOATS slim, SF 0.5")
    )
    density = published.text("float")["slim_density"]
    plain, half = count("plain").stored, count("plain half").stored
    ratio = count("oat scalar").stored / plain
    full_over_slim = plain / (density * half)
    quotient = slim["compression"] / channel["compression"]
    robust, clean = (slim[metric] - channel[metric] for metric in ("robust", "clean"))
    missing, needed = ("plain", "the density behind it is not printed", None), "density it needs"
    return {
        "float-irregular-compression": [missing, ("context", needed, 1 / irregular["compression"])],
        "float-channel-compression": [missing, ("context", needed, 1 / channel["compression"])],
        "float-slim-compression": [
            ("plain", "1 / d with d = 0.3, as the table defines it", 1 / density),
            ("context", "full network over d of the half-width one", full_over_slim),
            ("context", needed, 1 / slim["compression"]),
        ],
        "float-slim-params": [
            ("plain", "d = 0.3, scalar code", ratio / density),
            ("context", "d = 0.5, scalar code", ratio / 0.5),
        ],
        "float-slim-storage": [("plain", "quotient of the compressions in Table 1", quotient)],
        "float-slim-gain": [
            ("plain", "robust accuracy at lam = 1", robust),
            ("context", "clean accuracy at lam = 1", clean),
        ],
    }


def tables() -> dict[str, Numbers]:
    """Return numbers that the papers print more than once."""
    text = published.text("float")
    table1, table2 = "smart/table1_mask_density", "smart/table2_comparison"
    robust = {"metric": "robust_acc"}
    own = printed("float/table1_variants", method="FLOAT", lam=0.0, **robust)
    pgd_at = printed(table2, method="PGD-AT", lam=0.0, **robust)
    smart = printed(table2, method="SMART", lam=1.0, **robust)
    other = printed(table2, method="FLOAT", lam=1.0, **robust)
    same = printed(table1, method="SMART [D D S S] 0.25", lam=0.0, **robust)
    gains = {lead: text[f"{lead}_gain_vs_oat"] for lead in ("clean", "robust")}
    spread = text["fig3_robust_spread"]
    return {
        "float-robust-gain": [
            ("plain", "FLOAT's own accuracy in Table 1, more than which it cannot gain", own),
            ("context", "less PGD-AT's in SMART Table 2", own - pgd_at),
        ],
        "float-abstract-clean": [("plain", "the maximum of section 4.3", gains["clean"])],
        "float-abstract-robust": [("plain", "the maximum of section 4.3", gains["robust"])],
        "smart-robust-gain": [("plain", "Table 2, lam = 1", smart - other)],
        "smart-same-model": [("plain", "the same network in Table 1", same)],
        "smart-float-row": [
            ("plain", "FLOAT's own table differs; a second training would explain it", None),
            ("context", "FLOAT Table 1", own),
            ("context", "spread that FLOAT section 2.3 gives for OAT", spread),
        ],
    }
