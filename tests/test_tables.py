"""Tables show the paper's numbers and ours, and say what was trained and attacked."""

from types import SimpleNamespace

import pandas as pd
import pytest

from lib import claims, tables
from lib.intervals import wilson
from lib.protocol import Protocol
from lib.studies import float_, smart
from lib.study import Job


def accuracy_rows():
    rows = [("A", "clean_acc", 90.0), ("A", "robust_acc", 45.0), ("B", "clean_acc", 80.0)]
    frame = pd.DataFrame(rows, columns=["method", "metric", "value"])
    attack = frame["metric"].map({"clean_acc": "none", "robust_acc": "pgd7"})
    low, high = zip(*(wilson(value / 100, 100) for value in frame["value"]), strict=True)
    return frame.assign(seed=0, lam=1.0, n=100, attack=attack, ci_low=low, ci_high=high)


def test_a_cell_holds_the_accuracy_and_its_interval_for_seeds_their_mean_and_spread():
    one, (low, high) = accuracy_rows().iloc[:1], wilson(0.9, 100)
    assert tables.cell(one) == f"90.0 [{low:.1f}, {high:.1f}]"
    seeds = pd.concat([one, one.assign(seed=1, value=80.0), one.assign(seed=2, value=85.0)])
    found = tables.shown(seeds)
    assert found.value == 85.0 and found.low < tables.shown(one.assign(value=85.0)).low


def test_the_papers_number_stands_above_ours_and_gaps_stay_empty():
    paper = accuracy_rows().drop(columns="n").assign(value=[95.2, 50.0, 84.6])
    table = tables.beside(
        accuracy_rows(),
        paper.iloc[:2],
        {"a": {"method": "A"}, "b": {"method": "B"}},
        {"CA": {"metric": "clean_acc"}, "RA": {"metric": "robust_acc"}},
        "network",
    )
    assert list(table.columns) == ["network", "numbers", "CA", "RA"]
    assert table["network"].tolist() == ["a", "a", "b", "b"]
    assert table["numbers"].tolist() == ["paper", "ours"] * 2
    assert table.loc[0, "CA"] == "95.20" and table.loc[1, "CA"].startswith("90.0 [")
    assert table.loc[2, "CA"] == "" and table.loc[3, "RA"] == ""


def test_numbers_without_images_are_shown_as_means_without_an_interval():
    costs = pd.DataFrame({"method": ["A"], "metric": ["params_norm"], "value": [0.53578]})
    table = tables.beside(costs, costs, {"a": {"method": "A"}}, {"x": {"metric": "params_norm"}})
    assert table["x"].tolist() == ["0.5358", "0.5358"]
    assert tables.plain(pd.concat([costs.assign(value=2.5), costs.assign(value=3.5)])) == "3"


def test_protocols_lists_each_way_of_scoring_once_in_units_of_papers():
    found = tables.protocols(smart.table2_comparison("cifar"))
    once = found[found["draws that score"] == ""]
    assert once["attack"].tolist() == ["none (clean)", "pgd7", "pgd20"]
    assert once["steps"].tolist() == ["", 7, 20]
    assert once["ε, 1/255"].tolist() == ["", "8", "8"]
    assert once["step, 1/255"].tolist() == ["", "1.43", "1.43"]
    assert set(once["λ"]) == {"0, 1"} and "AutoAttack" not in found
    noisy = found[found["draws that score"] == 10]
    assert noisy["attack"].tolist() == ["none (clean)", "pgd7", "pgd20", "pgd7x2-eot3"]
    assert set(noisy["λ"]) == {"1"}
    # PGD-AT stands under the trade-offs it was trained for
    found = tables.protocols(float_.fig10_other_attacks("ci")).set_index("attack")
    draws = found.loc["aa-rand"].set_index("draws of noise per gradient")["λ"]
    assert draws.to_dict() == {1: "0.2, 0.7, 1", 2: "0.2, 0.7, 1"}  # PGD-AT and FLOAT
    aa = found["λ"][["aa", "aa-rand-all"]].tolist()
    assert aa == ["0, 0.2, 0.7, 1", "0.2, 0.7, 1"]


