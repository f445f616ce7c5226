"""Claims of the FLOAT paper: what it shows must bear them out, the opposite must not."""

import pandas as pd
import pytest

from lib import claims
from lib.papers import float_claims
from lib.rows import COLUMNS
from lib.studies import float_

MANY = 1_000_000  # images, so that intervals are narrow


def accuracies(label, points, attack="pgd7", dataset="digits", backbone="resnet18-8"):
    """Return rows for {lam: (clean, robust)} as if three seeds had measured them."""
    rows = []
    for lam, (clean, robust) in points.items():
        for seed, shift in enumerate((-0.01, 0.0, 0.01)):
            here = {"dataset": dataset, "backbone": backbone, "method": label, "seed": seed}
            here |= {"lam": lam, "n": MANY}
            rows.append(here | {"attack": "none", "metric": "clean_acc", "value": clean + shift})
            rows.append(here | {"attack": attack, "metric": "robust_acc", "value": robust + shift})
    return rows


def frame(*parts):
    return pd.DataFrame([row for part in parts for row in part], columns=COLUMNS)


def verdicts(found, kind="measured"):
    return found[found["kind"] == kind].set_index("id")["verdict"]


CURVE = {0.0: (95.0, 20.0), 0.2: (92.0, 50.0), 0.7: (90.0, 54.0), 1.0: (89.0, 56.0)}
WORSE = {lam: (clean - 5, robust - 5) for lam, (clean, robust) in CURVE.items()}
BETTER = {lam: (clean + 4, robust + 4) for lam, (clean, robust) in CURVE.items()}


def panels(label, points, **options):
    for backbone in ("resnet18-8", "wrn16_8-1", "wrn40_2-4"):
        yield from accuracies(label, points, backbone=backbone, **options)


def test_figure_6_wants_a_gentler_path_with_the_threshold():
    sharp, gentle = float_.THRESHOLDS
    path = CURVE | {0.2: (94.0, 35.0)}
    found = verdicts(
        float_claims.fig6_lambda_threshold(frame(panels(sharp, CURVE), panels(gentle, path)))
    )
    assert set(found) == {claims.REPRODUCED} and len(found) == 3 * 4
    found = verdicts(
        float_claims.fig6_lambda_threshold(frame(panels(gentle, CURVE), panels(sharp, path)))
    )
    assert found["fig6-digits-resnet18-clean"] == claims.NOT_REPRODUCED
    assert found["fig6-digits-resnet18-robust"] == claims.NOT_REPRODUCED


@pytest.mark.parametrize(
    ("rival", "verdict"),
    [(WORSE, "reproduced"), (CURVE, "reproduced"), (BETTER, "not reproduced")],
)
def test_figure_7_asks_whether_another_method_dominates(rival, verdict):
    rows = frame(panels("FLOAT", CURVE), panels("OAT", rival), panels("PGD-AT", rival))
    found = verdicts(float_claims.fig7_oat_pgdat(rows))
    assert found["fig7-digits-wrn16_8-oat"] == found["fig7-digits-resnet18-pgd-at"] == verdict
    assert found["fig7-digits-wrn40_2-switch"] == claims.REPRODUCED


def test_figure_7_is_partly_true_where_a_rival_dominates_at_some_trade_offs():
    rival = WORSE | {1.0: BETTER[1.0]}
    rows = frame(panels("FLOAT", CURVE), panels("OAT", rival), panels("PGD-AT", CURVE))
    assert verdicts(float_claims.fig7_oat_pgdat(rows))["fig7-digits-resnet18-oat"] == claims.PARTLY


def test_figure_9_compares_the_methods_at_both_widths():
    def slim(points):
        for label in float_.SLIMMABLE:
            for factor in float_.SLIM:
                yield from accuracies(f"{label}, SF {factor:g}", points[label])

    time = [{"method": "OAT slim", "metric": "train_ratio"}]
    time[0] |= {"value": 1.9, "ci_low": 1.85, "ci_high": 1.95, "n": 9}
    good = {"OAT slim": WORSE, "FLOAT slim": CURVE, "FLOATS slim": CURVE}
    found = verdicts(float_claims.fig9_slimmable(frame(slim(good), time)))
    assert set(found) == {claims.REPRODUCED} and len(found) == 2 * (4 * 2 + 2 * 2) + 1
    bad = {"OAT slim": CURVE, "FLOAT slim": WORSE, "FLOATS slim": WORSE}
    found = verdicts(float_claims.fig9_slimmable(frame(slim(bad), time)))
    assert set(found[~found.index.str.contains("sparse|time")]) == {claims.NOT_REPRODUCED}


def attacked(label, points, attack, clean=True):
    rows = accuracies(label, points, attack)
    return [r for r in rows if clean or r["metric"] == "robust_acc"]


def autoattacked(label, points, clean=False):
    rows = attacked(label, points, "aa-rand", clean)
    return [r | {"attack": "aa"} if r["lam"] == 0 and r["attack"] != "none" else r for r in rows]


def test_figure_10_compares_float_with_its_rival_under_each_attack():
    def rows(rival):
        return frame(
            attacked("FLOAT", CURVE, "pgd20"),
            attacked("FLOAT", CURVE, "fgsm", clean=False),
            attacked("OAT", rival, "pgd20"),
            attacked("OAT", rival, "fgsm", clean=False),
            autoattacked("FLOAT", CURVE),
            autoattacked("PGD-AT", rival, clean=True),
        )

    assert set(verdicts(float_claims.fig10_other_attacks(rows(WORSE)))) == {claims.REPRODUCED}
    found = verdicts(float_claims.fig10_other_attacks(rows(BETTER)))
    assert set(found[~found.index.str.contains("trades")]) == {claims.NOT_REPRODUCED}


def test_nothing_is_judged_where_the_preset_has_too_few_images():
    sharp, gentle = float_.THRESHOLDS
    rows = frame(panels(sharp, CURVE), panels(gentle, CURVE))
    found = float_claims.fig6_lambda_threshold(rows, judge=False)
    assert set(found["verdict"]) == {claims.NOT_JUDGED}
