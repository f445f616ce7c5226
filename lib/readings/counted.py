"""Figures that follow from counting networks: storage, operations, additions of noise."""

from __future__ import annotations

from lib import published
from lib.readings.ledger import count, norm_outputs
from lib.readings.reading import Reading

MEGA, GIGA = 1e6, 1e9


def storage() -> dict[str, Reading]:
    """Return what FLOAT and OAT store."""
    plain, oat, scalar = (count(name).stored for name in ("plain", "oat", "oat scalar"))
    built_float, built_oat = (count(name).total["params"] for name in ("float", "oat"))
    wide = {}
    for backbone, label in (("wrn16_8", "WRN-16-8"), ("wrn40_2", "WRN-40-2")):
        base = count(f"plain {backbone}").stored
        wide[f"{label}, 128-dimensional code"] = count(f"oat {backbone}").stored / base
        wide[f"{label}, scalar code"] = count(f"oat scalar {backbone}").stored / base
    sparse = published.text("float")["floats_params_vs_oat"]
    return {
        "float-params": Reading(
            "one batch norm",
            plain / MEGA,
            context={
                "FLOAT as built, second batch norm and alphas included": built_float / MEGA,
                "no batch norm, as the caption of Figure 8 has it": count("plain").without_norms
                / MEGA,
            },
        ),
        "float-oat-storage": Reading(
            "128-dimensional code, one batch norm",
            oat / MEGA,
            {"scalar code": scalar / MEGA},
            {"as built, two batch norms": built_oat / MEGA},
        ),
        "float-oat-ratio": Reading(
            "128-dimensional code, one batch norm",
            oat / plain,
            {"scalar code": scalar / plain},
            {"both as built": built_oat / built_float} | wide,
        ),
        "float-sparse-ratio": Reading(
            "the density behind it is not printed",
            None,
            context={"density it needs, scalar code": scalar / plain / sparse},
        ),
    }


def sharing() -> dict[str, Reading]:
    """Return what SMART's two paths share, store and read."""
    plain, oat, scalar = (count(name).stored for name in ("plain", "oat", "oat scalar"))
    smart, base = count("smart"), count("plain wrn40_2").stored
    masks = smart.total["bytes_masks"]
    printed = published.text("float")["params_vs_oat"] / published.text("smart")["params_norm"]
    return {
        "smart-params": Reading(
            "both paths stored",
            smart.stored / plain,
            {"one path": smart.per_path / plain},
            {
                "both paths and their masks at 2 bits": (smart.stored + masks) / plain,
                "both paths, disjoint masks": count("smart disjoint").stored / plain,
                "both paths, one mask for both": count("smart one mask").stored / plain,
                "both paths, shortcuts masked": count("smart shortcuts").stored / plain,
                "one path, shortcuts masked": count("smart shortcuts").per_path / plain,
                "one path, every module masked": count("smart everywhere").per_path / plain,
                "WRN-40-2, both paths": count("smart wrn40_2").stored / base,
                "WRN-40-2, one path": count("smart wrn40_2").per_path / base,
                "WRN-40-2, one path, last group masked": count("smart wrn40_2 last").per_path
                / base,
            },
        ),
        "smart-oat-ratio": Reading(
            "both paths stored, 128-dimensional code",
            oat / smart.stored,
            {"quotient of the printed 1.47 and 0.54": printed},
            {
                "both paths stored, scalar code": scalar / smart.stored,
                "one path, scalar code": scalar / smart.per_path,
                "one path, 128-dimensional code": oat / smart.per_path,
            },
        ),
    }


def operations() -> dict[str, Reading]:
    """Return multiply-accumulates, what OAT adds to them, and their price in additions."""
    from lib.cost import mac_in_adds

    macs = count("plain").total["macs"]
    film, scalar = count("oat").film_macs, count("oat scalar").film_macs
    classifier = next(row.macs for row in count("plain").layers if row.kind == "linear")
    outputs, modulated = norm_outputs(), norm_outputs((3,))
    old_counter = macs + classifier + 4 * outputs
    gap = mac_in_adds("int32") / mac_in_adds("int8")
    layers = [row for row in count("oat").layers if row.film and "layer1.0." in row.name]
    return {
        "float-flops": Reading(
            "one multiply-accumulate is one FLOP",
            macs / GIGA,
            context={
                "two FLOPs each": 2 * macs / GIGA,
                "linear layers twice, batch norms four times": old_counter / GIGA,
            },
        ),
        "float-add-energy": Reading(
            "32-bit integers",
            mac_in_adds("int32"),
            context={"32-bit floats": mac_in_adds("float32")},
        ),
        "smart-energy-gap": Reading("integers, 45 nm", gap),
        "float-oat-flops": Reading(
            "128-dimensional code",
            100 * film / macs,
            {"scalar code, FiLM layers counted twice": 100 * 2 * scalar / old_counter},
            {"scalar code": 100 * scalar / macs},
        ),
        "smart-oat-macs": Reading(
            "128-dimensional code",
            film / MEGA,
            {
                "scalar code": scalar / MEGA,
                "128-dimensional code and modulation": (film + modulated) / MEGA,
                "scalar code and modulation": (scalar + modulated) / MEGA,
                "128-dimensional code, two operations each": 2 * film / MEGA,
                "scalar code, two operations each": 2 * scalar / MEGA,
            },
            {
                "built to fit: modulation twice and batch norms": (film + 2 * modulated + outputs)
                / MEGA
            },
        ),
        "float-film-layers": Reading("a basic block; ResNet-34 has no bottlenecks", len(layers)),
    }


def noise() -> dict[str, Reading]:
    """Return how many weights get noise, FLOAT's and SMART's."""
    printed = published.text("smart") | published.text("float")
    macs, parameters = count("plain").total["macs"], count("plain").stored
    every = count("float").total["noise_adds"]
    smart = count("smart")
    active = smart.total["noise_adds"]
    shortcuts = count("smart shortcuts").total["noise_adds"]
    return {
        "float-add-share": Reading(
            "noised weights per multiply-accumulate",
            100 * every / macs,
            context={
                "quotient of the printed 21.28 M and 1.165 G": 100
                * (printed["params_m"] / 1000 / printed["flops_g"]),
                "multiplications by alpha included": 100 * 2 * every / macs,
            },
        ),
        "smart-float-adds": Reading(
            "weights that get noise",
            every / MEGA,
            {"all parameters, noise or not": parameters / MEGA},
        ),
        "smart-adds": Reading(
            "weights of the path that get noise",
            active / MEGA,
            context={
                "all parameters of the path": smart.per_path / MEGA,
                "shortcuts masked": shortcuts / MEGA,
            },
        ),
        "smart-adds-text": Reading(
            "weights of the path that get noise",
            active / MEGA,
            context={
                "printed 0.54 of 21.28 M": printed["params_norm"] * printed["params_m"],
                "printed 21.28 M over 1.85": printed["params_m"] / printed["compute_saving"],
            },
        ),
        "smart-adds-ratio": Reading(
            "weights that get noise",
            every / active,
            {"1 over the printed 0.54": 1 / printed["params_norm"]},
            {"multiply-accumulates, plain over one path": macs / smart.total["macs_per_path"]},
        ),
    }
