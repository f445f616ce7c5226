"""What the FLOAT paper claims, artifact by artifact, judged from the rows of metrics.csv. No torch.

Those of its Figure 8 are in `float_cost_claims`. Most figures of the paper are pixels only: where
no number is printed, the claim is the direction that text and figure show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pandas as pd

from lib import claims, published
from lib.claims import Claim, greater, no_worse, share, similar
from lib.intervals import difference
from lib.papers.float_cost_claims import estimate
from lib.papers.scores import MARGIN, SCORES, SIZE, gap, judged, scores
from lib.readings import readings
from lib.studies import float_

LOSS = 1.0  # points that FLOATS-i may lose (Table 1)
ATTACKS = {"pgd20": "PGD-20", "fgsm": "FGSM"}  # of Figure 10, with the paper's first reading


def audited(ids: Iterable[str]) -> list[Claim]:
    """Return claims on counts as audit/published_numbers judges them, under the same ids."""
    ids = list(ids)
    found = readings(ids)
    return judged({id: found[id] for id in ids})


def panels(metrics: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the accuracies of each data set and network with a name for ids, 'digits-wrn16_8'."""
    measured = metrics[metrics["n"].notna()]
    for (data, backbone), rows in measured.groupby(["dataset", "backbone"], sort=False):
        yield f"{data}-{str(backbone).split('-')[0]}", rows


