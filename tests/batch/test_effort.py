"""Guesses of how much work a job is."""

import re
import subprocess
import sys

import pytest

from lib import paths, store
from lib.batch import effort, plan, preview
from lib.methods import METHODS, Float
from lib.protocol import Protocol
from lib.recipe import Attack, Data, Model, Recipe, Train
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
    least, most = map(int, re.search(r"takes (\d+) min to (\d+) min to train", told).groups())
    assert (least, most) == (round(seconds / 60), round(1.7 * seconds / 60))


def recorded():
    """Yield the recipe and the provenance of every run that the repository keeps."""
    for path in sorted((paths.ROOT / "results/records").glob("*/run.json")):
        recipe = Recipe.from_dict(store.read_json(path.with_name("recipe.json")))
        yield recipe, store.read_json(path)


MEASURE = """
import os, resource, sys
import torch
from lib import commands, data, networks  # what a job imports
from lib.methods import METHODS
from lib.trainers import Trainer
from tests.batch.test_effort import large

torch.set_num_threads(1)
torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # imports more

def most():
    if os.path.exists("/proc/self/status"):  # there ru_maxrss may be that of whoever started this
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

here = most()
for kind in METHODS:
    recipe = large(kind)
    if pid := os.fork():
        os.waitpid(pid, 0)
        continue
    before = most()
    x = torch.zeros(recipe.train.batch, 3, 32, 32, dtype=torch.uint8)
    images = data.Images(x, torch.arange(len(x)) % 10)
    trainer = Trainer(networks.fresh(recipe), recipe, images, "fp32")
    next(trainer.steps(recipe.method.warm_up))
    print(kind, (here + most() - before) * (1 if sys.platform == "darwin" else 1024), flush=True)
    os._exit(0)
"""


def large(kind):
    """Return a recipe whose step takes more memory for the network than for the process."""
    train = Train(epochs=1, batch=512, precision="fp32")
    data = Data("cifar10", train_images=train.batch)
    return Recipe(data, Model("resnet18", 8), METHODS[kind](), train, Attack(steps=1))


def test_a_step_of_every_method_peaks_within_30_percent_of_the_prediction():
    call = [sys.executable, "-c", MEASURE]
    shown = subprocess.run(call, cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout
    found = {line.split()[0]: int(line.split()[1]) for line in shown.splitlines()}
    off = {kind: effort.memory(large(kind), True, ()) / most - 1 for kind, most in found.items()}
    assert off.keys() == METHODS.keys() and all(abs(part) < 0.3 for part in off.values()), off


def test_the_memory_of_a_job_is_that_of_its_largest_part():
    recipe = large("smart")
    scored = [Protocol(images=n) for n in (10, 100, 200)]  # networks with noise take 100 at a time
    sizes = [effort.memory(recipe, False, [p]) for p in scored]
    assert sizes[0] < sizes[1] and sizes[2] - sizes[1] == 100 * 3 * 32**2
    training = effort.memory(recipe, True, ())
    assert effort.memory(recipe, True, scored[:2]) == training > max(sizes)


def test_recorded_trainings_peaked_within_30_percent_of_the_prediction_but_for_a_few():
    """Whoever decodes the images first holds more; copies of a process share what it loaded."""
    peaks = [(run["peak_memory_bytes"], effort.memory(r, True, ())) for r, run in recorded()]
    near = sum(0.7 < guess / peak < 1.3 or peak < effort.PROCESS < guess for peak, guess in peaks)
    assert peaks and near > 0.95 * len(peaks)


def test_nine_of_ten_trainings_recorded_on_cpus_took_a_third_to_three_times_the_guess():
    own = [(r, run) for r, run in recorded() if r.train.epochs and "NVIDIA" not in run["device"]]
    took = [effort.seconds(recipe, True, ()) / run["seconds"] for recipe, run in own]
    assert took and sum(1 / 3 < ratio < 3 for ratio in took) > 0.9 * len(took)


def test_memory_grows_with_the_batch_and_disk_with_the_network():
    def recipe(batch, width=8):
        return Recipe(Data("digits"), Model("resnet18", width), Float(), Train(batch=batch))

    steps = [effort.memory(recipe(batch), True, ()) for batch in (64, 128, 192)]
    assert steps[2] - steps[1] == pytest.approx(steps[1] - steps[0]) and steps[1] > steps[0]
    assert effort.disk(recipe(64, 16)) > 3 * effort.disk(recipe(64, 8)) > 0
