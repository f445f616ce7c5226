"""What the SMART paper claims, artifact by artifact, judged from the rows of metrics.csv. No torch.

Verdicts of accuracies come from the intervals of what was measured; see `lib.claims`. Published
values, and the claims on counts with their tolerances, are read from data/reference.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pandas as pd

from lib import claims, published
from lib.claims import Claim, greater, no_worse, share, similar
from lib.intervals import difference
from lib.papers.scores import MARGIN, SCORES, SIZE, gap, scores, value
from lib.papers.smart_costs import counts, overheads

SHIFT = 0.1  # standard deviations by which the means of two batch norms differ at least
SPREAD = 0.1  # share by which their variances differ at least
TABLE1 = ("SMART [S S S S] 0.0", "SMART [D D S S] 0.0", "SMART [D D S S] 0.25")


def table1_mask_density(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Table 1: dense early modules and shared weights help the adversarial path."""
    table = published.read("smart/table1_mask_density")
    sparse, disjoint, shared = TABLE1
    found = []
    for metric, short in SCORES.items():
        for name, a, b, size in (
            ("dense", disjoint, sparse, SIZE),
            ("shared", shared, disjoint, 0),
        ):
            what = {
                "dense": "Dense early modules raise",
                "shared": "Weights shared by both paths raise",
            }[name]
            found.append(
                greater(
                    f"table1-{name}-{short}",
                    f"{what} {short} accuracy at lam = 1",
                    scores(metrics, a, metric, 1.0),
                    scores(metrics, b, metric, 1.0),
                    gap(table, a, b, metric, 1.0),
                    size,
                    judge,
                )
            )
    for name, a in (("sparse", sparse), ("disjoint", disjoint)):
        found.append(
            similar(
                f"table1-clean-path-{name}",
                f"Clean accuracy at lam = 0 is the same: {a} and {shared}",
                scores(metrics, a, "clean_acc", 0.0),
                scores(metrics, shared, "clean_acc", 0.0),
                MARGIN,
                gap(table, a, shared, "clean_acc", 0.0),
                judge,
            )
        )
    found.append(
        greater(
            "table1-zero-robust",
            "Robust accuracy at lam = 0 is higher with dense early modules and shared weights",
            scores(metrics, shared, "robust_acc", 0.0),
            scores(metrics, sparse, "robust_acc", 0.0),
            gap(table, shared, sparse, "robust_acc", 0.0),
            judge=judge,
        )
    )
    return claims.table(found)


