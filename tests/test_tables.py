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


def test_protocols_lists_each_way_of_scoring_once():
    found = tables.protocols(smart.table2_comparison("cifar"))
    assert found["attack"].tolist() == ["none (clean)", "pgd7", "pgd20"]
    assert found["steps"].tolist() == ["", 7, 20]
    assert found["ε, 1/255"].tolist() == ["", "8", "8"]
    assert found["step, 1/255"].tolist() == ["", "1.43", "1.43"]
    assert set(found["λ"]) == {"0, 1"}


def test_protocols_list_pgd_at_under_the_trade_offs_it_was_trained_for():
    found = tables.protocols(float_.fig10_other_attacks("ci")).set_index("attack")
    draws = found.loc["aa-rand"].set_index("draws of noise per gradient")["λ"]
    assert draws.to_dict() == {1: "0.2, 0.7, 1", 2: "0.2, 0.7, 1"}  # PGD-AT and FLOAT
    assert found.loc["aa", "λ"] == "0"


def test_networks_lists_each_network_once():
    study = smart.fig4_lambda_sweep("ci", seeds=(0, 1))
    history = pd.DataFrame({"loss": [2.0, 1.23456]})
    runs = {key: SimpleNamespace(history=history, info={"seconds": 1.5}) for key in study.recipes}
    found = tables.networks(study, runs)
    assert len(found) == len(study.recipes) == 10 and found["run"].is_unique
    assert found["training λ"].tolist() == [0.0, 0.2, 0.7, 1.0, ""] * 2
    assert set(found["last loss"]) == {1.235}
    only = smart.fig3_bn_statistics("ci")
    assert "training λ" not in tables.networks(only, {k: runs_of(history) for k in only.recipes})


def runs_of(history):
    return SimpleNamespace(history=history, info={"seconds": 0.0})


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
    )
    job = Job("FLOAT", smart.table2_comparison("ci").find("FLOAT").recipe, ways)
    found = tables.protocols(SimpleNamespace(jobs=[job]))
    assert found["attack"].tolist() == ["aa", "aa-rand", "pgd7"]
    assert found["AutoAttack"].tolist() == ["standard", "rand", ""]
    assert found["steps"].tolist() == [20, 20, 7]
    assert found["step, 1/255"].tolist() == ["", "", "1.43"]
    assert found["draws of noise per gradient"].tolist() == [1, 5, 1]
    assert found["queries"].tolist() == [200, "", ""]
    assert found["slimming factor"].tolist() == ["", "", 0.5]
    assert "AutoAttack" not in tables.protocols(smart.table2_comparison("cifar"))


NONE = "No attack of more steps leaves more images right than one of fewer"


def robust_rows(**accuracies):
    rows = [
        {"method": "A", "lam": 0.2, "attack": attack.replace("_", "-"), "value": value, "n": 500}
        for attack, value in accuracies.items()
    ]
    return pd.DataFrame(rows).assign(metric="robust_acc", seed=0)


def test_an_attack_of_more_steps_that_does_less_is_said_to_be_a_warning():
    good = robust_rows(fgsm=50.0, pgd7=45.0, pgd20=45.0, aa_rand=30.0)
    assert tables.weaker(good) == NONE + "."
    stuck = tables.weaker(robust_rows(fgsm=40.0, pgd7=45.0, pgd20=61.0))
    assert "can be a sign" in stuck and stuck.count("\n- A under ") == 2
    assert "- A under PGD-20 and FGSM: 61.0 and 40.0 % at λ = 0.2" in stuck
    assert "- A under PGD-20 and PGD-7: 61.0 and 45.0 % at λ = 0.2" in stuck
    assert "AutoAttack" in tables.weaker(robust_rows(pgd20=5.0, aa=16.0))


def test_more_images_left_right_by_chance_are_counted_but_are_no_warning():
    # of 500 images, 45 and 50 % are 1.6 standard errors apart, 45 and 61 % more than 5
    one = tables.weaker(robust_rows(fgsm=45.0, pgd7=50.0))
    assert (
        one == f"{NONE}, but for 1 difference whose 95 % interval reaches 0, which may be chance."
    )
    both = tables.weaker(robust_rows(fgsm=40.0, pgd7=45.0, pgd20=61.0))
    assert "Not listed: 1 difference whose 95 % interval reaches 0, which may be chance." in both
    sure = tables.weaker(robust_rows(fgsm=45.0, pgd7=50.0).assign(n=50_000))
    assert "- A under PGD-7 and FGSM: 50.0 and 45.0 %" in sure and "Not listed" not in sure


def test_attacks_on_other_numbers_of_images_are_compared_with_a_reservation():
    rows = robust_rows(fgsm=50.0, pgd20=71.0)
    assert "may be the reason" not in tables.weaker(rows)
    few = tables.weaker(rows.assign(n=rows["attack"].map({"fgsm": 2000, "pgd20": 500})))
    assert "(on 500 and 2000 images)" in few and "these may be the reason" in few


def test_attacks_of_as_many_steps_and_clean_images_are_not_compared():
    rows = pd.concat([robust_rows(pgd20=40.0), robust_rows(**{"pgd20-step3.4": 60.0})])
    clean = rows.assign(metric="clean_acc", attack="fgsm", value=1.0)
    assert tables.weaker(pd.concat([rows, clean])) == NONE + "."


def test_seeds_are_averaged_before_attacks_are_compared():
    one = robust_rows(fgsm=50.0, pgd7=70.0)
    two = robust_rows(fgsm=50.0, pgd7=30.0).assign(seed=1)
    assert "**more**" in tables.weaker(one)
    assert tables.weaker(pd.concat([one, two])) == NONE + "."


def judged(preset="quick", **overrides):
    overrides = {name.replace("_", "."): value for name, value in overrides.items()}
    study = smart.table1_mask_density(preset, [0], overrides)
    rows = [{"id": "a", "claim": "A above B", "verdict": "not judged", "why": "one seed"}]
    rows.append({"id": "n", "claim": "a count", "verdict": "reproduced"})
    return tables.verdicts(study, claims.table(rows))


def test_verdicts_open_with_how_many_there_are_of_each():
    text = judged()
    assert text.startswith("2 claims: 1 reproduced, 1 not judged.")
    assert "| claim | paper value | our value | difference | verdict | why |" in text
    assert text.count("\n|") == 4


def test_overrides_and_small_presets_say_once_why_nothing_measured_is_judged():
    text = judged(train_epochs=1, evaluation_images=50, method_density=0.4)
    assert text.count("evaluation.images, train.epochs") == 1 and "method.density" not in text
    assert "the preset ci is too small" in judged("ci")


@pytest.mark.parametrize(
    ("backbone", "spelt"),
    [
        ("wrn16_8-1", "WRN-16-8, width 1"),
        ("wrn40_2", "WRN-40-2"),
        ("resnet18-8", "ResNet-18, width 8"),
        ("mine-3", "mine, width 3"),
    ],
)
def test_backbones_are_spelt_as_in_papers(backbone, spelt):
    assert tables.backbone_name(backbone) == spelt
