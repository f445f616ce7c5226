"""Figures of DNR that follow from its own tables, or from counting the networks it prunes."""

import pandas as pd

from lib import published
from lib.readings.ledger import count
from lib.readings.reading import Numbers

NETWORKS = {"vgg": "vgg16", "resnet": "resnet18"}  # by what the ids of figures call them
CLEAN = ("cifar10 irregular", "cifar10 channel", "cifar100 irregular", "cifar100 channel")
ROBUST, RATIO = ["fgsm", "pgd7"], "compression_ratio"
WITH, WITHOUT = (
    [f"{kind} {how}" for kind in ("irregular", "channel")] for how in ("with dynamic L2", "without")
)


def wide(table: str) -> pd.DataFrame:
    """Return a table with a column for each metric; of robust accuracies for each attack."""
    rows = published.read(table)
    score = rows["attack"].where(rows["metric"] == "robust_acc", rows["metric"])
    keys = ["dataset", "backbone", "method"]
    return rows.assign(score=score).pivot_table(index=keys, columns="score", values="value")


def gains() -> dict[str, Numbers]:
    """Return how far DNR is ahead of ADMM and the lasso, and of itself without its regulariser."""
    tables = "dnr/table2_admm_lasso", "dnr/table4_dynamic_l2"
    two, four = (wide(table).loc["cifar10"] for table in tables)
    text = published.text("dnr")
    found: dict[str, Numbers] = {}
    for id, rival in (("admm", "ADMM"), ("lasso", "L1 lasso")):
        ours, theirs = (two.xs(method, level="method") for method in ("DNR", rival))
        leads, ratios = (ours - theirs)[["clean_acc", *ROBUST]], (ours / theirs)[RATIO]
        last = f"smallest lead in points, {leads.min(axis=1).idxmin()} {leads.min().idxmin()}"
        ahead = float((leads > 0).sum().sum())
        found[f"dnr-{id}-all"] = [
            ("plain", "accuracies of Table 2 in which DNR is ahead", ahead),
            ("context", last, leads.min().min()),
        ]
        for name, network in NETWORKS.items():
            lead = leads.loc[network]
            found[f"dnr-{id}-robust-{name}"] = [
                ("plain", "larger of two attacks in Table 2", lead[ROBUST].max()),
                ("context", "smaller of them", lead[ROBUST].min()),
            ]
            found[f"dnr-{id}-ratio-{name}"] = [("plain", "quotient in Table 2", ratios[network])]
            if id == "lasso":
                found[f"dnr-lasso-clean-{name}"] = [("plain", "Table 2", lead["clean_acc"])]
    for name, network in NETWORKS.items():
        rows = four.loc[network, ROBUST]
        gain = rows.loc[WITH].to_numpy() - rows.loc[WITHOUT].to_numpy()
        found[f"dnr-l2-{name}"] = [
            ("plain", "largest of four in Table 4", float(gain.max())),
            ("context", "smallest of them", float(gain.min())),
            ("context", "what |theta - z|^2 weighs in Eq. 6", text["beta"] * text["rho"] / 2),
            ("context", "what |theta|^2 weighs as weight decay", text["weight_decay"] / 2),
        ]
    found["dnr-same-pgd"] = [
        ("plain", "that of ADMM in Table 2, by chance or copied", None),
        ("context", "ADMM, Table 2", two.loc[("vgg16", "ADMM"), "pgd7"]),
    ]
    return found


def pruning() -> dict[str, Numbers]:
    """Return how far networks are pruned, and what that costs and saves."""
    text, clean = published.text("dnr"), wide("dnr/table3_clean_pruning")
    largest = "largest in Table 3"
    robust = pd.concat([wide("dnr/table1_tiny_imagenet"), wide("dnr/table2_admm_lasso")])[RATIO]
    robust = robust[robust.index.isin(("DNR irregular", "DNR"), level="method")]
    errors, speed = clean.loc["cifar10", "error"], clean["speed_up"]
    quoted = errors.drop(["DNR-C irregular", "DNR-C channel"], level="method")
    err_more = quoted.gt(errors.xs("DNR-C irregular", level="method"), level="backbone").sum()
    small = "smallest of Tables 1 and 2; CIFAR-100 has pixels only"
    found: dict[str, Numbers] = {
        "dnr-ratio": [("plain", small, robust.min())],
        "dnr-ratio-tiny": [("plain", "Table 1", robust["tiny_imagenet"].max())],
        "dnr-c-all": [("plain", "rivals in Table 3 that err more", float(err_more))],
        "dnr-c-drop": [("plain", largest, -clean.loc["cifar100", "error_delta"].min())],
        "dnr-speed-cifar10": [("plain", largest, speed["cifar10"].max())],
        "dnr-speed": [
            ("plain", largest, speed.max()),
            ("context", "so many times fewer channels, Figure 3c", text["fig3_channels_present"]),
        ],
    }
    for key in (*CLEAN, "tiny_imagenet irregular"):
        dataset, kind = key.split()
        best = clean.loc[dataset].xs(f"DNR-C {kind}", level="method").nlargest(1, RATIO).iloc[0]
        found[f"dnr-c-{dataset}-{kind}"] = [
            ("plain", largest, best[RATIO]),
            ("context", "points of error that this costs", -best["error_delta"]),
        ]
    return found


def densities() -> dict[str, Numbers]:
    """Return what density the compression needs that is printed, and what 5 % give."""
    printed = wide("dnr/table2_admm_lasso").loc["cifar10", RATIO]
    density = published.text("dnr")["density_irregular"] / 100
    whole, naive = [], []
    for name in ("vgg16", "resnet18", "resnet18 released"):
        network = count(f"plain {name}")
        first, *rest = (row.weights for row in network.layers if row.kind == "conv")
        kept = network.stored - (1 - density) * (first + sum(rest))
        whole.append(("context", f"{name}, dense but for convolutions", network.stored / kept))
        equal = (first + sum(rest)) / (first + density * sum(rest))
        naive.append(("context", f"{name} at x = 95 %", equal))
    each = [(f"density that {n} needs", 1 / printed[n, "DNR"]) for n in NETWORKS.values()]
    needed = [("context", *one) for one in each]
    return {
        "dnr-density": [("plain", "1 / d with d = 5 %", 1 / density), *whole, *needed],
        "dnr-naive": [("plain", "x % is not printed", None), *naive[:2]],
    }
