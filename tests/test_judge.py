"""Simulated worlds: how often each kind of claim gets a false verdict, and how often a true one."""

import dataclasses
import functools
import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit

from lib import compare, judge, spread

WORLDS = 100
HARD = 1.5  # standard deviation of how hard images are, in logits
SEEDS = 0.1  # and of how well trainings turn out: about 2 points
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
VERDICTS = ("reproduced", "not reproduced", "not judged")
EQUAL = {("a", 1.0): 50.0, ("b", 1.0): 50.0}


def claim(test, a="a", b="b", lam_a="1", lam_b="", value=math.nan, limit=math.nan, **rest):
    blank = dict.fromkeys(("attack", "each", "some", "unit", "why_not"), "")
    named = {"id": "one", "claim": "", "kind": "measured", "metric": "robust_acc"}
    sides = {"a": a, "b": b, "lam_a": lam_a, "lam_b": lam_b}
    return blank | named | sides | {"test": test, "value": value, "limit": limit} | rest


@functools.cache
def base(percent):
    """Return the logit at which a network is right for so many images, over seeds as well."""
    wide = math.hypot(HARD, SEEDS)
    p = percent / 100
    return brentq(lambda x: expit(x + wide * NODES) @ WEIGHTS / WEIGHTS.sum() - p, -9, 9)


def world(truth, rng, seeds=3, n=300):
    """Return measured rows; truth maps (method, lam) to the expected accuracy in percent.

    Half of what a seed does to a network it does at all of its trade-offs.
    """
    hard, rows, luck = rng.normal(0, HARD, n), [], {}
    for (method, lam), percent in truth.items():
        for seed in range(seeds):
            run = f"{method} {seed}"
            shared = luck.setdefault(run, rng.normal(0, SEEDS))
            off = (shared + rng.normal(0, SEEDS)) / math.sqrt(2)
            right = rng.random(n) < expit(base(percent) + off + hard)
            bits = f"{int.from_bytes(np.packbits(right).tobytes()) >> -n % 8:x}"
            rows.append((method, seed, lam, 100 * right.mean(), run, bits))
    frame = pd.DataFrame(rows, columns=["method", "seed", "lam", "value", "run", "bits"])
    return frame.assign(dataset="d", backbone="b", attack="pgd7", metric="robust_acc", n=n)


def known(rng, df):
    """Return a spread as it is estimated with so many degrees of freedom; None: not known."""
    if df is None:
        return spread.Spread(pd.DataFrame(columns=spread.TABLE))
    rows = [
        ("d", "robust_acc", ends, variance * rng.chisquare(df) / df, df, df)
        for ends, variance in (("0", LOGITS), ("+", LOGITS), ("0 +", POINTS), ("+ +", POINTS))
    ]
    return spread.Spread(pd.DataFrame(rows, columns=spread.TABLE))


def measured_spread():
    """Return the true variances, in logits of an accuracy and in points of a change, near 50 %."""
    rows = world({("a", 0.0): 50.0, ("a", 1.0): 50.0}, np.random.default_rng(5), seeds=400)
    table = spread.pooled(rows).set_index("ends")["variance"]
    return table["+"], table["0 +"]


LOGITS, POINTS = measured_spread()


