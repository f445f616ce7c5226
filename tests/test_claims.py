"""Verdicts on both sides of their lines, and the files they go to."""

import subprocess
import sys

import pandas as pd
import pytest

from lib import claims, intervals
from lib.errors import UserError


@pytest.fixture(autouse=True)
def images_only(monkeypatch):
    """Most tests are about the sampling of images: nothing is allowed for a single seed."""
    monkeypatch.setattr(intervals, "SEED_SD", {"clean_acc": 0.0, "robust_acc": 0.0})


def rows(*values, n=1000):
    return pd.DataFrame({"value": values, "n": n, "seed": range(len(values))})


def verdict_greater(a, b, **options):
    return claims.greater("id", "a above b", rows(a), rows(b), **options).verdict


def test_an_analytic_number_is_reproduced_up_to_its_tolerance():
    assert claims.analytic("a", "x", 1.66, 1.6597, 0.01).verdict == "reproduced"
    assert claims.analytic("a", "x", 0.3, 0.1 + 0.2 + 0.01, 0.01).verdict == "reproduced"
    assert claims.analytic("a", "x", 1.66, 1.69, 0.01).verdict == "not reproduced"


def test_a_convention_with_a_caveat_earns_partly_and_is_named():
    claim = claims.analytic(
        "a", "OAT stores 31.4 MB", 31.4, 33.357, 0.1, {"D = 1": 31.404, "D = 64": 32.3}, unit=" MB"
    )
    assert claim.verdict == "partly"
    assert claim.our_value == "31.40 MB (D = 1; else 33.36 MB)"
    assert claim.difference == "+0.004"
    assert claims.analytic("a", "x", 15, 10, 1, {"y": 12.0}).verdict == "not reproduced"
    assert claims.analytic("a", "x", 15, 10, 1, {"y": 12.0}).our_value == "10.00"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (21.282122, "21.28"), (0.53579, "0.5358"), (33355466, "33355466")]
)
def test_numbers_keep_four_digits_and_no_exponent(value, text):
    assert claims.analytic("a", "x", value, value, 0).our_value == text


def test_an_order_is_judged_by_the_whole_interval():
    assert verdict_greater(90.0, 50.0) == "reproduced"
    assert verdict_greater(50.0, 90.0) == "not reproduced"
    assert verdict_greater(50.0, 49.5) == "not judged"
    assert verdict_greater(50.0, 50.0) == "not judged"


def test_a_gap_in_the_right_direction_but_too_small_is_partly_reproduced():
    assert verdict_greater(60.0, 50.0, paper_gap=40.0, size=0.5) == "partly"
    assert verdict_greater(80.0, 50.0, paper_gap=40.0, size=0.5) == "reproduced"
    assert verdict_greater(40.0, 50.0, paper_gap=40.0, size=0.5) == "not reproduced"
    assert verdict_greater(60.0, 50.0, paper_gap=40.0) == "reproduced"
    with pytest.raises(UserError, match="paper_gap"):
        verdict_greater(60.0, 50.0, size=0.5)


def test_the_interval_can_be_read_in_the_difference():
    claim = claims.greater("id", "a above b", rows(89.0), rows(47.8), paper_gap=41.4)
    assert claim.paper_value == "+41.40"
    assert claim.our_value == "89.0 vs 47.8"
    assert claim.difference.startswith("+41.2 [3")
    assert claim.tolerance == "interval above 0"


def test_equivalence_needs_the_interval_inside_the_margin():
    def verdict(a, b, n):
        return claims.similar("id", "a like b", rows(a, n=n), rows(b, n=n), 2.0).verdict

    assert verdict(80.0, 80.5, 10_000) == "reproduced"
    assert verdict(80.0, 80.5, 100) == "not judged"
    assert verdict(80.0, 90.0, 10_000) == "not reproduced"
    assert verdict(90.0, 80.0, 10_000) == "not reproduced"


def test_not_worse_looks_at_one_side_only():
    def verdict(a, b):
        return claims.no_worse("id", "a", rows(a, n=10_000), rows(b, n=10_000), 1.5).verdict

    assert verdict(90.0, 80.0) == "reproduced"
    assert verdict(80.0, 80.0) == "reproduced"
    assert verdict(80.0, 81.5) == "not judged"
    assert verdict(80.0, 85.0) == "not reproduced"


def test_a_difference_is_larger_than_another_if_all_of_the_interval_between_them_says_so():
    def verdict(gap, other, **options):
        return claims.larger("id", "gap above other", gap, other, **options).verdict

    wide, narrow = claims.Estimate(20.0, 12.0, 28.0), claims.Estimate(2.0, -4.0, 8.0)
    assert verdict(wide, narrow) == "reproduced"  # 18, half-width 10 of 8 and 6
    assert verdict(narrow, wide) == "not reproduced"
    assert verdict(wide, claims.Estimate(11.0, 5.0, 17.0)) == "not judged"
    assert verdict(wide, narrow, judge=False) == "not judged"
    claim = claims.larger("id", "gap above other", wide, narrow)
    assert (claim.our_value, claim.difference) == ("+20.0 vs +2.0", "+18.0 [8.0, 28.0]")
    assert claim.paper_value == "> 0"


def test_a_value_is_close_if_its_interval_is():
    def verdict(value, n):
        return claims.close_to("id", "a", rows(value, n=n), 89.04, 1.5).verdict

    assert verdict(89.0, 10_000) == "reproduced"
    assert verdict(89.0, 200) == "not judged"
    assert verdict(80.0, 10_000) == "not reproduced"


