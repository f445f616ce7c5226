"""Guesses of how much work a job is."""

import re

import pytest

from lib import paths, store
from lib.batch import effort, plan, preview
from lib.methods import Float
from lib.protocol import Protocol
from lib.recipe import Data, Model, Recipe, Train
from lib.studies import smart


def evaluation(**fields):
    recipe = Recipe(Data("digits"), Model("resnet18", 8), Float())
    return effort.evaluation(recipe, Protocol(images=10, **fields))


def test_autoattack_costs_what_its_gradients_and_queries_cost():
    pgd = evaluation(attack="pgd", steps=100)
    standard = evaluation(attack="autoattack", steps=100)
    rand = evaluation(attack="autoattack", version="rand", steps=100, eot=20)
    assert pgd * 2 < standard < pgd * 40  # 19 attacks of 100 steps and 5,000 queries
    assert pgd * 20 < rand < pgd * 41  # two attacks of 100 steps with 20 gradients each
    assert evaluation(attack="autoattack", steps=100, queries=1) < standard
    half = evaluation(attack="autoattack", version="rand", steps=100, eot=10)
    assert half == pytest.approx(rand / 2, rel=0.01)


def test_half_the_width_is_a_quarter_of_the_work():
    assert evaluation(attack="pgd", slim=0.5) == evaluation(attack="pgd") / 4


def test_a_data_centre_gpu_needs_minutes_for_a_network_of_full_width():
    """Counted by hand: ResNet-34 has 1.16 G multiply-accumulates, a step of SMART 10 passes."""
    jobs = smart.table2_comparison("gpu").jobs
    needs = {job.label: plan.Need(job.recipe, job.label) for job in jobs}
    work = 1.16e9 * 50_000 * 30 * 10
    seconds = effort.seconds(needs["SMART"].recipe, True, (), "cuda")
    assert seconds == pytest.approx(5 + work / effort.SPEEDS["cuda"], rel=0.01)
    told = preview._on_a_gpu([needs["SMART"], needs["PGD-AT"]])
    least, most = map(int, re.search(r"takes (\d+) to (\d+) minutes to train", told).groups())
    assert (least, most) == (round(seconds / 60), round(1.7 * seconds / 60))


def recorded():
    """Yield the recipe and the provenance of every run that the repository keeps."""
    for path in sorted((paths.ROOT / "results/records").glob("*/run.json")):
        recipe = Recipe.from_dict(store.read_json(path.with_name("recipe.json")))
        yield recipe, store.read_json(path)


def test_no_recorded_training_held_half_or_twice_the_guessed_memory():
    ratios = [effort.memory(recipe) / run["peak_memory_bytes"] for recipe, run in recorded()]
    assert ratios and min(ratios) > 1 / 2 and max(ratios) < 2


def test_nine_of_ten_recorded_trainings_took_a_third_to_three_times_the_guess():
    took = [effort.seconds(recipe, True, ()) / run["seconds"] for recipe, run in recorded()]
    assert took and sum(1 / 3 < ratio < 3 for ratio in took) > 0.9 * len(took)


def test_memory_grows_with_the_batch_and_disk_with_the_network():
    def recipe(batch, width=8):
        return Recipe(Data("digits"), Model("resnet18", width), Float(), Train(batch=batch))

    steps = [effort.memory(recipe(batch)) for batch in (64, 128, 192)]
    assert steps[2] - steps[1] == pytest.approx(steps[1] - steps[0]) and steps[1] > steps[0]
    assert effort.disk(recipe(64, 16)) > 3 * effort.disk(recipe(64, 8)) > 0