def judged(claims, truth, seeds=3, n=300, df=20, worlds=WORLDS):
    """Return in which share of the worlds each verdict falls on any of the claims."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(worlds):
        rows = world(truth, rng, seeds, n)
        table = spread.Spread(spread.pooled(rows)) if df == "own" else known(rng, df)
        cases = [compare.compared(one, rows, table) for one in claims]
        found.append({row["verdict"] for row in judge.decided(claims, cases)})
    return {verdict: sum(verdict in one for one in found) / worlds for verdict in VERDICTS}


@pytest.mark.parametrize(
    ("one", "gap", "wrong"),
    [
        (claim("above"), 0.0, "reproduced"),
        (claim("above"), 2.0, "not reproduced"),
        (claim("size", value=20.0, limit=0.25), 5.0, "reproduced"),
        (claim("size", value=20.0, limit=0.25), 6.0, "not reproduced"),
        (claim("no worse", limit=2.0), -2.0, "reproduced"),
        (claim("no worse", limit=2.0), -1.0, "not reproduced"),
        (claim("same", limit=6.0), 6.0, "reproduced"),
        (claim("same", limit=6.0), 5.0, "not reproduced"),
        (claim("close", value=50.0, limit=6.0), 6.0, "reproduced"),
        (claim("close", value=50.0, limit=6.0), 5.0, "not reproduced"),
        (claim("moves", limit=4.0), 0.0, "reproduced"),
        (claim("moves", limit=4.0), 5.0, "not reproduced"),
    ],
    ids=lambda value: value["test"] if isinstance(value, dict) else str(value),
)
def test_a_false_verdict_falls_in_five_of_a_hundred_worlds_at_most(one, gap, wrong):
    assert judged([one], EQUAL | {("a", 1.0): 50.0 + gap})[wrong] <= 0.05


@pytest.mark.parametrize("seeds", [3, 10])
def test_a_large_gap_that_is_not_there_is_refuted(seeds):
    one = claim("size", value=41.88, limit=0.25)
    assert judged([one], EQUAL, seeds, worlds=60)["not reproduced"] >= 0.95


@pytest.mark.parametrize(("paper", "held"), [(42.0, "holds"), (90.0, "does not hold")])
def test_beside_a_verdict_stands_whether_the_interval_holds_the_papers_number(paper, held):
    rows = world(EQUAL | {("a", 1.0): 92.0}, np.random.default_rng(0))
    found = compare.compared(claim("size", value=paper, limit=0.25), rows, known(None, None))
    assert found.tolerance == f"interval above {paper / 4:.1f}; {held} the paper's"


def test_both_sides_of_a_comparison_met_the_same_attack():
    rows = world(EQUAL, np.random.default_rng(0))
    harder = rows[rows["method"] == "b"].assign(attack="standard", value=0.0, bits="0")
    rows = pd.concat([harder, rows])  # a met only pgd7, b another first
    assert " vs 0.0" not in compare.compared(claim("above"), rows, known(None, None)).ours


def test_a_gap_is_found_where_the_design_can_show_it():
    assert judged([claim("above")], EQUAL | {("a", 1.0): 60.0}, worlds=40)["reproduced"] >= 0.9


def test_without_any_second_seed_nothing_between_networks_is_judged():
    truth = EQUAL | {("a", 1.0): 70.0}
    assert judged([claim("above")], truth, seeds=1, df=None, worlds=10)["not judged"] == 1
    assert judged([claim("above")], truth, seeds=1, df=20, worlds=20)["reproduced"] == 1


def test_the_widest_of_all_pairs_is_not_judged_as_if_it_had_been_chosen_before():
    truth = {(name, 1.0): 50.0 for name in "abcd"}
    any_pair = claim("above", a="", b="", lam_a="", some="lam")
    assert judged([any_pair], truth, worlds=40)["reproduced"] <= 0.05
    assert judged([any_pair], truth | {("c", 1.0): 66.0}, worlds=10)["reproduced"] >= 0.9


def test_a_sentence_about_several_cases_needs_all_of_them():
    truth = {(name, lam): 50.0 for name in "ab" for lam in (0.2, 0.7, 1.0)}
    truth |= {("a", 0.2): 65.0, ("a", 0.7): 65.0}
    every = claim("above", lam_a="", each="lam")
    assert judged([every], truth, worlds=60)["reproduced"] <= 0.05
    assert judged([every], truth | {("a", 1.0): 65.0}, worlds=20)["reproduced"] >= 0.9


def test_many_claims_of_one_artifact_share_the_risk_of_a_false_verdict():
    truth = {(name, 1.0): 50.0 for name in "abcdefgh"}
    pairs = "ab", "cd", "ef", "gh", "ac", "bd", "eg", "fh"
    several = [claim("above", a=a, b=b) for a, b in pairs]
    assert judged(several, truth, worlds=40)["reproduced"] <= 0.05


def test_steps_of_one_network_are_compared_with_the_spread_of_its_changes():
    truth = {("a", lam): value for lam, value in ((0.0, 40.0), (0.5, 50.0), (1.0, 60.0))}
    rise = claim("no worse", b="", lam_a="", each="rise", limit=2.0)
    assert judged([rise], truth, worlds=30)["reproduced"] >= 0.9
    falling = truth | {("a", 1.0): 48.0}  # the last step is two points down: on the margin
    assert judged([rise], falling)["reproduced"] <= 0.05


@pytest.mark.parametrize("df", ["own", 6])
def test_a_spread_from_few_seeds_makes_no_more_false_verdicts(df):
    assert judged([claim("above")], EQUAL, df=df)["reproduced"] <= 0.05


@pytest.mark.parametrize(
    ("gap", "seeds", "most", "why", "needs"),
    [
        (3.0, 4.0, 1000, "too few seeds", "9 seeds"),  # 1 + 4 * 3 / 9 < (3 / 1.96) ** 2
        (2.1, 4.0, 9000, "equal to the limit within noise", "12 seeds, 6,800 images"),
        (2.1, 4.0, 1000, "equal to the limit within noise", "more than anyone trains"),
        (1.5, 0.1, 9000, "too few images", "2,100 images"),  # 1 / 2.1 + 0.1 < (1.5 / 1.96) ** 2
    ],
)
def test_an_open_claim_says_why_and_what_would_settle_it(gap, seeds, most, why, needs):
    half = 1.96 * math.sqrt(1 + seeds)
    one = compare.Estimate(gap, gap - half, gap + half, images=1.0, seeds=seeds)
    found = compare.gap(claim("above"), one)
    found = dataclasses.replace(found, seeds=3, images=1000, most=most)
    (row,) = judge.decided([claim("above")], [found])
    assert (row["verdict"], row["why"], row["needs"]) == ("not judged", why, needs)
    assert float(row["least"]) == pytest.approx(half, abs=0.05)


def test_open_claims_share_the_risk_that_is_left_and_what_cannot_be_judged_takes_none():
    def found(gap, known=True):
        one = compare.Estimate(gap, gap - 1.96, gap + 1.96, images=1.0, known=known)
        return dataclasses.replace(compare.gap(claim("above"), one), seeds=3, images=1000)

    cases = [found(9.0), found(2.1), found(2.2), found(9.0, known=False)]
    rows = judge.decided([claim("above")] * 4, cases)
    assert [row["verdict"] for row in rows] == ["reproduced", *["not judged"] * 3]
    assert rows[1]["why"] == "too close for one of 2 comparisons"
    assert float(rows[1]["least"]) == pytest.approx(stats.norm.isf(0.025 / 2), abs=0.05)
    assert (rows[3]["why"][:8], rows[3]["needs"]) == ("one seed", "a second seed")
    assert judge.decided([claim("above")], [found(2.1)])[0]["verdict"] == "reproduced"
    high = compare.ratio(claim("at most", limit=1.2), compare.Estimate(1.26, 1.205, 1.32))
    four = compare.together(claim("at most"), [compare.Found("", p_for=0.0)] * 3 + [high])
    assert "one of 4 comparisons" in judge.decided([claim("at most")], [four])[0]["why"]


def test_a_case_of_one_seed_keeps_a_sentence_about_several_open():
    truth = {(name, lam): 50.0 + 40 * (name == "a") for name in "ab" for lam in (0.0, 1.0)}
    rows, every = world(truth, np.random.default_rng(0)), claim("above", lam_a="", each="lam")
    half = spread.Spread(known(np.random.default_rng(0), 20).table.iloc[:1])  # of lam = 0
    for part, verdict in ((rows, "reproduced"), (rows[rows["seed"] == 0], "not judged")):
        found = compare.compared(every, part, half)
        assert judge.decided([every], [found])[0]["verdict"] == verdict


def test_few_rounds_of_timing_widen_the_p_value_of_a_ratio():
    logs = np.array([0.02, 0.11, 0.05, 0.09])
    wanted = stats.ttest_1samp(logs, 0, alternative="greater").pvalue
    low, high = stats.t.interval(0.95, 3, logs.mean(), stats.sem(logs))
    one = compare.Estimate(*np.exp([logs.mean(), low, high]), df=3)
    assert compare.ratio(claim("ratio", limit=1.0), one).p_for == pytest.approx(wanted)


def test_preset_and_settings_keep_everything_measured_from_a_verdict():
    rows = world(EQUAL, np.random.default_rng(0))
    found = [compare.compared(claim("above"), rows, known(None, None))]
    analytic = claim("reading", kind="analytic", value=2.0, limit=0.1) | {"id": "two"}
    found.append(compare.Found("2", fixed="reproduced"))
    rows = judge.decided([claim("above"), analytic], found, "the preset is too small")
    assert [row["verdict"] for row in rows] == ["not judged", "reproduced"]
    assert rows[0]["why"] == "the preset is too small"


@pytest.mark.parametrize(
    ("low", "value", "high", "paper", "verdict"),
    [
        (1.1, 1.2, 1.3, math.nan, "reproduced"),
        (1.1, 1.2, 1.3, 1.25, "reproduced"),
        (1.1, 1.2, 1.3, 1.5, "partly"),
        (0.9, 1.1, 1.3, 1.2, "not judged"),
        (0.7, 0.8, 0.9, 1.2, "not reproduced"),
    ],
)
def test_up_to_is_judged_by_the_interval_of_a_ratio(low, value, high, paper, verdict):
    one = claim("ratio", value=paper, limit=1.0)
    found = compare.ratio(one, compare.Estimate(value, low, high))
    assert judge.decided([one], [found])[0]["verdict"] == verdict


def test_of_cases_that_are_worked_out_the_least_supported_decides_or_the_best():
    logs, z = {"near": (0.3, 0.1), "wide": (0.4, 0.4)}, np.array([0, -1.96, 1.96])
    given = {n: compare.Estimate(*np.exp(at + z * error)) for n, (at, error) in logs.items()}
    near, wide = (stats.norm.sf((at - math.log(1.1)) / error) for at, error in logs.values())
    cases = {"some": ("best of 2: near", 2 * near, 1 - near)}
    cases["each"] = ("worst of 2: wide", wide, min(1, 2 * (1 - wide)))
    for how, (said, *wanted) in cases.items():
        one = claim("ratio", limit=1.1, **{how: "case"})
        found = judge._found(one, pd.DataFrame(), known(None, None), given)
        assert [found.p_for, found.p_against] == pytest.approx(wanted, rel=1e-3)
        assert said in found.ours


def test_where_every_case_is_clear_the_nearest_is_worst_and_one_that_reaches_the_paper_best():
    ends = {"far": (5, 4, 6), "near": (1.6, 1.5, 1.7), "wide": (12, 9, 15), "all": (12, 1.3, 99)}
    for order, how in itertools.product([1, -1], ("each", "some")):
        given = {n: compare.Estimate(*end) for n, end in [*ends.items()][::order]}
        one = claim("ratio", value=10.0, limit=1.0, **{how: "case"})
        found = judge._found(one, pd.DataFrame(), known(None, None), given)
        assert (found.case, found.weak) == {"each": ("near", True), "some": ("wide", False)}[how]


@pytest.mark.parametrize(
    ("hits", "limit", "verdict"),
    [
        *((10, math.nan, "reproduced"), (9, math.nan, "partly"), (4, math.nan, "not reproduced")),
        *((5, 0.5, "reproduced"), (3, 0.5, "partly"), (2, 0.5, "not reproduced")),
    ],
)
def test_a_count_holds_in_all_cases_or_in_its_share(hits, limit, verdict):
    cases = pd.Series([True] * hits + [False] * (10 - hits))
    assert compare.count(claim("count", limit=limit), cases).fixed == verdict


@pytest.mark.parametrize(
    ("value", "caveats", "verdict"),
    [
        (1.47, {}, "reproduced"),
        (1.5, {"scalar code": 1.475}, "partly"),
        (1.5, {"scalar code": 1.49}, "not reproduced"),
        (None, {}, "not judged"),
    ],
)
def test_a_reading_holds_as_it_is_or_with_a_caveat(value, caveats, verdict):
    one = claim("reading", kind="analytic", value=1.47, limit=0.01)
    found = compare.reading(one, compare.Reading("plain", value, caveats))
    assert found.fixed == verdict


def test_what_a_study_cannot_tell_is_not_judged_and_says_why():
    metrics = world(EQUAL, np.random.default_rng(0))
    found = judge._found(claim("above"), metrics, known(None, None), "no such images here")
    (row,) = judge.decided([claim("above")], [found])
    assert (row["verdict"], row["why"]) == ("not judged", "no such images here")


def test_networks_of_other_backbones_are_compared_where_labels_tell_them_apart():
    rng = np.random.default_rng(0)
    rows = world({("a", 1.0): 80.0, ("b", 1.0): 40.0}, rng)
    rows.loc[rows["method"] == "b", "backbone"] = "c"
    assert compare.compared(claim("above"), rows, known(rng, 30)).p_for < 0.01
