"""Seconds by a clock that the test sets, ratios in closed form, real steps of real trainers."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from lib import data, runs, timing
from lib.errors import UserError
from lib.methods import Float, FloatSlim, Oat, PgdAt, Smart
from lib.models import channels, create
from lib.recipe import Recipe
from lib.rows import frame
from lib.sparsity import Momentum
from lib.studies import float_
from tests.tiny import digits


def recipe(method) -> Recipe:
    return digits(method, "resnet18", images=48, width=2)


RECIPES = {"PGD-AT": recipe(PgdAt()), "OAT": recipe(Oat()), "FLOAT": recipe(Float())}


class Clock:
    """A clock that only the timed calls move."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def spend(self, label, seconds):
        self.calls.append(label)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now)
    return clock


def table(**seconds):
    rows = [(i, name, s) for name, own in seconds.items() for i, s in enumerate(own)]
    return pd.DataFrame(rows, columns=timing.COLUMNS)


def test_every_round_times_every_call_once_and_the_first_ones_do_not_count(clock):
    calls = {c: lambda c=c, s=s: clock.spend(c, s) for c, s in (("a", 1.0), ("b", 2.0), ("c", 4.0))}
    times = timing.interleaved(calls, rounds=6, seed=1)
    assert len(clock.calls) == 3 + 3 * 6 and clock.calls[:3] == ["a", "b", "c"]
    assert times["label"].tolist() == clock.calls[3:]
    assert times.groupby("round")["label"].agg(set).tolist() == [{"a", "b", "c"}] * 6
    assert dict(zip(times["label"], times["seconds"], strict=True)) == {"a": 1, "b": 2, "c": 4}
    longer = timing.interleaved(calls, rounds=2, seconds=9.0)  # a takes one in a round
    assert longer["round"].value_counts().tolist() == [3] * 9


def test_seconds_of_one_core_are_the_median_of_its_rounds_on_one_thread(monkeypatch):
    seen, ticks = [], iter([0, 5, 5, 8, 8, 12, 12, 21, 21, 22])
    monkeypatch.setattr(timing.time, "process_time", lambda: next(ticks))
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    took = timing.of_one_core(lambda: seen.append("call"), rounds=5)
    assert (took.value, took.low, took.high) == (4, 1, 9)
    assert seen == [1, *["call"] * 5, torch.get_num_threads()]


def test_the_order_is_shuffled_and_the_seed_decides_it(clock):
    calls = {c: lambda c=c: clock.spend(c, 1.0) for c in "abcd"}
    one, again, other = (timing.interleaved(calls, 8, seed)["label"].tolist() for seed in (0, 0, 1))
    assert one == again != other and len({tuple(one[i : i + 4]) for i in range(0, 32, 4)}) > 2


def test_a_ratio_is_the_median_of_rounds_between_order_statistics_that_hold_it():
    base, times = np.arange(1.0, 10.0), np.array([1.2, 1.9, 1.1, 1.4, 90.0, 1.3, 1.6, 1.5, 1.7])
    found = timing.ratios(table(a=base, b=base * times), "a").set_index("label")
    assert stats.binom.cdf(1, 9, 0.5) < 0.025 < stats.binom.cdf(2, 9, 0.5)  # so: 2nd and 8th
    assert found.loc["b", ["value", "ci_low", "ci_high"]].tolist() == pytest.approx([1.5, 1.2, 1.9])
    assert found.loc["a", ["value", "ci_low", "ci_high", "n"]].tolist() == [1, 1, 1, 9]


def test_ratios_become_rows_that_name_their_base_and_come_back_as_estimates():
    study = float_.fig8_cost("ci")
    times = table(**{"PGD-AT": [2.0, 4.0], "FLOAT": [1.0, 1.0], "FLOAT, noise frozen": [1.0, 2.0]})
    rows = frame(timing.ratio_rows(study, times, "latency_ratio", "FLOAT"))
    assert list(rows["method"]) == ["PGD-AT", "FLOAT", "FLOAT, noise frozen"]
    assert set(rows["detail"]) == {"FLOAT"} and set(rows["n"]) == {2}
    found = timing.estimate(rows, "PGD-AT", "latency_ratio", "FLOAT")
    assert (found.value, found.low, found.high) == pytest.approx((8**0.5, 2, 4))


