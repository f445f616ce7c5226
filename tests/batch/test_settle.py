"""What would settle open claims: the judge agrees with it, and the least time comes first."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from lib import claims, compare, judge, paths, spread, store
from lib.__main__ import main
from lib.batch import settle
from lib.errors import UserError
from lib.studies import artifact
from tests.test_judge import claim, world

pytestmark = pytest.mark.usefixtures("results", "quiet")
ONE, TWO = "smart/fig5_fgsm", "smart/fig4_lambda_sweep"


def written(name, needs, preset="cifar", seeds=(0, 1, 2)):
    """Write results with claims that are open and need so much, and one that is judged."""
    home = paths.RESULTS / preset / name
    rows = [{"id": f"{name} {i}", "verdict": "not judged", "needs": n} for i, n in enumerate(needs)]
    rows.append({"id": "known", "verdict": "reproduced"})
    rows = [row | {"kind": "measured"} for row in rows]
    store.write_text(home / "claims.csv", claims.table(rows).to_csv(index=False))
    store.write_json(home / "run.json", {"seeds": list(seeds)})


def verdict(gap, variance, seeds, images, most=0):
    """Return how a difference is judged whose error is that of three seeds and 1,000 images."""
    parts = {"images": 1000 / images, "seeds": 3 * variance / seeds}
    half = 1.96 * sum(parts.values()) ** 0.5
    found = compare.gap(claim("above"), compare.Estimate(gap, gap - half, gap + half, **parts))
    found = dataclasses.replace(found, seeds=seeds, images=images, most=most)
    return judge.decided([claim("above")], [found])[0]


@pytest.mark.parametrize(
    ("gap", "variance", "most"), [(3.0, 4.0, 1000), (2.1, 4.0, 9000), (1.5, 0.1, 9000)]
)
def test_what_is_planned_is_the_least_that_the_judge_judges(gap, variance, most):
    open_ = verdict(gap, variance, 3, 1000, most)
    assert open_["verdict"] == "not judged"
    written(ONE, [open_["needs"]])
    (one,) = settle.Recorded("cifar", [ONE]).open
    images = one.images or 1000
    assert verdict(gap, variance, one.seeds, images)["verdict"] == "reproduced"
    if one.seeds > 3:
        assert verdict(gap, variance, one.seeds - 1, most)["verdict"] == "not judged"
    if one.images:
        assert verdict(gap, variance, one.seeds, images - 100)["verdict"] == "not judged"


def test_as_many_trainings_as_are_planned_that_turn_out_alike_are_judged():
    def judged(rows):
        found = compare.compared(claim("above"), rows, spread.Spread(spread.pooled(rows)))
        return judge.decided([claim("above")], [found])[0]

    planned = 0
    for number in range(20):
        rng = np.random.default_rng(number)
        rows = world({("a", 1.0): 56.0, ("b", 1.0): 50.0}, rng)
        written(ONE, [judged(rows)["needs"]])
        (one,) = settle.Recorded("cifar", [ONE]).open
        if one.seeds > 3 and not one.images:
            more = [rows.assign(seed=rows["seed"] + 3 * i, run=rows["run"] + f" {i}")
                    for i in range(-(-one.seeds // 3))]  # fmt: skip
            assert judged(pd.concat(more))["verdict"] == "reproduced"
            planned += 1
    assert planned >= 3


def test_a_difference_that_a_notebook_worked_out_says_what_it_needs():
    rows = world({("a", 1.0): 50.0, ("b", 1.0): 50.0}, np.random.default_rng(0))
    one = compare.Estimate(3.0, -1.4, 7.4, images=1.0, seeds=4.0)
    found = judge._found(claim("above"), rows, spread.Spread(spread.pooled(rows)), one)
    assert judge.decided([claim("above")], [found])[0]["needs"] == "9 seeds"


def priced(name, train, score):
    """Note what networks of seed 0 took, as records without weights."""
    for job in artifact(name)("ci").jobs:
        home = paths.records() / job.recipe.key
        store.write_json(home / "run.json", {"seconds": train})
        store.write_json(home / store.MANIFEST, {})
        for protocol in job.protocols:
            path = home / "evaluations" / f"{protocol.key}.json"
            store.write_signed(path, {"seconds": score})


def test_steps_take_the_least_time_for_a_claim_and_no_training_twice(capsys):
    priced(TWO, 600.0, 30.0)
    priced(ONE, 600.0, 30.0)
    none = ["more than anyone trains", "20 seeds, 14,400 images", ""]
    written(ONE, ["2 seeds", "3 seeds", *none], "ci", [0])
    written(TWO, ["2 seeds", "2 seeds", "2 seeds"], "ci", [0])
    written("smart/fig1_pareto", [], "ci", [0])
    assert main(["open", "smart", "--preset", "ci", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["measured"], told["judged"]) == (11, 3)
    assert [one["needs"] for one in told["never"]] == none
    # ONE has 2 networks with 8 scores each; TWO 4 with 2 and one with 8, which is in both: SMART
    first, second = told["steps"]
    assert first["do"] == f"./run_all.sh {TWO} --preset ci --seeds 0,1 --record"
    assert (len(first["settles"]), first["judged"]) == (3, 6)
    assert first["minutes"] * 60 == 2 * (5 * 600 + 16 * 30)
    assert second["do"] == f"./run_all.sh {ONE} --preset ci --seeds 0,1,2 --record"
    assert (second["settles"], second["judged"]) == ([f"{ONE} {i}" for i in range(2)], 8)
    assert second["minutes"] * 60 == 3 * (2 * 600 + 16 * 30) - 2 * (
        600 + 4 * 30
    )  # clean scores, too
    each = [one["a claim"] for one in told["claims"]]
    assert each == sorted(each) and each[0] == pytest.approx(first["minutes"] / 3)


def test_images_are_counted_where_the_preset_has_fewer(capsys):
    priced(ONE, 600.0, 30.0)
    written(ONE, ["60 images", "128 images"], "ci", [0])
    assert main(["open", ONE, "--preset", "ci"]) == 0
    shown = capsys.readouterr().out
    jobs = artifact(ONE)("ci").jobs
    scores = sum(len(job.protocols) for job in jobs)
    minutes = (600 * len(jobs) + 30 * scores * 2) / 60  # 128 images are twice as many
    assert f"{minutes:.1f} min settle 2: 100.0% of 3 judged  with 128 images in " in shown
    assert "with 128 images in lib/presets.py: ./run_all.sh smart/fig5_fgsm --preset ci" in shown


def test_nothing_recorded_is_said_in_a_sentence():
    with pytest.raises(UserError, match="recorded of preset quick"):
        settle.Recorded("quick", [ONE])
