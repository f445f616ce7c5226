"""Work within a time: it stops where nothing is lost, says so, and goes on to the same bits."""

import gc
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from lib import evaluate, paths, runs, stopping, store
from lib.__main__ import main
from lib.protocol import Protocol
from tests.test_runs import RECIPE, same, weights

PROTOCOL = Protocol(images=250, attack="fgsm", eps=0.1)
pytestmark = pytest.mark.usefixtures("results", "quiet")


def signalled(share: float):
    """Send this process a signal once a training has come so far."""
    return lambda done: os.kill(os.getpid(), signal.SIGTERM) if done >= share else None


def test_a_signal_stops_a_training_after_the_step_and_it_goes_on_to_the_same_bits():
    straight = weights(runs.fit(RECIPE))
    store.quarantine(runs.folder(RECIPE))
    with stopping.stoppable():
        for share in (0.5, 0.75):  # of 2 epochs with 2 steps each
            with pytest.raises(stopping.Stopped) as caught:
                runs.fit(RECIPE, signalled(share))
            assert caught.value.number == signal.SIGTERM
    seen = []
    assert same(weights(runs.fit(RECIPE, seen.append)), straight)
    assert seen == [0.75, 1.0]  # the second call was asked to stop in its first step


def test_before_the_first_step_is_done_and_outside_of_trainings_a_signal_does_not_wait():
    with stopping.stoppable():
        with pytest.raises(stopping.Stopped):
            runs.fit(RECIPE, signalled(0.25))
        assert not (runs.folder(RECIPE) / "resume.pt").exists()
        with pytest.raises(stopping.Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)


def test_one_that_comes_at_the_end_waits_until_the_run_is_sealed(monkeypatch):
    seal = runs.training._seal
    late = lambda *given: (os.kill(os.getpid(), signal.SIGTERM), seal(*given))  # noqa: E731
    monkeypatch.setattr(runs.training, "_seal", late)
    with stopping.stoppable(), pytest.raises(stopping.Stopped):
        runs.fit(RECIPE)
    assert runs.load(RECIPE)


def test_the_end_of_the_time_is_a_signal_and_what_would_not_be_in_time_is_due():
    with stopping.stoppable():
        stopping.limit(3600.0)
        assert stopping.due(3600.0) and not stopping.due(10.0)
        stopping.limit(1e-9)
        with pytest.raises(stopping.Stopped) as caught:
            time.sleep(10)
    assert caught.value.number == signal.SIGALRM and not stopping.due(1e9)


def job(tmp_path, *protocols):
    """Return a recipe that is validated after each epoch, and the command that trains it."""
    recipe = RECIPE.override({"train.validate_every": 1})
    asked = {"recipe": recipe.to_dict(), "protocols": [p.to_dict() for p in protocols]}
    (tmp_path / "job.json").write_text(json.dumps(asked))
    return recipe, ["train", str(tmp_path / "job.json"), "--within", "1h"]


def test_the_same_command_goes_on_until_all_is_done_to_the_same_bits(tmp_path, capsys, monkeypatch):
    recipe, words = job(tmp_path, PROTOCOL)

    def made():
        run = runs.load(recipe)
        history = run.history.drop(columns="seconds").to_csv()
        both = weights(run) | {f"best {n}": t for n, t in run.model("best").state_dict().items()}
        return history, evaluate.find(run, PROTOCOL)["bits"], both

    assert main(words) == 0
    straight = made()
    store.quarantine(runs.folder(recipe))
    calls = []
    due = lambda seconds: calls.append(seconds) or len(calls) % 3 == 0  # noqa: E731
    keep = evaluate._Partial.keep

    def kept(self, found):
        keep(self, found)
        raise stopping.Stopped(signal.SIGALRM)

    monkeypatch.setattr(stopping, "due", due)
    monkeypatch.setattr(evaluate._Partial, "keep", kept)
    stops = 0
    capsys.readouterr()
    while (status := main(words)) and stops < 50:
        left, reason = capsys.readouterr().err.splitlines()
        assert left.startswith("Left of 1 networks: ") and reason.startswith("The time is up. ")
        assert status == 75
        stops += 1
    assert status == 0 and stops > 3
    history, bits, tensors = made()
    assert (history, bits) == straight[:2] and same(tensors, straight[2])


def test_a_time_too_short_for_anything_is_refused_so_that_no_queue_repeats_it(tmp_path, capsys):
    recipe, words = job(tmp_path)
    gc.disable()  # Hypothesis listens to collections, and an exception raised there is lost
    try:
        assert main([*words[:-1], "0.001s"]) == 2
    finally:
        gc.enable()
    assert "is too short for a step of smart, seed 0" in capsys.readouterr().err
    assert not (runs.folder(recipe) / "resume.pt").exists()


@pytest.mark.parametrize("text", ["9", "m", "-9m", "0s", "1:30", "9 m", "1e3s", ""])
def test_a_time_without_a_unit_or_a_number_is_refused(text, capsys):
    assert main(["train", "smart", f"--within={text}"]) == 2
    assert "--within takes a time, as in 90s, 9m or 1.5h" in capsys.readouterr().err


def test_what_starts_anew_at_each_call_has_no_limit(capsys):
    assert main(["train", "smart", "--within", "9m", "--fresh"]) == 2
    assert "--fresh starts anew" in capsys.readouterr().err


ABSENT = """PIL IPython ipykernel ipywidgets jinja2 jupyter_client jupyter_core jupyterlab
matplotlib mistune nbclient nbconvert nbformat nbval papermill psutil pyautoattack seaborn
tabulate torchvision traitlets"""


def test_training_and_evaluating_need_no_jupyter_and_nothing_that_draws(tmp_path):
    _, words = job(tmp_path, PROTOCOL)
    env = os.environ | {"SUITE_RESULTS": str(tmp_path), "OMP_NUM_THREADS": "1"}
    code = (
        f"import sys; sys.modules |= dict.fromkeys({ABSENT.split()!r})\n"  # as if not installed
        "from lib.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    call = [sys.executable, "-c", code, *words, "smart/fig5_fgsm", "--preset", "ci"]
    done = subprocess.run(call, cwd=paths.ROOT, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 3
    assert len([*tmp_path.glob("runs/*/evaluations/*.json")]) > 3