def test_networks_lists_each_network_once():
    study = smart.fig4_lambda_sweep("ci", seeds=(0, 1))
    history = pd.DataFrame({"loss": [2.0, 1.23456]})
    runs = {key: SimpleNamespace(history=history, info={"seconds": 1.5}) for key in study.recipes}
    found = tables.networks(study, runs)
    assert len(found) == len(study.recipes) == 10 and found["run"].is_unique
    assert found["training λ"].tolist() == [0.0, 0.2, 0.7, 1.0, ""] * 2
    assert set(found["last loss"]) == {1.235}
    only = smart.fig3_bn_statistics("ci")
    run = SimpleNamespace(history=history, info={"seconds": 0.0})
    assert "training λ" not in tables.networks(only, dict.fromkeys(only.recipes, run))


def test_the_outline_has_a_column_for_each_attack_and_rounds_as_cells_do():
    found = tables.outline(accuracy_rows(), ["method", "lam"])
    assert set(found.columns) == {"clean", "pgd7"}
    assert found.loc[("A", 1.0), "pgd7"] == "45.0" and found.loc[("B", 1.0), "pgd7"] == ""
    for value in (14.95, 0.05, 62.25, 100.0):  # halves, where ways of rounding differ
        row = accuracy_rows().iloc[:1].assign(value=value)
        (shown,) = tables.outline(row, ["method"])["clean"]
        assert tables.cell(row).startswith(f"{shown} [")


def test_protocols_say_how_autoattack_tried_and_at_which_width():
    ways = (
        Protocol(attack="autoattack", steps=20, eot=5, queries=200),
        Protocol(attack="autoattack", version="rand", lam=1.0, steps=20, eot=5),
        Protocol(attack="pgd", slim=0.5),
        Protocol(lam=1.0),
    )
    job = Job("FLOAT", smart.table2_comparison("ci").find("FLOAT").recipe, ways)
    found = tables.protocols(SimpleNamespace(jobs=[job]))
    assert found["attack"].tolist() == ["aa", "aa-rand", "pgd7", "none (clean)"]
    assert found["AutoAttack"].tolist() == ["standard", "rand", "", ""]
    assert found["steps"].tolist() == [20, 20, 7, ""]
    assert found["step, 1/255"].tolist() == ["", "", "1.43", ""]
    assert found["draws of noise per gradient"].tolist() == [1, 5, 1, ""]
    assert found["draws that score"].tolist() == ["", "", "", 10]
    assert found["queries"].tolist() == [200, "", "", ""]
    assert found["slimming factor"].tolist() == ["", "", 0.5, ""]


NONE = "No attack of more steps leaves more images right than one of fewer"


def robust_rows(**accuracies):
    rows = [
        {"method": "A", "lam": 0.2, "attack": attack.replace("_", "-"), "value": value, "n": 500}
        for attack, value in accuracies.items()
    ]
    return pd.DataFrame(rows).assign(metric="robust_acc", seed=0)


WARNED = robust_rows(fgsm=40.0, pgd7=45.0, pgd20=61.0)
UNEQUAL = robust_rows(fgsm=50.0, pgd20=71.0).assign(n=[2000, 500])
STEP = pd.concat([robust_rows(pgd20=40.0), robust_rows(**{"pgd20-step3.4": 60.0})])


