"""Figures that follow from counting networks: storage, operations, additions of noise."""

from lib import published
from lib.readings.ledger import count
from lib.readings.reading import Numbers

MEGA, GIGA = 1e6, 1e9


def storage() -> dict[str, Numbers]:
    """Return what FLOAT and OAT store."""
    plain, oat, scalar = (count(name).stored for name in ("plain", "oat", "oat scalar"))
    built, oat_built = (count(name).total["params"] for name in ("float", "oat"))
    bare = sum(row.union + row.bias for row in count("plain").layers)
    wide = []
    for name, label in (("wrn16_8", "WRN-16-8"), ("wrn40_2", "WRN-40-2")):
        for oats, code in (("oat", "128-dimensional code"), ("oat scalar", "scalar code")):
            ratio = count(f"{oats} {name}").stored / count(f"plain {name}").stored
            wide.append(("context", f"{label}, {code}", ratio))
    sparse = published.text("float")["floats_params_vs_oat"]
    return {
        "float-params": [
            ("plain", "one batch norm", plain / MEGA),
            ("context", "FLOAT as built, second batch norm and alphas included", built / MEGA),
            ("context", "no batch norm, as the caption of Figure 8 has it", bare / MEGA),
        ],
        "float-oat-storage": [
            ("plain", "128-dimensional code, one batch norm", oat / MEGA),
            ("caveat", "scalar code", scalar / MEGA),
            ("context", "as built, two batch norms", oat_built / MEGA),
        ],
        "float-oat-ratio": [
            ("plain", "128-dimensional code, one batch norm", oat / plain),
            ("caveat", "scalar code", scalar / plain),
            ("context", "both as built", oat_built / built),
            *wide,
        ],
        "float-sparse-ratio": [
            ("plain", "the density behind it is not printed", None),
            ("context", "density it needs, scalar code", scalar / plain / sparse),
        ],
    }


def sharing() -> dict[str, Numbers]:
    """Return what SMART's two paths share, store and read."""
    plain, oat, scalar = (count(name).stored for name in ("plain", "oat", "oat scalar"))
    smart, shortcuts, base = count("smart"), count("smart shortcuts"), count("plain wrn40_2").stored
    wide, last = count("smart wrn40_2"), count("smart wrn40_2 last")
    masks = smart.total["bytes_masks"]
    everywhere = count("smart everywhere").per_path
    disjoint, one_mask = (count(f"smart {name}").stored for name in ("disjoint", "one mask"))
    quotient = published.text("float")["params_vs_oat"] / published.text("smart")["params_norm"]
    return {
        "smart-params": [
            ("plain", "both paths stored", smart.stored / plain),
            ("caveat", "one path", smart.per_path / plain),
            ("context", "both paths and their masks at 2 bits", (smart.stored + masks) / plain),
            ("context", "both paths, disjoint masks", disjoint / plain),
            ("context", "both paths, one mask for both", one_mask / plain),
            ("context", "both paths, shortcuts masked", shortcuts.stored / plain),
            ("context", "one path, shortcuts masked", shortcuts.per_path / plain),
            ("context", "one path, every module masked", everywhere / plain),
            ("context", "WRN-40-2, both paths", wide.stored / base),
            ("context", "WRN-40-2, one path", wide.per_path / base),
            ("context", "WRN-40-2, one path, last group masked", last.per_path / base),
        ],
        "smart-oat-ratio": [
            ("plain", "both paths stored, 128-dimensional code", oat / smart.stored),
            ("caveat", "quotient of the printed 1.47 and 0.54", quotient),
            ("context", "both paths stored, scalar code", scalar / smart.stored),
            ("context", "one path, scalar code", scalar / smart.per_path),
            ("context", "one path, 128-dimensional code", oat / smart.per_path),
        ],
    }


