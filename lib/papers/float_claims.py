"""What the FLOAT paper claims, artifact by artifact, judged from the rows of metrics.csv. No torch.

Most figures of the paper are pixels only: where
no number is printed, the claim is the direction that text and figure show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from lib import claims, published
from lib.claims import Claim, greater, no_worse
from lib.intervals import Estimate, difference, select
from lib.papers.scores import MARGIN, SCORES, SIZE, judged, scores
from lib.readings import readings
from lib.studies import float_

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
    ratio = select(metrics, method="OAT slim", metric="train_ratio")
    found.append(
        claims.ratio(
            "fig9-time",
            "A step of OAT slim takes longer than one of FLOAT slim",
            Estimate(*ratio[["value", "ci_low", "ci_high"]].iloc[0]),
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