def table2_comparison(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Table 2: the order of four methods at both ends, and what they cost."""
    table = published.read("smart/table2_comparison")
    found = []
    orders = (  # metric, lam, the better, the other, share of the gap that counts
        ("robust_acc", 1.0, "SMART", "FLOAT", 0),
        ("robust_acc", 1.0, "FLOAT", "PGD-AT", 0),
        ("robust_acc", 1.0, "PGD-AT", "OAT", 0),
        ("clean_acc", 1.0, "FLOAT", "OAT", 0),
        ("clean_acc", 1.0, "OAT", "PGD-AT", 0),
        ("clean_acc", 0.0, "PGD-AT", "OAT", 0),
        ("robust_acc", 0.0, "OAT", "PGD-AT", SIZE),
        ("robust_acc", 0.0, "FLOAT", "PGD-AT", SIZE),
        ("robust_acc", 0.0, "SMART", "PGD-AT", SIZE),
    )
    for metric, lam, a, b, size in orders:
        found.append(
            greater(
                f"table2-{SCORES[metric]}-{lam:g}-{a.lower()}-{b.lower()}",
                f"{SCORES[metric].capitalize()} accuracy at lam = {lam:g}: {a} above {b}",
                scores(metrics, a, metric, lam),
                scores(metrics, b, metric, lam),
                gap(table, a, b, metric, lam),
                size,
                judge,
            )
        )
    alike = (("SMART", "FLOAT", 1.0), ("SMART", "PGD-AT", 0.0), ("FLOAT", "PGD-AT", 0.0))
    for a, b, lam in alike:
        found.append(
            similar(
                f"table2-clean-{lam:g}-{a.lower()}-like-{b.lower()}",
                f"Clean accuracy at lam = {lam:g}: {a} like {b}",
                scores(metrics, a, "clean_acc", lam),
                scores(metrics, b, "clean_acc", lam),
                MARGIN,
                gap(table, a, b, "clean_acc", lam),
                judge,
            )
        )
    ids = ("smart-params", "float-oat-ratio", "smart-oat-macs", "smart-float-adds", "smart-adds")
    return claims.table([*found, *counts(metrics, ids)])


def fig1_pareto(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Figure 1: SMART is cheapest and no worse."""
    table = published.read("smart/table2_comparison")
    found = []
    for metric, lam in (("clean_acc", 0.0), ("robust_acc", 1.0)):
        for other in ("PGD-AT", "OAT", "FLOAT"):
            found.append(
                no_worse(
                    f"fig1-{SCORES[metric]}-{other.lower()}",
                    f"SMART's {SCORES[metric]} accuracy at lam = {lam:g} is not below {other}'s",
                    scores(metrics, "SMART", metric, lam),
                    scores(metrics, other, metric, lam),
                    MARGIN,
                    gap(table, "SMART", other, metric, lam),
                    judge,
                )
            )
    costs = overheads(metrics).set_index(["method", "metric", "lam"])["value"]
    others = ("PGD-AT", "OAT", "FLOAT")
    for metric, short, what in (
        ("params_stored", "params", "fewer parameters, both paths stored,"),
        ("operations", "operations", "fewer operations at lam = 1"),
    ):
        hits = sum(costs["SMART", metric, 1.0] < costs[o, metric, 1.0] for o in others)
        claim = share(
            f"fig1-fewest-{short}",
            f"SMART needs {what} than PGD-AT, OAT and FLOAT (ResNet-34)",
            int(hits),
            len(others),
        )
        found.append(replace(claim, kind="analytic"))
    return claims.table([*found, *counts(metrics, ("smart-oat-ratio", "smart-adds-ratio"))])


def fig2_layer_sensitivity(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Figure 2: deep layers can be sparse, early layers need their weights."""
    layers = densities(metrics)
    stage = layers.pivot_table(index=["method", "seed"], columns="module", values="value")
    falls = (stage["early"] > stage["late"]).sum()
    late = layers[layers["module"] == "late"]
    branch = late[~late["layer"].str.contains("downsample")]
    smaller = layers[layers["module"] == "early"].pivot_table(
        index=["seed", "layer"], columns="density", values="value"
    )
    drops = smaller[smaller.columns.max()] > smaller[smaller.columns.min()]
    half = 100 * published.text("smart")["fig2_late_density"]
    limit = f"all below {half:g} %"
    cases = (
        ("depth", "The early modules are denser than the late ones", falls, len(stage), "all"),
        (
            "late-3x3",
            f"The 3x3 layers of modules 3 and 4 keep less than {half:g} %",
            (branch["value"] < half).sum(),
            len(branch),
            limit,
        ),
        (
            "late-all",
            f"All layers of modules 3 and 4, shortcuts too, keep less than {half:g} %",
            (late["value"] < half).sum(),
            len(late),
            limit,
        ),
        (
            "early-budget",
            "A smaller budget takes weights from the early layers",
            drops.sum(),
            len(drops),
            "all",
        ),
    )
    return claims.table(
        share(f"fig2-{name}", claim, int(hits), total, paper=paper, judge=judge)
        for name, claim, hits, total, paper in cases
    )


def densities(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of layer densities with the columns layer, module and density.

    module is 'early' for the stem and modules 1 and 2, 'late' for 3 and 4.
    """
    rows = metrics[metrics["metric"] == "density"]
    layer = rows["detail"]
    late = layer.str.match(r"layer[34]\.")
    return rows.assign(
        layer=layer,
        module=late.map({True: "late", False: "early"}),
        density=rows["method"].str.removeprefix("d = ").astype(float),
    )


def fig3_bn_statistics(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Figure 3b: the two batch norms have different statistics."""
    norms = channels(metrics)
    deviation = norms["running_var", "clean"] ** 0.5
    shift = (norms["running_mean", "adversarial"] - norms["running_mean", "clean"]).abs()
    ratio = norms["running_var", "adversarial"] / norms["running_var", "clean"] - 1
    cases = (
        ("mean", f"The means differ by over {SHIFT:g} deviations", shift > SHIFT * deviation),
        ("variance", f"The variances differ by over {SPREAD:.0%}", ratio.abs() > SPREAD),
    )
    return claims.table(
        share(f"fig3-{name}", claim, int(hits.sum()), len(hits), 0.5, "most channels", judge)
        for name, claim, hits in cases
    )


def channels(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the batch-norm statistics, one row for each seed and channel."""
    rows = metrics[metrics["metric"].isin(("running_mean", "running_var"))]
    rows = rows.assign(path=rows["lam"].map({0.0: "clean", 1.0: "adversarial"}))
    return rows.pivot_table(index=["seed", "detail"], columns=["metric", "path"], values="value")


def fig4_lambda_sweep(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Figure 4: one SMART network does what PGD-AT does with one network per lam."""
    found = []
    for name, rows in metrics.groupby("dataset", sort=False):
        found += _alike(f"fig4-{name}", rows, "PGD-AT", judge)
        found += _switchable(f"fig4-{name}", rows, judge)
    return claims.table(found)


def fig5_fgsm(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Figure 5: under FGSM SMART does as well as OAT."""
    return claims.table(_alike("fig5", metrics, "OAT", judge))


def _alike(id: str, metrics: pd.DataFrame, other: str, judge: bool) -> list[Claim]:
    """Judge at every lam that SMART is no worse than another method in both accuracies."""
    found = []
    for lam in sorted(metrics["lam"].dropna().unique()):
        for metric, short in SCORES.items():
            found.append(
                no_worse(
                    f"{id}-{short}-{lam:g}",
                    f"SMART is as good as {other}: {short} accuracy at lam = {lam:g}",
                    scores(metrics, "SMART", metric, lam),
                    scores(metrics, other, metric, lam),
                    MARGIN,
                    judge=judge,
                )
            )
    return found


def _switchable(id: str, metrics: pd.DataFrame, judge: bool) -> list[Claim]:
    """Judge that lam moves one SMART network along the trade-off, step by step."""
    table = published.read("smart/table2_comparison")
    lams = sorted(metrics["lam"].dropna().unique())
    found = []
    for metric, high, low in (("clean_acc", 0.0, 1.0), ("robust_acc", 1.0, 0.0)):
        above, below = (scores(metrics, "SMART", metric, lam) for lam in (high, low))
        size = value(table, "SMART", metric, high) - value(table, "SMART", metric, low)
        short = SCORES[metric]
        claim = f"One SMART network trades {short} accuracy: lam = {high:g} above lam = {low:g}"
        found.append(greater(f"{id}-trades-{short}", claim, above, below, size, judge=judge))
    steps = list(pairwise(lams))
    moved = sum(any(_differ(metrics, metric, *step) for metric in SCORES) for step in steps)
    claim = "Every step of lam moves SMART beyond the noise of either accuracy"
    return [*found, share(f"{id}-steps", claim, moved, len(steps), judge=judge)]


def _differ(metrics: pd.DataFrame, metric: str, one: float, other: float) -> bool:
    found = difference(*(scores(metrics, "SMART", metric, lam) for lam in (one, other)))
    return found.low > 0 or found.high < 0
