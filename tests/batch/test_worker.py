"""The work of one job, and what the store is said to hold."""

import json
import re

import pytest

from lib import evaluate, paths, runs
from lib.__main__ import main
from lib.batch import plan, status, worker
from lib.errors import UserError
from lib.methods import Plain
from lib.protocol import Protocol
from lib.recipe import Attack
from tests.tiny import digits

RECIPE = digits(Plain(), attack=Attack())
PROTOCOLS = (Protocol(images=20), Protocol(images=20, attack="fgsm", eps=0.1))
pytestmark = pytest.mark.usefixtures("results", "quiet")


def test_a_job_tells_one_rising_share_of_all_its_work(monkeypatch, capsys):
    monkeypatch.setenv("SUITE_PROGRESS", "lines")
    run = worker.work(RECIPE, PROTOCOLS, "plain")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("progress")]
    shares = [float(line.split()[1]) for line in lines]
    assert shares == sorted(shares) and shares[0] > 0 and shares[-1] == 1
    assert plan.look(RECIPE)[0] == plan.FINISHED
    assert all(evaluate.find(run, p) for p in PROTOCOLS)


def test_the_train_command_takes_a_recipe_a_key_and_an_artifact(tmp_path, capsys):
    job = {"recipe": RECIPE.to_dict(), "protocols": [p.to_dict() for p in PROTOCOLS]}
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert main(["train", str(tmp_path / "job.json")]) == 0
    assert RECIPE.key in capsys.readouterr().out
    home = runs.folder(RECIPE)
    assert len(list((home / "evaluations").iterdir())) == 2
    weights = (home / "weights.safetensors").stat().st_mtime_ns
    assert main(["train", RECIPE.key]) == 0
    assert (home / "weights.safetensors").stat().st_mtime_ns == weights


def test_the_state_of_a_run_names_what_is_wrong():
    assert plan.look(RECIPE)[0] == plan.MISSING
    home = runs.fit(RECIPE).folder
    (home / "run.json").write_text("{}")
    assert plan.look(RECIPE)[0].startswith("damaged: run.json differs")
    assert home.is_dir()  # looking sets nothing aside
    (home / "manifest.json").unlink()
    (home / "resume.pt").write_bytes(b"x")
    assert plan.look(RECIPE)[0] == plan.UNFINISHED


def test_weights_matter_unless_records_are_asked_for_and_other_code_is_stale(monkeypatch):
    home = runs.fit(RECIPE).folder
    with monkeypatch.context() as patch:
        patch.setattr(runs, "code_fingerprint", lambda *_: "other")
        state, run = plan.look(RECIPE)
        assert state == plan.FINISHED and not runs.is_current(run)
    (home / "weights.safetensors").unlink()
    assert plan.look(RECIPE)[0] == plan.RECORD
    assert plan.look(RECIPE, records=True)[0] == plan.FINISHED


def test_status_lists_finished_unfinished_and_damaged_runs(capsys):
    assert main(["status"]) == 0
    runs.fit(RECIPE)
    (paths.runs() / "0123456789abcdef").mkdir()
    (paths.runs() / "0123456789abcdef" / "resume.pt").write_bytes(b"x" * 10**6)
    assert main(["status"]) == 0
    shown = capsys.readouterr().out
    assert f"{RECIPE.key}  plain digits resnet20-4, 2 epochs, seed 0  finished" in shown
    assert re.search("unfinished +1.0", shown)
    weights = runs.folder(RECIPE) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert main(["status"]) == 1
    assert "damaged: weights.safetensors differs" in capsys.readouterr().out


def test_the_key_of_a_run_still_to_be_made_is_known():
    key, recipe = next(iter(status.known().items()))
    assert status.recipe_of(key) == recipe
    with pytest.raises(UserError, match="Cannot read the recipe"):
        status.recipe_of("0" * 16)