def test_spread_seeds_take_a_verdict_away():
    steady = claims.greater("id", "a", rows(60.0, 60.0), rows(50.0, 50.0)).verdict
    shaky = claims.greater("id", "a", rows(50.0, 70.0), rows(50.0, 50.0)).verdict
    assert (steady, shaky) == ("reproduced", "not judged")


def test_a_share_of_cases_is_reproduced_partly_or_not():
    got = [claims.share("id", "layers", hits, 12).verdict for hits in (12, 6, 5)]
    assert got == ["reproduced", "partly", "not reproduced"]
    assert claims.share("id", "layers", 9, 12, need=0.75).verdict == "reproduced"
    with pytest.raises(UserError, match="cases"):
        claims.share("id", "layers", 0, 0)


def test_a_preset_without_statistical_power_judges_nothing():
    a, b = rows(99.0), rows(1.0)
    got = [
        claims.greater("1", "x", a, b, judge=False),
        claims.similar("2", "x", a, a, 50.0, judge=False),
        claims.no_worse("3", "x", a, b, 1.0, judge=False),
        claims.close_to("4", "x", a, 99.0, 50.0, judge=False),
        claims.share("5", "x", 1, 1, judge=False),
    ]
    assert {claim.verdict for claim in got} == {"not judged"}
    assert all(claim.difference for claim in got)


def two_claims():
    return claims.table(
        [
            claims.analytic("float-params", "ResNet-34 | parameters", 21.28, 21.282, 0.01),
            claims.greater("order", "SMART above OAT, FLOAT", rows(60.0), rows(50.0)),
        ]
    )


def test_the_table_has_the_agreed_columns_and_comes_back_from_disk(tmp_path):
    table, path = two_claims(), tmp_path / "claims.csv"
    table.to_csv(path, index=False)
    header = path.read_text().splitlines()[0]
    assert header == "id,claim,kind,paper_value,our_value,difference,tolerance,verdict,why"
    pd.testing.assert_frame_equal(claims.read(path), table.astype(object), check_dtype=False)


def test_counts_follow_the_order_of_the_verdicts():
    assert list(claims.counts(two_claims()).items()) == [
        ("reproduced", 2),
        ("partly", 0),
        ("not reproduced", 0),
        ("not judged", 0),
    ]


def test_bars_in_a_claim_do_not_break_the_markdown_table():
    lines = claims.to_markdown(two_claims(), ["claim", "verdict"]).splitlines()
    assert lines[0] == "| claim | verdict |"
    assert lines[2] == "| ResNet-34 \\| parameters | reproduced |"
    assert len(lines) == 4


def test_damaged_or_missing_files_are_refused(tmp_path):
    path = tmp_path / "claims.csv"
    with pytest.raises(UserError, match="no claims"):
        claims.read(path)
    for content in (b"", b"id,claim\n1,2\n", b"\xff\xfe\x00", b'id,"x\n'):
        path.write_bytes(content)
        with pytest.raises(UserError, match="remake it"):
            claims.read(path)
    two_claims().assign(verdict="maybe").to_csv(path, index=False)
    with pytest.raises(UserError, match="remake it"):
        claims.read(path)


def test_words_outside_the_vocabulary_and_doubled_ids_are_refused():
    with pytest.raises(UserError, match="did you mean 'reproduced'"):
        claims.Claim("a", "b", "measured", "", "", "", "", "reproducd")
    with pytest.raises(UserError, match="kind of claim"):
        claims.Claim("a", "b", "guessed", "", "", "", "", "partly")
    with pytest.raises(UserError, match="occurs twice"):
        claims.table([claims.analytic("a", "x", 1, 1, 0)] * 2)


def test_claims_need_no_torch():
    code = "import sys, lib.claims, lib.published, lib.studies; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def ratio(value, low, high, **options):
    return claims.ratio("id", "a takes longer", intervals.Estimate(value, low, high), **options)


def test_a_ratio_is_judged_by_the_whole_interval():
    assert ratio(1.5, 1.4, 1.6).verdict == "reproduced"
    assert ratio(1.1, 0.9, 1.3).verdict == "not judged"
    assert ratio(0.8, 0.7, 0.9).verdict == "not reproduced"
    assert ratio(1.5, 1.4, 1.6, judge=False).verdict == "not judged"


def test_a_ratio_on_the_right_side_but_below_what_was_printed_is_partly_reproduced():
    assert ratio(1.2, 1.1, 1.3, paper=1.43).verdict == "partly"
    assert ratio(1.5, 1.4, 1.6, paper=1.43).verdict == "reproduced"
    assert ratio(1.1, 0.9, 1.3, paper=1.43).verdict == "not judged"
    assert ratio(0.8, 0.7, 0.9, paper=1.43).verdict == "not reproduced"


def test_a_ratio_may_have_a_largest_value():
    assert ratio(1.05, 0.9, 1.09, above=0, below=1.1).verdict == "reproduced"
    assert ratio(1.05, 0.9, 1.2, above=0, below=1.1).verdict == "not judged"
    assert ratio(1.3, 1.2, 1.4, above=0, below=1.1).verdict == "not reproduced"


def test_the_row_of_a_ratio_says_what_it_was_held_against():
    claim = ratio(1.5, 1.4, 1.65, paper=1.43)
    assert claim.paper_value == "up to 1.43x" and claim.our_value == "1.50x [1.40, 1.65]"
    assert claim.difference == "+0.07 [-0.03, +0.22]"
    assert claim.tolerance == "interval above 1, at least 1.43"
    bounded = ratio(1.05, 0.9, 1.09, above=0, below=1.1)
    assert bounded.paper_value == "< 1.1x" and bounded.tolerance == "interval below 1.1"