def fig1_memory_accuracy(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Figure 1: FLOAT needs less memory than OAT and is no worse, FLOATS-i less still."""
    found = []
    sizes = metrics[metrics["metric"] == "bytes_8bit"]
    sizes = sizes.pivot_table(index="backbone", columns="method", values="value")
    for less, more in (("FLOAT", "OAT"), ("FLOATS-i", "FLOAT")):
        hits = int((sizes[less] < sizes[more]).sum())
        claim = f"{less} takes less memory than {more}, on every network"
        counted = share(f"fig1-memory-{less.lower()}", claim, hits, len(sizes))
        found.append(replace(counted, kind="analytic"))
    for name, rows in panels(metrics):
        for metric, lam in (("clean_acc", 0.0), ("robust_acc", 1.0)):
            short = SCORES[metric]
            for label in ("FLOAT", "FLOATS-i"):
                found.append(
                    no_worse(
                        f"fig1-{name}-{label.lower()}-{short}",
                        f"{label}'s {short} accuracy at lam = {lam:g} is not below OAT's ({name})",
                        scores(rows, label, metric, lam),
                        scores(rows, "OAT", metric, lam),
                        MARGIN,
                        judge=judge,
                    )
                )
    ids = ("float-oat-ratio", "float-sparse-ratio", "float-abstract-clean", "float-abstract-robust")
    return claims.table([*found, *audited(ids)])


def fig5_channel_density(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Figure 5a: at one density of weights, channels vanish only where they are pruned."""
    text = published.text("float")
    rows = channel_shares(metrics)
    wide = rows.pivot_table(index=["seed", "layer"], columns="method", values="value")
    ratio = wide["FLOATS-i"] / wide["FLOATS-c"]
    full = int((wide["FLOATS-i"] >= text["fig5_channels_floats_i"] - 0.5).sum())
    shown = rows[(rows["method"] == "FLOATS-c") & (rows["position"] == float_.LAYER)]["value"]
    low = int((shown < 50).sum())
    paper = text["fig5_channels_floats_c"]
    found = [
        share(
            "fig5-irregular",
            "FLOATS-i keeps some weight of every input channel, in every layer",
            full,
            len(wide),
            judge=judge,
        ),
        share(
            "fig5-layer-29",
            "FLOATS-c keeps less than half of the input channels of convolution "
            f"{float_.LAYER}: {shown.mean():.1f} % here",
            low,
            len(shown),
            paper=f"{paper:g} %",
            judge=judge,
        ),
        share(
            "fig5-ratio",
            "In some layer FLOATS-c keeps 10 times fewer channels than FLOATS-i: at most "
            f"{ratio.max():.1f} times here",
            int(ratio.groupby(level="seed").max().ge(text["fig5_channel_density_ratio"]).sum()),
            ratio.groupby(level="seed").ngroups,
            judge=judge,
        ),
    ]
    for metric, lam in (("clean_acc", 0.0), ("robust_acc", 1.0)):
        short = SCORES[metric]
        found.append(
            greater(
                f"fig5-price-{short}",
                f"Pruning whole channels costs {short} accuracy at lam = {lam:g}",
                scores(metrics, "FLOATS-i", metric, lam),
                scores(metrics, "FLOATS-c", metric, lam),
                judge=judge,
            )
        )
    return claims.table(found)


def channel_shares(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of live input channels with their layer and its position from 1."""
    rows = metrics[metrics["metric"] == "channels"]
    layer = rows["detail"]
    order = {name: place for place, name in enumerate(dict.fromkeys(layer), start=1)}
    return rows.assign(layer=layer, position=layer.map(order))


def fig6_lambda_threshold(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Figure 6: a threshold of 0.5 makes a gentler path from accurate to robust."""
    text = published.text("float")
    sharp, gentle = float_.THRESHOLDS
    found = []
    for name, rows in panels(metrics):

        def at(label: str, metric: str, lam: float, rows: pd.DataFrame = rows) -> pd.DataFrame:
            return scores(rows, label, metric, lam)

        cases = (
            ("clean", "clean_acc", gentle, 0.2, sharp, 0.2, text["fig6_clean_delta"]),
            ("robust", "robust_acc", sharp, 0.2, gentle, 0.2, text["fig6_robust_drop"]),
            ("clean-noise", "clean_acc", gentle, 0.0, gentle, 0.2, None),
            ("robust-noise", "robust_acc", gentle, 0.2, gentle, 0.0, None),
        )
        for id, metric, a, lam_a, b, lam_b, paper in cases:
            left, right = (f"{m} at λ_n = {lam:g}" for m, lam in ((a, lam_a), (b, lam_b)))
            found.append(
                greater(
                    f"fig6-{name}-{id}",
                    f"{SCORES[metric].capitalize()} accuracy: {left} above {right} ({name})",
                    at(a, metric, lam_a),
                    at(b, metric, lam_b),
                    paper,
                    SIZE if paper else 0.0,
                    judge,
                    same_networks=True,
                )
            )
    return claims.table(found)


def fig7_oat_pgdat(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Figure 7: FLOAT is as good as OAT and PGD-AT at every trade-off."""
    found = []
    for name, rows in panels(metrics):
        for other in ("OAT", "PGD-AT"):
            found.append(_undominated(f"fig7-{name}-{other.lower()}", rows, other, name, judge))
        found.append(
            greater(
                f"fig7-{name}-switch",
                f"FLOAT's robust accuracy falls from lam = 0.2 to 0 ({name})",
                scores(rows, "FLOAT", "robust_acc", 0.2),
                scores(rows, "FLOAT", "robust_acc", 0.0),
                judge=judge,
                same_networks=True,
            )
        )
    text = published.text("float")
    _, main = next(iter(panels(metrics)))
    found.append(
        greater(
            "fig7-gain-pgd-at",
            "FLOAT is more robust than PGD-AT at lam = 0",
            scores(main, "FLOAT", "robust_acc", 0.0),
            scores(main, "PGD-AT", "robust_acc", 0.0),
            text["robust_gain_vs_pgd_at"],
            SIZE,
            judge,
        )
    )
    return claims.table([*found, *audited(("float-robust-gain",))])


def _undominated(id: str, rows: pd.DataFrame, other: str, name: str, judge: bool) -> Claim:
    """Judge that at no trade-off another method is better in both accuracies.

    FLOAT stands where one of its accuracies is not below the other's within the margin; it is
    dominated where both are below it, whole intervals long.
    """
    lams = sorted(rows["lam"].dropna().unique())
    stands = dominated = 0
    for lam in lams:
        gaps = [
            difference(*(scores(rows, label, metric, lam) for label in ("FLOAT", other)))
            for metric in SCORES
        ]
        stands += any(found.low > -MARGIN for found in gaps)
        dominated += all(found.high < 0 for found in gaps)
    verdict = claims.NOT_JUDGED
    if stands == len(lams):
        verdict = claims.REPRODUCED
    elif dominated:
        verdict = claims.PARTLY if stands else claims.NOT_REPRODUCED
    return Claim(
        id,
        f"{other} is at no lam better than FLOAT in both accuracies ({name})",
        "measured",
        f"at none of {len(lams)}",
        f"FLOAT stands at {stands}, falls short at {dominated}",
        f"{-dominated:+d}" if dominated else "0",
        f"interval above -{MARGIN:g} in one accuracy",
        verdict if judge else claims.NOT_JUDGED,
    )


def table1_variants(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Table 1: weights can go at little cost, channels cost more, slimming less.

    Speed-ups are claims about channels; weights that go one by one leave an ordinary machine as
    many operations as before.
    """
    table = published.read("float/table1_variants")
    table = table.replace({"method": {"FLOATS slim": "FLOATS slim, SF 0.5"}})
    text = published.text("float")
    found = []
    for metric, short in SCORES.items():
        at = {m: scores(metrics, m, metric, 1.0) for m in float_.VARIANTS}
        for label, margin in (("FLOATS-i", LOSS), ("FLOATS slim, SF 0.5", MARGIN)):
            printed = gap(table, label, "FLOAT", metric, 1.0)
            claim = f"{label} loses little {short} accuracy at lam = 1"
            id = f"table1-{label.split(',')[0].replace(' ', '-').lower()}-{short}"
            found.append(no_worse(id, claim, at[label], at["FLOAT"], margin, printed, judge))
        for better, other, size in (
            ("FLOAT", "FLOATS-c", SIZE),
            ("FLOATS slim, SF 0.5", "FLOATS-c", 0.0),
        ):
            printed = gap(table, better, other, metric, 1.0)
            claim = f"{better} has more {short} accuracy than {other} at lam = 1"
            id = f"table1-channel-{better.split(',')[0].replace(' ', '-').lower()}-{short}"
            found.append(greater(id, claim, at[better], at[other], printed, size, judge))
        claim = f"FLOATS-i keeps the {short} accuracy at lam = 0"
        sparse, dense = (scores(metrics, m, metric, 0.0) for m in ("FLOATS-i", "FLOAT"))
        printed = gap(table, "FLOATS-i", "FLOAT", metric, 0.0)
        id = f"table1-zero-{short}"
        found.append(similar(id, claim, sparse, dense, MARGIN, printed, judge))
    for label, paper in (("FLOATS-c", None), ("FLOATS slim, SF 0.5", text["slim_speed_up"])):
        claim = f"{label} answers faster than FLOAT on an ordinary machine"
        id = f"table1-speed-{label.split(',')[0].replace(' ', '-').lower()}"
        ours = estimate(metrics, label, "speed_up")
        found.append(claims.ratio(id, claim, ours, paper, judge=judge))
    ids = (
        *("float-irregular-compression", "float-channel-compression", "float-slim-compression"),
        *("float-slim-storage", "float-slim-gain"),
    )
    return claims.table([*found, *audited(ids)])


def fig9_slimmable(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Figure 9: slimmable FLOAT is better than slimmable OAT, at both widths."""
    text = published.text("float")
    found = []
    lams = sorted(metrics.loc[metrics["n"].notna() & metrics["attack"].notna(), "lam"].unique())
    for slim in float_.SLIM:
        labels = [f"{m}, SF {slim:g}" for m in ("FLOAT slim", "FLOATS slim", "OAT slim")]
        for lam in lams:
            for metric, short in SCORES.items():
                a, sparse, b = (scores(metrics, label, metric, lam) for label in labels)
                claim = f"FLOAT slim is as good as OAT slim: {short} accuracy at lam = {lam:g}"
                id = f"fig9-{slim:g}-{short}-{lam:g}"
                found.append(no_worse(id, f"{claim}, SF {slim:g}", a, b, MARGIN, judge=judge))
                if lam in float_.ENDS:
                    claim = f"Sparsity costs FLOAT slim little {short} accuracy at lam = {lam:g}"
                    where = f"{claim}, SF {slim:g}"
                    found.append(no_worse(f"{id}-sparse", where, sparse, a, MARGIN, judge=judge))
    found.append(
        claims.ratio(
            "fig9-time",
            "A step of OAT slim takes longer than one of FLOAT slim",
            estimate(metrics, "OAT slim", "train_ratio:FLOAT slim"),
            text["slim_train_time_vs_oat_slim"],
            judge=judge,
        )
    )
    return claims.table([*found, *audited(("float-slim-params",))])


def fig10_other_attacks(metrics: pd.DataFrame, judge: bool = True) -> pd.DataFrame:
    """Judge Figure 10: what holds under PGD-7 holds under other attacks."""
    found = []
    clean = metrics[metrics["metric"] == "clean_acc"]
    lams = sorted(clean["lam"].unique())
    for attack, name in ATTACKS.items():
        rows = metrics[metrics["attack"] == attack]
        found.append(
            greater(
                f"fig10-{attack}-trades",
                f"FLOAT trades robust accuracy under {name}: lam = 1 above lam = 0",
                scores(rows, "FLOAT", "robust_acc", 1.0),
                scores(rows, "FLOAT", "robust_acc", 0.0),
                judge=judge,
                same_networks=True,
            )
        )
        for lam in lams:
            found.append(
                no_worse(
                    f"fig10-{attack}-{lam:g}",
                    f"FLOAT is as robust as OAT under {name} at lam = {lam:g}",
                    scores(rows, "FLOAT", "robust_acc", lam),
                    scores(rows, "OAT", "robust_acc", lam),
                    MARGIN,
                    judge=judge,
                )
            )
    strong = metrics[metrics["attack"].isin(["aa", "aa-rand"])]
    for lam in lams:
        ours, other = (scores(strong, m, "robust_acc", lam) for m in ("FLOAT", "PGD-AT"))
        claim = f"FLOAT is at least as robust as PGD-AT under AutoAttack at lam = {lam:g}"
        found.append(no_worse(f"fig10-aa-{lam:g}", claim, ours, other, MARGIN, judge=judge))
        ours, other = (scores(clean, m, "clean_acc", lam) for m in ("FLOAT", "PGD-AT"))
        claim = f"FLOAT's clean accuracy is not below PGD-AT's at lam = {lam:g}"
        found.append(no_worse(f"fig10-aa-clean-{lam:g}", claim, ours, other, MARGIN, judge=judge))
    return claims.table(found)
