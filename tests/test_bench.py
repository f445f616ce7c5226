"""The rows of the bench: their form, names and statistics, from seconds that the test makes up."""

import dataclasses
import itertools
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib import bench, bench_rows, timing
from lib.bench import Group, Growth, Rate
from lib.errors import UserError
from lib.report import readme

FIELDS = ["name", "unit", "value", "baseline", "ratio", "low", "high", "rounds"]


def made_up(**seconds):
    """Return a measurement that takes these seconds, a list for each label."""

    def measure(makers, places, rounds, tick):
        rows = [(i, name, s) for name, own in seconds.items() for i, s in enumerate(own)]
        return pd.DataFrame(rows, columns=["round", "label", "seconds"])

    return measure


def test_a_rate_is_compared_round_by_round():
    measure = made_up(ours=[1.0, 2.0, 4.0], base=[3.0, 8.0, 8.0])
    group = Group({"a/b": Rate("images/s", "ours", "base", 10)}, {}, measure=measure)
    (row,) = bench.run([group])
    assert list(dataclasses.asdict(row)) == FIELDS
    assert (row.value, row.baseline) == (10 / 2, 10 / 8)
    assert (row.ratio, row.low, row.high, row.rounds) == (3.0, 2.0, 4.0, 3)


def test_in_seconds_less_is_faster_and_what_has_no_baseline_has_no_ratio():
    measure = made_up(ours=[1.0, 2.0, 4.0], base=[3.0, 8.0, 8.0])
    rows = {"a": Rate("s", "ours", "base"), "b": Rate("s", "ours")}
    a, b = bench.run([Group(rows, {}, measure=measure)])
    assert (a.value, a.baseline, a.ratio) == (2.0, 8.0, 3.0)
    assert (b.value, b.baseline, b.ratio, b.low, b.high) == (2.0, None, None, None, None)


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0])
def test_the_fitted_exponent_is_that_of_a_power_law(p):
    sizes = [1.0, 3.0, 7.0, 20.0]
    assert bench.exponent(sizes, [0.3 * size**p for size in sizes]) == pytest.approx(p)
    times = {f"at {s:g}": [scale * s**p for scale in (1.0, 2.0)] for s in sizes}
    labels = dict(zip(times, sizes, strict=True))
    group = Group({"growth/a": Growth(labels, 2.0)}, {}, measure=made_up(**times))
    (row,) = bench.run([group])
    assert row.value == pytest.approx(p, rel=1e-3)
    assert row.ratio == row.low == row.high == pytest.approx(p / 2, rel=1e-3)


def test_the_interval_of_a_median_covers_it_as_often_as_it_says():
    """Of all ways in which n values fall around the true median, 95 % or more are covered."""
    for n in range(6, 13):
        covered = [
            (e := timing.centre(np.array(signs) + np.arange(n) * 1e-9)).low < 0 < e.high
            for signs in itertools.product((-1.0, 1.0), repeat=n)
        ]
        assert np.mean(covered) >= 0.95
    assert (timing.centre([3.0, 1.0, 2.0]).low, timing.centre([3.0, 1.0, 2.0]).high) == (1.0, 3.0)


def test_the_names_are_those_promised_and_each_row_has_what_it_compares():
    groups = bench_rows.groups()
    names = [name for group in groups for name in group.rows]
    assert len(set(names)) == len(names)
    methods = ("plain", "pgd_at", "oat", "float", "smart", "float-vs-oat", "smart-vs-oat")
    networks = ("resnet34-w16", "resnet34-w64", "resnet18-w16")
    wanted = [f"train/{method}/{network}" for method in methods for network in networks]
    wanted += ["attack/pgd20", "attack/autoattack", "store/load"]
    wanted += [f"batch/{name}" for name in ("cold", "warm", "jobs2")]
    wanted += [f"inference/{name}" for name in ("plain", "freeze", "compact", "slim")]
    wanted += [f"growth/{name}" for name in ("images", "steps", "epochs", "width")]
    assert set(wanted) <= set(names)
    assert any(name.startswith("peak/") for name in names)
    for group in groups:
        for row in group.rows.values():
            assert set(row.labels) <= set(group.makers) or not group.makers


def test_rows_are_asked_for_by_name_beginning_or_glob():
    group = Group({"a/b": Rate("s", "x"), "a/c": Rate("s", "x"), "d": Rate("s", "x")}, {})
    asked = {"a/c": ["a/c"], "a": ["a/b", "a/c"], "*c": ["a/c"]}
    for word, names in asked.items():
        assert bench.chosen([group], [word]) == [(group, names)]
    with pytest.raises(UserError, match="a/d"):
        bench.chosen([group], ["a/d"])


def test_what_a_row_needs_is_said_when_asked_for_it_and_left_out_else(monkeypatch, capsys):
    monkeypatch.setattr(bench, "find_spec", lambda name: None if name == "foolbox" else name)
    group = Group({"attack/pgd20": Rate("s", "x"), "d": Rate("s", "x")}, {})
    with pytest.raises(UserError, match="pip install foolbox"):
        bench.chosen([group], ["attack/pgd20"])
    assert bench.chosen([group], []) == [(group, ["d"])]
    assert "left out" in capsys.readouterr().err


def test_a_recorded_bench_names_its_machine_and_fills_the_readme(results):
    row = bench.Row("train/oat/x", "images/s", 8.0, 2.0, 4.0, 3.0, 5.0, 7)
    bench.write(bench.file(), [row, dataclasses.replace(row, name="peak/oat")])
    written = json.loads(bench.file().read_text())
    assert [list(r) for r in written["rows"]] == [sorted(FIELDS)] * 2
    assert {"device", "torch", "threads", "precision", "amx"} <= set(written["machine"])
    text = readme.bench({}, "train")
    assert "| `train/oat/x` | images/s | 8: **4** [3, 5] |" in text and "peak" not in text


def test_of_the_batch_training_is_timed_from_the_first_job_to_the_last_score(monkeypatch):
    """A batch in the place of the real one says when its files were written."""
    ends = {"1": 30.0, "2": 15.0}

    def batch(words, env, **options):
        home = Path(env["SUITE_RESULTS"]) / "runs"
        written = {".jobs/ab.json": 2.0, "ab/evaluations/norms-4.json": 99.0}
        written["ab/evaluations/cd.json"] = 2.0 + ends[words[-1]]
        for name, when in written.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text("{}")
            os.utime(home / name, (when, when))
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(subprocess, "run", batch)
    (row,) = bench.run(bench_rows.groups(), ["batch/jobs2"])
    assert (row.value, row.baseline, row.ratio, row.rounds) == (15.0, 30.0, 2.0, 3)


def test_the_store_is_loaded_from_a_folder_that_is_gone_afterwards():
    before = bench.paths.RESULTS
    (row,) = bench.run(bench_rows.groups(), ["store/load"], rounds=2)
    assert row.name == "store/load" and row.rounds == 2 and row.value > 0
    assert before == bench.paths.RESULTS