def test_a_slow_round_changes_no_ratio_and_turning_the_ratio_inverts_it():
    a, b = np.array([1.0, 1.1, 0.9, 1.2]), np.array([2.0, 2.4, 1.7, 3.1])
    slow = np.array([1.0, 10.0, 3.0, 2.0])
    plain = timing.ratios(table(a=a, b=b), "a")
    slowed = timing.ratios(table(a=a * slow, b=b * slow), "a")
    pd.testing.assert_frame_equal(plain, slowed)
    turned = timing.ratios(table(a=a, b=b), "b").set_index("label").loc["a"]
    b_over_a = plain.set_index("label").loc["b"]
    assert turned["value"] == pytest.approx(1 / b_over_a["value"])
    assert turned["ci_low"] == pytest.approx(1 / b_over_a["ci_high"])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: timing.inference(RECIPES, batch=0, rounds=2), "batch is 0"),
        (lambda: timing.interleaved({"a": list}, 1), "rounds is 1"),
        (lambda: timing.ratios(table(a=[1.0], b=[2.0]), "a"), "two rounds"),
        (lambda: timing.ratios(table(a=[1.0, 1.0], b=[2.0]), "a"), "two rounds"),
        (lambda: timing.ratios(table(FLOAT=[1.0, 1.0]), "FLOT"), "did you mean 'FLOAT'"),
    ],
)
def test_too_few_rounds_and_strangers_are_refused(call, said):
    with pytest.raises(UserError, match=said):
        call()


def test_training_steps_are_those_of_the_trainer_scaled_to_an_epoch(monkeypatch):
    done = []
    monkeypatch.setattr(timing, "_seconds", lambda call: done.append(call()) or 2.0)
    times = timing.training({"FLOAT": RECIPES["FLOAT"]}, rounds=2)
    assert times["seconds"].tolist() == [3 * 2.0] * 2  # 48 images in batches of 16
    images = data.load("digits", "train", limit=48)
    trainer = timing.Trainer(runs.build(RECIPES["FLOAT"]), RECIPES["FLOAT"], images, "fp32")
    expected = list(trainer.steps(0))[1:]  # the first is for warming up
    torch.testing.assert_close(torch.stack(done), torch.stack(expected), rtol=0, atol=0)


def test_steps_go_on_into_the_next_epoch_and_leave_torchs_generator_alone():
    before = torch.random.get_rng_state()
    times = timing.training(RECIPES, rounds=4)  # three steps an epoch, one of them uncounted
    assert len(times) == 4 * len(RECIPES) and (times["seconds"] > 0).all()
    timing.inference({"FLOAT": RECIPES["FLOAT"]}, batch=2, rounds=2)
    assert torch.equal(before, torch.random.get_rng_state())


def test_inference_draws_fresh_noise_unless_it_is_frozen(monkeypatch):
    outputs = {}

    def keep(calls, rounds, seed):
        outputs.update({label: (call(), call()) for label, call in calls.items()})

    monkeypatch.setattr(timing, "interleaved", keep)
    timing.inference(RECIPES | {"SMART": recipe(Smart())}, batch=3, rounds=2)
    differs = {label: not torch.equal(*pair) for label, pair in outputs.items()}
    assert differs == {
        "PGD-AT": False,
        "OAT": False,
        "FLOAT": True,
        "FLOAT, noise frozen": False,
        "SMART": True,
        "SMART, noise frozen": False,
    }
    assert {tuple(one.shape) for one, _ in outputs.values()} == {(3, 10)}
    assert not any(one.requires_grad for one, _ in outputs.values())


def pruned(method, sparsity=None):
    return dataclasses.replace(recipe(method), sparsity=sparsity)


def test_what_is_deployed_is_plain_and_has_no_dead_channels():
    sparse = pruned(Float(), Momentum(0.4, granularity="channel"))
    narrow = timing.deployable(sparse, 1.0)
    assert not narrow.training and type(narrow) is type(create("plain", "resnet18"))
    left, full = channels(narrow), channels(timing.deployable(pruned(Float()), 1.0))
    assert all(live == inputs for live, inputs in left.values())
    assert left["conv1"][1] == full["conv1"][1]
    assert sum(n for _, n in left.values()) < sum(n for _, n in full.values())
    slim = timing.deployable(pruned(FloatSlim(), Momentum(0.9)), 0.5)
    assert slim.layer4[1].conv2.weight.shape[:2] == (8, 8)  # of 16


def test_deployed_networks_are_timed_in_every_round():
    recipes = {"whole": pruned(Float()), "half": pruned(FloatSlim())}
    times = timing.inference(recipes, 2, 3, slims={"whole": 1.0, "half": 0.5})
    assert times.groupby("round")["label"].agg(set).tolist() == [set(recipes)] * 3
    assert (times["seconds"] > 0).all()