def operations() -> dict[str, Numbers]:
    """Return multiply-accumulates, what OAT adds to them, and their price in additions."""
    from lib.cost import mac_in_adds

    plain = count("plain")
    macs, film, scalar = plain.total["macs"], count("oat").film_macs, count("oat scalar").film_macs
    classifier = next(row.macs for row in plain.layers if row.kind == "linear")
    made = [row for row in plain.layers if row.kind == "conv"]  # a batch norm stands after each
    outputs = sum(row.out_channels * row.positions for row in made)
    modulated = sum(row.out_channels * row.positions for row in made if row.kernel == 3)
    fitted = film + 2 * modulated + outputs
    counter = macs + classifier + 4 * outputs
    gap = mac_in_adds("int32") / mac_in_adds("int8")
    block = [row for row in count("oat").layers if row.film and "layer1.0." in row.name]
    return {
        "float-flops": [
            ("plain", "one multiply-accumulate is one FLOP", macs / GIGA),
            ("context", "two FLOPs each", 2 * macs / GIGA),
            ("context", "linear layers twice, batch norms four times", counter / GIGA),
        ],
        "float-add-energy": [
            ("plain", "32-bit integers", mac_in_adds("int32")),
            ("context", "32-bit floats", mac_in_adds("float32")),
        ],
        "smart-energy-gap": [("plain", "integers, 45 nm", gap)],
        "float-oat-flops": [
            ("plain", "128-dimensional code", 100 * film / macs),
            ("caveat", "scalar code, FiLM layers counted twice", 100 * 2 * scalar / counter),
            ("context", "scalar code", 100 * scalar / macs),
        ],
        "smart-oat-macs": [
            ("plain", "128-dimensional code", film / MEGA),
            ("caveat", "scalar code", scalar / MEGA),
            ("caveat", "128-dimensional code and modulation", (film + modulated) / MEGA),
            ("caveat", "scalar code and modulation", (scalar + modulated) / MEGA),
            ("caveat", "128-dimensional code, two operations each", 2 * film / MEGA),
            ("caveat", "scalar code, two operations each", 2 * scalar / MEGA),
            ("context", "built to fit: modulation twice and batch norms", fitted / MEGA),
        ],
        "float-film-layers": [("plain", "a basic block; ResNet-34 has no bottlenecks", len(block))],
    }


def noise() -> dict[str, Numbers]:
    """Return how many weights get noise, FLOAT's and SMART's."""
    printed = published.text("smart") | published.text("float")
    macs, parameters = count("plain").total["macs"], count("plain").stored
    every = count("float").total["noise_adds"]
    smart = count("smart")
    active, skipping = smart.total["noise_adds"], smart.total["macs_per_path"]
    shortcuts = count("smart shortcuts").total["noise_adds"]
    quotient = printed["params_m"] / 1000 / printed["flops_g"]
    share, saving = printed["params_norm"], printed["compute_saving"]
    return {
        "float-add-share": [
            ("plain", "noised weights per multiply-accumulate", 100 * every / macs),
            ("context", "quotient of the printed 21.28 M and 1.165 G", 100 * quotient),
            ("context", "multiplications by alpha included", 100 * 2 * every / macs),
        ],
        "smart-float-adds": [
            ("plain", "weights that get noise", every / MEGA),
            ("caveat", "all parameters, noise or not", parameters / MEGA),
        ],
        "smart-adds": [
            ("plain", "weights of the path that get noise", active / MEGA),
            ("context", "all parameters of the path", smart.per_path / MEGA),
            ("context", "shortcuts masked", shortcuts / MEGA),
        ],
        "smart-adds-text": [
            ("plain", "weights of the path that get noise", active / MEGA),
            ("context", "printed 0.54 of 21.28 M", share * printed["params_m"]),
            ("context", "printed 21.28 M over 1.85", printed["params_m"] / saving),
        ],
        "smart-adds-ratio": [
            ("plain", "weights that get noise", every / active),
            ("caveat", "1 over the printed 0.54", 1 / share),
            ("context", "multiply-accumulates, plain over one path", macs / skipping),
        ],
    }
