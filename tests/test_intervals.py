"""Intervals against published examples, inverted tests and exact coverage."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from lib import paths, spread
from lib.__main__ import main
from lib.errors import UserError
from lib.intervals import accuracy, difference, select, wilson
from lib.spread import TABLE, Spread, pooled, prior, shrunk


def rows(values, n, seeds=None, **columns):
    seeds = range(len(values)) if seeds is None else seeds
    columns = {"dataset": "d", "metric": "robust_acc", "lam": 1.0} | columns
    return pd.DataFrame({"value": values, "n": n, "seed": list(seeds), **columns})


def scored(*hits, run="one", **columns):
    """Return rows of networks whose right images are given as '0110', one string a seed."""
    values = [100 * bits.count("1") / len(bits) for bits in hits]
    columns |= {"run": [f"{run} {i}" for i in range(len(hits))]}
    return rows(values, len(hits[0]), bits=[f"{int(bits, 2):x}" for bits in hits], **columns)


def spread_of(variance, df, ends="+", total=50.0):
    return Spread(pd.DataFrame([("d", "robust_acc", ends, variance, df, total)], columns=TABLE))


# Newcombe 1998a, table I, method 3
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_agrees_with_the_published_examples(successes, n, low, high):
    np.testing.assert_allclose(wilson(successes, n), (100 * low, 100 * high), atol=0.006)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5000), st.data())
def test_the_ends_of_wilson_are_where_the_score_test_just_rejects(n, data):
    successes = data.draw(st.integers(0, n))
    for end in wilson(successes, n):
        p = end / 100
        error = abs(successes / n - p)
        assert error == pytest.approx(1.96 * math.sqrt(p * (1 - p) / n), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 2000), st.data())
def test_wilson_mirrors_and_takes_counts_and_fractions_alike(n, data):
    successes = data.draw(st.integers(0, n))
    low, high = wilson(successes, n)
    assert 0 <= low <= 100 * successes / n + 1e-9
    assert 100 * successes / n - 1e-9 <= high <= 100
    np.testing.assert_allclose(wilson(successes / n, n), (low, high))
    np.testing.assert_allclose(wilson(n - successes, n), (100 - high, 100 - low), atol=1e-9)


def test_one_success_is_not_the_fraction_one():
    assert wilson(1, 50)[1] < 15
    assert wilson(1.0, 50)[0] > 90


def test_wilson_touches_the_end_only_when_all_or_none_succeed():
    assert wilson(0, 40)[0] == 0 and wilson(0, 40)[1] > 5
    assert wilson(40, 40)[1] == 100 and wilson(40, 40)[0] < 95


@pytest.mark.parametrize("n", [0, -3, float("nan"), 2.5])
def test_wilson_refuses_an_impossible_number_of_images(n):
    with pytest.raises(UserError, match="at least one image"):
        wilson(0.5, n)


@pytest.mark.parametrize("successes", [-1, 11, 1.2, -0.1, float("nan")])
def test_wilson_refuses_more_successes_than_images(successes):
    with pytest.raises(UserError, match="must be"):
        wilson(successes, 10)


def test_equal_seeds_add_nothing_and_spread_seeds_widen_the_interval():
    one = accuracy(rows([80.0], 1000))
    same = accuracy(rows([80.0, 80.0, 80.0], 1000))
    wide = accuracy(rows([78.0, 80.0, 82.0], 1000))
    assert (one.low, one.high) == (same.low, same.high) == wilson(0.8, 1000)
    assert wide.low < same.low and wide.high > same.high
    assert same.known and not one.known


def test_many_images_leave_the_textbook_t_interval_of_the_seeds():
    estimate = accuracy(rows([70.0, 72.0, 74.0, 76.0], 10**9))
    half = 3.182446 * np.std([70, 72, 74, 76], ddof=1) / 2  # t, 3 degrees of freedom
    assert estimate.high - estimate.value == pytest.approx(half, rel=1e-3)
    welch = difference(rows([70.0, 72.0, 74.0], 10**9), rows([60.0, 62.0, 64.0], 10**9))
    half = 2.776445 * math.sqrt(2 * 4 / 3)  # equal variances and sizes: 4 degrees of freedom
    assert welch.high - welch.value == pytest.approx(half, rel=1e-3)


def test_only_the_part_of_the_seeds_is_students():
    found = difference(rows([70.0, 72.0, 74.0], 500), rows([60.0, 62.0, 64.0], 500))
    images = sum(1e4 * p * (1 - p) / 500 for p in (shrunk(72, 500), shrunk(62, 500)))
    half = math.hypot(1.959964 * math.sqrt(images), 2.776445 * math.sqrt(2 * 4 / 3))
    assert found.high - found.value == pytest.approx(half)
    assert (found.p_below(found.high), found.p_above(found.low)) == pytest.approx((0.025, 0.025))


def test_several_draws_of_noise_are_one_answer_of_each_image():
    texts = ("110010", "100011")
    one = scored(texts[0], run="a").assign(bits=" ".join(f"{int(t, 2):x}" for t in texts))
    gaps = np.array([1.0, 0.5, 0.0, 0.0, 1.0, 0.5])
    wanted = 1e4 * (((gaps - gaps.mean()) ** 2).sum() + 2) / (6 + 2) ** 2
    assert difference(one, scored("000000", run="b")).images == pytest.approx(wanted)


def test_images_that_are_compared_one_by_one_count_only_where_they_differ():
    rng = np.random.default_rng(0)
    a = rng.random(400) < 0.6
    b = a ^ (rng.random(400) < 0.1)
    text = ("".join(str(int(hit)) for hit in hits) for hits in (a, b))
    one, other = scored(next(text), run="a"), scored(next(text), run="b")
    won, lost = int((a & ~b).sum()), int((b & ~a).sum())
    p, q = (won + 1) / 402, (lost + 1) / 402  # Bonett and Price 2012
    wanted = 1.959964 * 100 * math.sqrt((p + q - (p - q) ** 2) / 402)
    paired = difference(one, other)
    assert paired.value == pytest.approx(100 * (won - lost) / 400)
    assert paired.high - paired.value == pytest.approx(wanted, rel=0.02)
    apart = difference(one.drop(columns="bits"), other.drop(columns="bits"))
    assert apart.high - apart.value > 2 * wanted


def test_no_difference_between_images_is_certain():
    alike = difference(scored("1" * 50), scored("1" * 50, run="two"))
    assert alike.value == 0 and alike.low < -2 and alike.high > 2


def test_a_known_spread_counts_for_a_single_seed_and_moderates_that_of_several():
    spread = spread_of(0.04, 12)
    found = difference(rows([70.0], 10**9), rows([60.0], 10**9), spread)
    parts = [0.04 * (100 * p * (1 - p)) ** 2 for p in (0.7, 0.6)]
    df = sum(parts) ** 2 / sum(part**2 / 12 for part in parts)
    half = stats.t.ppf(0.975, df) * math.sqrt(sum(parts))
    assert found.known and found.high - found.value == pytest.approx(half, rel=1e-3)
    variance, df, _ = spread.level(rows([70.0] * 3, 10**9))
    assert variance == pytest.approx(12 / 14 * parts[0], rel=1e-3) and df == 14
    assert not difference(rows([70.0], 100), rows([60.0], 100)).known


def test_a_network_that_spreads_significantly_more_than_the_others_is_not_moderated():
    for step, uneven in ((1.0, False), (7.7, False), (8.1, True)):
        values = [50 - step, 50.0, 50 + step]
        own = np.var(special.logit(np.array(values) / 100), ddof=1)
        variance, df, _ = spread_of(0.0256, 12).level(rows(values, 10**9))
        assert (stats.f.sf(own / 0.0256, 2, 12) < 0.05) == uneven
        wanted = own if uneven else (12 * 0.0256 + 2 * own) / 14
        assert variance == pytest.approx(wanted * 25.0**2, rel=1e-3) and df == 14


def test_one_network_twice_is_widened_only_by_the_spread_of_its_changes():
    names = {"run": ["a", "b", "c"]}
    a, b = rows([90.0, 60.0, 40.0], 10**9, **names), rows([82.0, 50.0, 28.0], 10**9, **names)
    own = difference(a, b)
    low, _ = stats.t.interval(0.95, 2, loc=10, scale=stats.sem([8.0, 10.0, 12.0]))
    assert own.low == pytest.approx(low, abs=0.01)
    known = difference(a, b, spread_of(9.0, 20, "+ +"))
    half = stats.t.ppf(0.975, 22) * math.sqrt((20 * 9 + 2 * 4) / 22 / 3)
    assert known.high - known.value == pytest.approx(half, rel=1e-3)
    single = [part[part["seed"] == 0] for part in (a, b)]
    bound = difference(*single, spread_of(0.04, 12))  # of accuracies only
    apart = difference(*(part.drop(columns="run") for part in single), spread_of(0.04, 12))
    assert bound == apart and bound.known
    both = Spread(pd.concat([spread_of(0.04, 12).table, spread_of(900.0, 12, "+ +").table]))
    made = [part.assign(made=name) for part, name in zip(single, "xy", strict=True)]
    assert difference(*single, both).high > apart.high
    assert difference(*made, both) == apart  # of a conversion: changes of trade-offs say nothing
    assert difference(*made, spread_of(9.0, 12, "made")).df == 12


def test_changes_by_a_conversion_are_pooled_over_what_was_converted():
    start = rows([50.0, 56.0, 53.0], 1000, run=list("abc"), backbone="b", attack="pgd7")
    start = start.assign(made=start["run"], method="dense")
    parts = [
        start.assign(made=[f"{m} {i}" for i in "abc"], method=m, value=start["value"] - lost)
        for m, lost in (("mild", [1.0, 2.0, 3.0]), ("strong", [2.0, 6.0, 10.0]))
    ]
    every = pd.concat([start, *parts, start.assign(method="twice")])
    table = pooled(every).set_index("ends")
    assert table.loc["made", "variance"] == pytest.approx((1 + 16) / 2)
    assert table.loc["made", "total"] == 4
    found = difference(start, parts[0], Spread(pooled(pd.concat([start, parts[0]]))))
    assert (found.value, found.df, found.seeds) == (2, 2, pytest.approx(1 / 3))


def test_pooling_counts_a_network_once_at_each_end_and_its_changes_apart():
    names = {"run": ["a", "b", "c"], "backbone": "b", "method": "m", "attack": "pgd7"}
    half = rows([10.0, 12.0, 17.0], 1000, **names).assign(lam=0.5)
    whole = rows([20.0, 26.0, 23.0], 1000, **names)
    clean = rows([50.0, 52.0, 54.0], 1000, **names).assign(lam=0.0)
    table = pooled(pd.concat([half, whole, clean])).set_index("ends")
    logits = [np.var(special.logit(shrunk(part["value"], 1000)), ddof=1) for part in (half, whole)]
    assert table.loc["+", "variance"] == pytest.approx(np.mean(logits))
    assert (table[["df", "total"]] == 2).all(axis=None)
    assert table.loc["+ +", "variance"] == pytest.approx(np.var([10, 14, 6], ddof=1))
    assert pooled(half[half["seed"] == 0]).empty
    more = [part.assign(method=f"m {i}") for i, part in enumerate((whole, half, clean))]
    again = pooled(pd.concat([half, whole, clean, *more])).set_index("ends")  # other labels
    assert (again["total"] == 2).all() and (again["df"] == 2).all()
    other = whole.assign(run=["d", "e", "f"], method="n")
    assert pooled(pd.concat([whole, other])).set_index("ends").loc["+", "total"] == 4


@pytest.mark.parametrize(("alike", "low", "high"), [(6.0, 4.0, 9.0), (math.inf, 60.0, 4001.0)])
def test_how_alike_networks_are_is_found_from_their_variances(alike, low, high):
    rng, networks, df = np.random.default_rng(1), 2000, 2.0
    own = 0.3 * (alike / rng.chisquare(alike, networks) if math.isfinite(alike) else 1.0)
    variances = own * rng.chisquare(df, networks) / df
    variance, found = prior(variances, np.full(networks, df))
    assert low < found < high and variance == pytest.approx(0.3, rel=0.1)


def test_of_two_spreads_that_of_more_trainings_is_taken():
    both = pd.concat([spread_of(1.0, 6, total=6).table, spread_of(4.0, 3, total=18).table])
    assert Spread(both).level(rows([50.0], 10**9)) == (pytest.approx(4 * 25.0**2), 3.0, 18.0)


def test_the_recorded_spread_is_what_the_records_of_the_repository_tell(tmp_path, monkeypatch):
    then = spread.FOLDER
    monkeypatch.setattr(spread, "FOLDER", tmp_path)
    monkeypatch.setattr(paths, "RESULTS", paths.ROOT / "results")
    assert main(["spread"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"cifar.csv", "quick.csv"}
    for now in tmp_path.iterdir():
        pd.testing.assert_frame_equal(pd.read_csv(now), pd.read_csv(then / now.name), rtol=1e-3)


def test_seeds_count_once_though_they_are_in_the_spread_that_moderates_them():
    names = {"backbone": "b", "attack": "pgd7"}
    a, b = (
        rows(values, 10**9, run=[f"{method} {i}" for i in range(3)], method=method, **names)
        for method, values in (("a", [50.1, 50.3, 50.5]), ("b", [49.4, 49.5, 49.7]))
    )
    half = stats.ttest_ind(a["value"], b["value"]).confidence_interval()  # equal variances
    found = difference(a, b, Spread(pooled(pd.concat([a, b]))))
    assert (found.low, found.high) == pytest.approx(tuple(half), rel=1e-2) and found.df == 4
    later = a.assign(value=[49.7, 50.4, 50.0], lam=0.5)[::-1]  # of the same networks
    half = stats.ttest_rel(a["value"], later.sort_values("seed")["value"]).confidence_interval()
    found = difference(a, later, Spread(pooled(pd.concat([a, later[::-1]]))))
    assert (found.low, found.high) == pytest.approx(tuple(half), rel=1e-3) and found.df == 2


def test_two_readings_of_one_network_differ_as_its_ends_do():
    parts = [spread_of(variance, 9, ends).table for variance, ends in ((1.0, "+ +"), (25.0, "0 +"))]
    one = rows([60.0], 10**9, run=["a"], method="as trained")
    other = rows([50.0], 10**9, run=["a"], method="with other batch norms")
    spread = Spread(pd.concat(parts))
    assert difference(one, other, spread).seeds == pytest.approx(25)
    assert difference(one, other.assign(method="as trained"), spread).seeds == pytest.approx(1)


def test_p_values_are_those_of_the_t_test():
    found = difference(rows([70.0, 73.0, 74.0], 10**9), rows([60.0, 62.0, 64.0], 10**9))
    wanted = stats.ttest_ind([70, 73, 74], [60, 62, 64], equal_var=False, alternative="greater")
    assert found.p_above(0) == pytest.approx(wanted.pvalue, rel=1e-3)
    assert found.p_below(0) == pytest.approx(1 - wanted.pvalue)
    assert found.p_above(found.low) == pytest.approx(0.025, abs=1e-6)
    assert found.p_above(-math.inf) == 0 and found.p_below(math.inf) == 0
    few = accuracy(rows([1.0], 600))  # whose interval reaches further up than down
    assert few.p_above(few.low) == pytest.approx(0.025, rel=1e-3)
    assert few.p_below(few.high) == pytest.approx(0.025, rel=1e-3)


def test_a_difference_of_differences_covers_in_a_simulation_of_seeds_and_images():
    rng, n, hits, trials = np.random.default_rng(5), 600, 0, 300
    means, spreads = (0.5, 0.45, 0.45, 0.2), (0.02, 0.06, 0.03, 0.05)
    truth = 100 * ((0.45 - 0.2) - (0.5 - 0.45))
    for _ in range(trials):
        a, b, c, d = (
            rows(100 * rng.binomial(n, p + sd * rng.standard_normal(3)) / n, n)
            for p, sd in zip(means, spreads, strict=True)
        )
        between = difference(c, d) - difference(a, b)
        hits += between.low <= truth <= between.high
    assert hits / trials >= 0.94


def test_accuracies_without_images_or_with_two_rows_for_a_seed_are_refused():
    with pytest.raises(UserError, match="number of images"):
        accuracy(rows([50.0], float("nan")))
    with pytest.raises(UserError, match="one row for each seed"):
        accuracy(rows([50.0, 60.0], 100, seeds=[0, 0]))
    with pytest.raises(UserError, match="percent"):
        accuracy(rows([101.0], 100))
    with pytest.raises(UserError, match="none was given"):
        accuracy(rows([], 100))


METRICS = pd.DataFrame({"method": ["SMART", "SMART", "OAT"], "lam": [0.0, 1.0, 1.0], "value": 1.0})


def test_select_takes_single_values_and_lists():
    assert len(select(METRICS, method="SMART")) == 2
    assert len(select(METRICS, method=["SMART", "OAT"], lam=1.0)) == 2


def test_select_says_what_there_is_instead():
    with pytest.raises(UserError, match="method = FLOAT; there is OAT, SMART"):
        select(METRICS, method="FLOAT")
    with pytest.raises(UserError, match=r"lam = 0.0; there is 1.0"):
        select(METRICS, method="OAT", lam=0.0)
    with pytest.raises(UserError, match="did you mean 'method'"):
        select(METRICS, methods="OAT")
    with pytest.raises(UserError, match="no measurements"):
        select(METRICS.iloc[:0])
