"""SMART's observations under two training loops: the plan, and its claims on known numbers."""

import pandas as pd
import pytest

from lib import published
from lib.errors import UserError
from lib.papers import smart_claims
from lib.presets import PRESETS
from lib.studies import audit, smart

SPARSE, DISJOINT, SHARED = smart_claims.TABLE1
BETWEEN = ["observations-loops-clean", "observations-loops-robust"]


def as_printed(seeds=(0, 1, 2)):
    """Return the paper's Table 1 as if networks of either loop had it, with hardly any noise."""
    table = published.read("smart/table1_mask_density").assign(n=1_000_000)
    return pd.concat(
        table.assign(
            seed=seed, value=table["value"] + 0.01 * seed, method=table["method"] + f", {loop}"
        )
        for loop in audit.LOOPS
        for seed in seeds
    )


def with_sparse_as_good(loop, seeds=(0, 1, 2)):
    """Return the same, but masks everywhere cost networks of one loop nothing at lam = 1."""
    rows = as_printed(seeds)
    rows = rows[~((rows["method"] == f"{SPARSE}, {loop}") & (rows["lam"] == 1))]
    good = rows[(rows["method"] == f"{DISJOINT}, {loop}") & (rows["lam"] == 1)]
    return pd.concat([rows, good.assign(method=f"{SPARSE}, {loop}")])


def verdicts(rows, judge=True):
    return audit.judge_observations(rows, judge).set_index("id")["verdict"]


@pytest.mark.parametrize("preset", PRESETS)
def test_half_of_the_networks_are_those_of_table_1_and_half_differ_by_their_loop(preset):
    table1, study = (
        plan(preset, [0, 1]) for plan in (smart.table1_mask_density, audit.observations)
    )
    assert len({job.label for job in study.jobs}) == 6 and len(study.recipes) == 12
    for job in table1.jobs:
        alg1, released = (
            study.find(f"{job.label}, {loop}", job.recipe.seed) for loop in audit.LOOPS
        )
        assert (alg1.recipe, alg1.protocols) == (job.recipe, job.protocols)
        assert released.protocols == job.protocols
        one, other = alg1.recipe.to_dict(), released.recipe.to_dict()
        assert (one["method"].pop("loop"), other["method"].pop("loop")) == ("alg1", "released")
        assert one == other


@pytest.mark.parametrize(
    "override", [{"method.loop": "released"}, {"method.overlap": 0.5}, {"method.pattern": "DDDS"}]
)
def test_what_it_compares_cannot_be_overridden(override):
    with pytest.raises(UserError, match="compares and cannot be set"):
        audit.observations("quick", [0], override)


def test_other_fields_of_the_method_reach_every_network():
    study = audit.observations("quick", [0], {"method.alpha": 0.1, "train.epochs": 2})
    assert {job.recipe.method.alpha for job in study.jobs} == {0.1}
    assert {job.recipe.train.epochs for job in study.jobs} == {2}


def test_table_1_is_judged_under_each_loop_by_the_words_and_rules_of_its_own_notebook():
    rows = with_sparse_as_good("Algorithm 1")
    found = audit.judge_observations(rows)
    for loop, code in audit.LOOPS.items():
        theirs = smart_claims.table1_mask_density(audit.of_loop(rows, loop))
        ours = found[found["id"].str.startswith(f"observations-{code}-")].reset_index(drop=True)
        assert list(ours["id"]) == list(theirs["id"].str.replace("table1", f"observations-{code}"))
        assert list(ours["claim"]) == [f"{claim} ({loop})" for claim in theirs["claim"]]
        rest = [name for name in found if name not in ("id", "claim")]
        pd.testing.assert_frame_equal(ours[rest], theirs[rest])
    assert list(found["id"][14:]) == BETWEEN and found["id"].is_unique


def test_what_masks_everywhere_cost_is_compared_between_the_loops():
    assert set(verdicts(as_printed())[BETWEEN]) == {"not judged"}
    assert set(verdicts(with_sparse_as_good("Algorithm 1"))[BETWEEN]) == {"reproduced"}
    assert set(verdicts(with_sparse_as_good("released loop"))[BETWEEN]) == {"not reproduced"}


def test_the_difference_between_the_loops_is_that_of_their_differences():
    found = audit.judge_observations(with_sparse_as_good("Algorithm 1")).set_index("id")
    robust, clean = 51.56 - 9.68, 84.60 - 43.20
    for id, cost in zip(BETWEEN, (clean, robust), strict=True):
        assert found.loc[id, "paper_value"] == "ours"  # a question that the paper does not ask
        assert found.loc[id, "our_value"] == f"{cost:+.1f} vs +0.0"
        assert found.loc[id, "difference"].startswith(f"{cost:+.1f} [")


def test_one_seed_judges_each_loop_but_not_the_loops_against_each_other():
    found = verdicts(with_sparse_as_good("Algorithm 1", seeds=[0]))
    assert found["observations-released-dense-robust"] == "reproduced"
    assert set(found[BETWEEN]) == {"not judged"}


def test_a_preset_that_judges_nothing_judges_nothing_here():
    assert set(verdicts(with_sparse_as_good("Algorithm 1"), judge=False)) == {"not judged"}