@pytest.mark.parametrize(
    ("rows", "said", "unsaid"),
    [
        (WARNED, ["can be a sign", "PGD-20 and FGSM: 61.0 and 40.0 % at λ = 0.2"], ["reason"]),
        (WARNED, ["PGD-20 and PGD-7: 61.0 and 45.0 %", "Not listed: 1 difference"], [NONE]),
        (robust_rows(pgd20=5.0, aa=16.0), ["AutoAttack"], [NONE]),
        # of 500 images, 45 and 50 % are 1.6 standard errors apart, of 50,000 many
        (robust_rows(fgsm=45.0, pgd7=50.0), [NONE, "but for 1 difference"], ["can be a sign"]),
        (robust_rows(fgsm=45.0, pgd7=50.0).assign(n=50_000), ["50.0 and 45.0"], ["Not listed"]),
        (UNEQUAL, ["(on 500 and 2000 images)", "these may be the reason"], []),
        (UNEQUAL.assign(n=500), ["71.0 and 50.0"], ["these may be the reason"]),
    ],
)
def test_an_attack_of_more_steps_that_does_less_is_said_to_be_a_warning(rows, said, unsaid):
    text = tables.weaker(rows)
    assert all(part in text for part in said) and not any(part in text for part in unsaid)


SEEDS = [robust_rows(fgsm=50.0, pgd7=70.0), robust_rows(fgsm=50.0, pgd7=30.0).assign(seed=1)]


@pytest.mark.parametrize(
    "rows",
    [
        robust_rows(fgsm=50.0, pgd7=45.0, pgd20=45.0, aa_rand=30.0),
        pd.concat([STEP, STEP.assign(metric="clean_acc", attack="fgsm", value=1.0)]),
        pd.concat(SEEDS),
    ],
    ids=["each does more", "as many steps, and clean images", "seeds are averaged"],
)
def test_where_no_attack_of_more_steps_does_less_nothing_is_warned_of(rows):
    assert tables.weaker(rows) == NONE + "."


@pytest.mark.parametrize(
    ("preset", "overrides", "why"),
    [
        ("quick", {}, ""),
        ("quick", {"train.epochs": 1, "evaluation.images": 50, "method.density": 0.4},
         "evaluation.images, train.epochs"),
        ("ci", {}, "the preset ci is too small"),
    ],
)  # fmt: skip
def test_verdicts_open_with_their_counts_and_why_nothing_is_judged(preset, overrides, why):
    study = smart.table1_mask_density(preset, [0], overrides)
    rows = [{"id": "a", "claim": "A | B", "verdict": "not judged", "why": "one seed"}]
    rows.append({"id": "n", "claim": "a count", "verdict": "reproduced"})
    text = tables.verdicts(study, claims.table(rows))
    assert text.startswith("2 claims: 1 reproduced, 1 not judged.")
    rows = [[cell.strip() for cell in line.split(" |")] for line in text.splitlines()[2:]]
    assert rows[0] == ["| claim", "paper value", "our value", "difference", "verdict", "why", ""]
    assert rows[2][0] == r"| A \| B"
    assert text.count("\n|") == 4 and why in text and "density" not in text
    assert ("Nothing measured is judged" in text) == bool(why)


@pytest.mark.parametrize(
    ("backbone", "spelt"),
    [
        ("wrn16_8-1", "WRN-16-8, width 1"),
        ("wrn40_2", "WRN-40-2"),
        ("resnet18-8", "ResNet-18, width 8"),
        ("preact_resnet50", "PreActResNet-50"),
        ("mobilenet_v2-8", "MobileNetV2, width 8"),
        ("mine-3", "mine, width 3"),
    ],
)
def test_backbones_are_spelt_as_in_papers(backbone, spelt):
    assert tables.backbone_name(backbone) == spelt


def test_rows_are_named_as_papers_name_them_without_a_width_and_a_step():
    rows = pd.DataFrame(
        {"backbone": ["vgg16-8", "resnet18"], "attack": ["pgd7x2-step2.6-eot3", None], "n": [1, 2]}
    )
    named = tables.as_printed(rows)
    assert named["backbone"].tolist() == ["vgg16", "resnet18"]
    assert named["attack"].fillna("").tolist() == ["pgd7x2-eot3", ""]
