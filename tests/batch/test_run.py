"""Whole batches, with children that are fakes."""

import dataclasses
import json
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from lib import paths, records, scoring
from lib.batch import plan
from lib.studies import ARTIFACTS
from tests.batch.conftest import notebook


def networks(*names):
    made = plan.make(names or list(ARTIFACTS), "ci", (0,), {})
    return {need.label: need.recipe.key for need in made.needs.values()}


def alive(suite):
    found = psutil.process_iter(["environ"])
    return [p for p in found if (p.info["environ"] or {}).get("FAKE") == str(suite.faults)]


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Give the test a temporary folder of its own."""
    home = tmp_path / "tmp"
    home.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(home))
    return home


def test_all_is_made_once_and_a_second_run_starts_nothing_and_changes_no_file(suite, capsys):
    assert suite() == 0
    expected = {*networks().values(), "tiny/one", "tiny/two", "tiny/none"}
    assert sorted(call.strip() for call in suite.calls) == sorted(expected)
    assert capsys.readouterr().out.count("done") == 3
    summary = (suite.results / "local/ci/summary.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in summary] == [
        ["artifact", "status"],
        *(["tiny/one", "done"], ["tiny/two", "done"], ["tiny/none", "done"]),
    ]
    before = suite.files()
    suite.fault()
    assert suite() == suite("tiny/two") == suite("tiny/one") == 0
    assert suite.calls == [] and suite.files() == before
    assert capsys.readouterr().out.count("current") == 5


def test_a_changed_notebook_is_executed_again_and_its_outputs_do_not_count(suite):
    suite()
    path = suite.notebooks / "tiny/two.ipynb"
    content = json.loads(path.read_text())
    content["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x"}]
    path.write_text(json.dumps(content))
    suite.fault()
    assert suite() == 0 and suite.calls == []
    content["cells"][1]["source"] += "\n1 + 1"
    path.write_text(json.dumps(content))
    assert suite() == 0 and suite.calls == ["tiny/two "]


@pytest.mark.parametrize("name", ["figure.png", "metrics.csv", "two.ipynb", "inputs.json"])
@pytest.mark.parametrize("content", [None, "[]", '{"outputs": [3], "inputs": 4, "seconds": "x"}'])
def test_a_removed_or_damaged_result_is_made_again(suite, name, content):
    suite("tiny/two")
    file = suite.results / "local/ci/tiny/two" / name
    before = file.read_bytes()
    file.unlink() if content is None else file.write_text(content)
    suite.fault()
    assert suite("tiny/two") == 0 and suite.calls == ["tiny/two "]
    assert file.is_file() and (file.name != "figure.png" or file.read_bytes() == before)
    assert suite("tiny/two") == 0 and suite.calls == ["tiny/two "]


def test_a_file_beside_the_results_is_the_users_and_no_result(suite):
    suite("tiny/two")
    home = suite.results / "local/ci/tiny/two"
    for text in ("mine", "changed"):
        (home / "notes.txt").write_text(text)
        assert suite("tiny/two", "--fresh") == 0
        assert (home / "notes.txt").read_text() == text
        noted = json.loads((home / "inputs.json").read_text())["outputs"]
        assert set(noted) == {"metrics.csv", "claims.csv", "run.json", "figure.png", "two.ipynb"}
    (home / "notes.txt").unlink()
    suite.fault()
    assert suite("tiny/two") == 0 and suite.calls == []
    assert "tiny/two,done," in (home.parents[1] / "summary.csv").read_text()


def test_the_report_of_other_artifacts_does_not_publish_an_edited_result(suite, capsys):
    suite()
    claims = next(suite.results.rglob("tiny/one/claims.csv"))
    before = claims.read_text()
    claims.write_text(before + "\n")
    assert suite("tiny/two") == 0
    assert "Edited since: tiny/one (claims.csv)" in capsys.readouterr().out
    summary = (claims.parents[2] / "summary.csv").read_text()
    assert "tiny/one,edited: claims.csv,,0,0,0,0,0" in summary
    suite.fault()
    assert suite("tiny/one") == 0 and suite.calls == ["tiny/one "]
    assert claims.read_text() == before


def test_a_removed_evaluation_is_made_again_without_training(suite):
    suite()
    home = suite.results / "runs" / networks()["smart"]
    record = next((home / "evaluations").iterdir())
    record.unlink()
    assert plan.make(["tiny/one"], "ci", (0,), {}).needs[home.name].trained
    suite.fault()
    assert suite() == 0 and record.is_file()
    assert f"{home.name} " in suite.calls and "tiny/one " in suite.calls
    assert "tiny/two " not in suite.calls


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("fail", "ValueError: no luck"),
        ("refuse", "cell [3]: ValueError: no luck"),
        ("killed", "ended by SIGKILL: most likely for lack of memory; use fewer --jobs"),
        ("partial", "the notebook wrote no claims.csv, no run.json, no figure.png or table.md"),
    ],
)
def test_a_failing_notebook_is_isolated_until_it_is_mended_and_good_results_stay(
    suite, capsys, scratch, fault, said
):
    chosen = ("tiny/two", "tiny/none")
    suite(*chosen)
    good = suite.files()
    capsys.readouterr()
    suite.fault(tiny__none=fault)
    assert suite(*chosen, "--fresh") == 1
    shown = capsys.readouterr().out
    assert shown.count("done") == 1 and f"failed: {said}" in shown
    now = suite.files()
    kept = [name for name in good if name.startswith("ci/tiny/none/")]
    assert kept and all(now[name] == good[name] for name in kept)
    assert json.loads(now["ci/tiny/none/failure.json"])["reason"] == said
    assert "ci/tiny/none/none.failed.ipynb" in now and not list(scratch.iterdir())
    assert f"failed: {said}" in now["ci/summary.csv"].decode().replace('"', "")
    suite.fault()
    assert suite(*chosen) == 0 and suite.calls == ["tiny/none "]
    assert not [name for name in suite.files() if "fail" in name]


def test_a_folder_that_cannot_be_written_fails_its_artifact_and_no_others(suite, capsys):
    home = suite.results / "local/ci/tiny"
    home.mkdir(parents=True)
    (home / "none").write_text("a file")
    assert suite() == 1
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if "/" in line}
    assert "failed: Cannot write" in lines["tiny/none"] and "done" in lines["tiny/two"]
    (home / "none").unlink()
    suite.fault()
    assert suite() == 0 and suite.calls == ["tiny/none "]


def test_a_failing_network_fails_its_artifacts_alone_and_logs_are_named(suite, capsys):
    suite.fault(**{networks()["smart"]: "fail", "tiny__none": "refuse"})
    assert suite() == 1
    shown = capsys.readouterr()
    lines = {line.split()[0]: line for line in shown.out.splitlines() if "tiny/" in line}
    assert "failed: run smart, seed 0" in lines["tiny/one"]
    assert "ValueError: no luck" in lines["tiny/one"] and "done" in lines["tiny/two"]
    assert "tiny/one " not in suite.calls and "Traceback" not in shown.err
    logs = re.findall("^Log of what failed: (.*)$", shown.out, re.MULTILINE)
    texts = [Path(log).read_text() for log in logs]
    assert len(texts) == 2 and all("no luck" in text for text in texts)
    assert any("Traceback" in text for text in texts) and "progress" not in "".join(texts)


def test_a_notebook_over_its_limit_is_killed_with_everything_it_started(suite):
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    suite.fault(tiny__none="hang")
    started = time.monotonic()
    assert suite("tiny/none", "--timeout", "1") == 1
    assert time.monotonic() - started < 20
    failure = json.loads((suite.results / "local/ci/tiny/none/failure.json").read_text())
    assert failure == {"reason": "timeout: not finished after 1 s"}
    assert not alive(suite) and {p.pid for p in psutil.Process().children(recursive=True)} <= before


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_stops_everything_and_the_next_run_goes_on(suite, capsys, scratch, number, status):
    suite.fault(tiny__none="hang")

    def interrupt():
        while not list(scratch.glob("*/nb-*")):  # what a kernel would need
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    assert suite("tiny/none") == status
    message = capsys.readouterr().err.splitlines()[-1]
    assert "run the same command again to continue" in message
    assert not list(scratch.iterdir()) and not alive(suite)
    suite.fault()
    assert suite("tiny/none") == 0


def test_of_what_is_only_recorded_nothing_counts_as_trained_or_stale_here(suite, capsys):
    suite("tiny/one", "tiny/two")
    for need in plan.make(["tiny/one", "tiny/two"], "ci", (0,), {}).needs.values():
        records.keep(need.recipe)
    shutil.rmtree(suite.results / "runs")
    shutil.rmtree(suite.results / "local")
    capsys.readouterr()
    assert suite("--why", "tiny/one") == 0
    shown = capsys.readouterr().out
    assert "none of its 2 networks has been trained here; of 2 there are records" in shown
    assert "  run " not in shown and "  notebook:" not in shown
    assert suite("tiny/one", "--from-records") == 0
    assert "Stale: 2 networks" in capsys.readouterr().out  # the fake runs are of other code
    assert suite("tiny/two") == 0
    assert "Stale" not in capsys.readouterr().out


def test_records_alone_are_enough_and_change_no_result(suite):
    suite("tiny/one", "tiny/two")
    for need in plan.make(["tiny/one", "tiny/two"], "ci", (0,), {}).needs.values():
        records.keep(need.recipe)
    shutil.rmtree(suite.results / "runs")
    suite.fault()
    before = suite.files()
    assert suite("tiny/one", "tiny/two", "--from-records") == 0
    assert suite.calls == [] and suite.files() == before
    (suite.results / "local/ci/tiny/two/figure.png").unlink()
    assert suite("tiny/one", "tiny/two", "--from-records") == 0
    assert suite.calls == ["tiny/two 1"]


def test_from_records_skips_what_has_no_record_and_promises_no_training(suite, capsys):
    suite("tiny/two")
    suite.fault()
    assert suite("--from-records", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "skipped: tiny/one: 1 of its runs have no record, the first is smart, seed 0" in shown
    assert ", 0 to train, 0 evaluations, 1 notebooks; 1 jobs." in shown
    assert suite("--from-records") == 0
    shown = capsys.readouterr().out
    assert "skipped: 1 of its runs have no record" in shown and "Log" not in shown
    assert suite.calls == ["tiny/none 1"]


def test_from_records_skips_what_is_timed_on_images_that_are_not_here(suite, monkeypatch, capsys):
    plan_two = ARTIFACTS["tiny/two"]

    def timed(preset="quick", seeds=(0,), overrides=None):
        recipe = next(iter(plan_two(preset, seeds, overrides).recipes.values()))
        recipe = recipe.override({"data.dataset": "cifar100"})
        empty = ARTIFACTS["tiny/none"](preset, seeds, overrides)
        return dataclasses.replace(empty, artifact="tiny/timed", timed={"plain": recipe})

    suite("tiny/two")
    suite.write("tiny/timed", "from lib import claims")
    monkeypatch.setitem(ARTIFACTS, "tiny/timed", timed)
    monkeypatch.setattr(paths, "DATA", suite.home / "no data")
    suite.fault()
    assert suite("tiny/two", "tiny/timed", "--from-records") == 0
    shown = capsys.readouterr().out
    assert "skipped: its networks are timed on cifar100, which is not here" in shown
    assert suite.calls == []


def test_more_jobs_than_cores_are_remarked_once_and_taken(suite, capsys):
    assert suite("tiny/none", "--jobs", "9999") == 0
    said = capsys.readouterr().err
    assert said.count("--jobs 9999 is more than the") == 1 and "9999 at a time" in said
    suite("tiny/none", "--jobs", "1")
    assert "more than" not in capsys.readouterr().err


def test_a_users_batch_changes_nothing_that_git_keeps(changed, suite, capsys):
    assert suite() == 0
    assert changed() == ""
    assert "results/local/ci/index.html" in capsys.readouterr().out
    assert (suite.results / "local/ci/tiny/two/metrics.csv").is_file()


def test_record_writes_what_the_repository_keeps(changed, suite, monkeypatch):
    kept = []
    monkeypatch.setenv("SUITE_RECORD", "")  # so that it is unset again afterwards
    monkeypatch.setattr(records, "keep", lambda recipe: kept.append(recipe.key))
    suite.fault(tiny__none="fail")
    assert suite("--record") == 1 and kept == []
    suite.fault()
    assert suite("--record") == 0
    assert sorted(kept) == sorted(networks().values())
    assert " M results/ci/tiny/two/metrics.csv\n" in changed()
    assert not (suite.results / "local").exists()


@pytest.mark.parametrize("longest", ["tiny/one", "tiny/two", "tiny/none"])
def test_the_notebook_that_took_longest_for_the_repository_is_the_first(longest, suite):
    for name in ARTIFACTS:
        folder = suite.results / "ci" / name
        folder.mkdir(parents=True)
        took = {"seconds": 90.0 if name == longest else 1.0}
        (folder / "inputs.json").write_text(json.dumps(took))
    suite("tiny/none", "tiny/one", "tiny/two", "--jobs", "1")
    assert next(call.strip() for call in suite.calls if "tiny/" in call) == longest


def test_overrides_get_a_folder_of_their_own(suite):
    suite("tiny/two")
    before = suite.files()
    assert suite("tiny/two", "--set", "train.epochs=2", "--set", "data.augment=false") == 0
    assert suite.files() == before
    custom = [p for p in (suite.results / "local").iterdir() if p.name.startswith("ci-custom-")]
    assert len(custom) == 1


def test_a_dry_run_tells_what_would_be_done_and_does_nothing(suite, capsys):
    assert suite("--dry-run") == 0
    shown = capsys.readouterr().out
    assert "2 networks, 2 to train, 4 evaluations, 3 notebooks; 5 jobs" in shown
    assert re.search(r"About \d+ s with \d+ at a time and 0.1 GB of disk", shown)
    assert re.search(
        r"a job takes up to \d\.\d GB and all at a time \d\.\d GB, of \d+\.\d GB", shown
    )
    assert not suite.results.exists() and suite.calls == []


def test_why_explains_what_is_missing_then_current_then_changed(suite, capsys):
    assert suite("--why", "tiny/one") == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[1:-1] == ["  none of its 2 networks has been trained here"]
    assert "so: train 2 networks, make 4 evaluations, execute the notebook" in shown
    suite()
    capsys.readouterr()
    suite("--why", "tiny/two")
    shown = capsys.readouterr().out
    assert "finished, made by other code than today's" in shown  # the fake's fingerprint
    assert "so: nothing to do, everything is current" in shown
    (suite.results / "local/ci/tiny/two/metrics.csv").write_text("edited")
    path = suite.notebooks / "tiny/two.ipynb"
    path.write_text(path.read_text().replace("import claims", "import measure"))
    suite("--why", "tiny/two")
    shown = capsys.readouterr().out
    assert "notebook: the notebook has changed" in shown
    assert "notebook: lib/evaluate is new" in shown
    assert "notebook: metrics.csv of the results has been edited" in shown
    assert "so: execute the notebook" in shown


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "There is no notebook"),
        *((text, "is not a notebook; restore it") for text in ("[]", "\0", "{}")),
        ('{"cells": [{"source": [3]}]}', "is not a notebook; restore it"),
        ('{"cells": [{"metadata": []}]}', "is not a notebook; restore it"),
        (notebook("1").replace("SEEDS: list", "SEED: list"), "has no parameter SEEDS"),
        (notebook("1").replace('"parameters"', '"Parameters"'), "has no parameter PRESET"),
    ],
)
def test_a_notebook_that_cannot_run_is_refused_before_anything_runs(suite, capsys, content, said):
    path = suite.notebooks / "tiny/two.ipynb"
    path.unlink() if content is None else path.write_text(content)
    assert suite() == 2 and suite.calls == []
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1


def test_why_names_evaluations_that_other_code_made(suite, capsys, monkeypatch):
    assert suite() == 0
    monkeypatch.setattr(scoring, "code_fingerprint", lambda recipe, protocol: "tomorrow")
    capsys.readouterr()
    assert suite("--why", "tiny/two") == 0
    assert "0 of 2 evaluations, 2 more by other code" in capsys.readouterr().out
