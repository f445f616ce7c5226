"""The job store: trained once, resumed bit for bit, damage never loaded."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from lib import paths, runs, store, training
from lib.errors import UserError
from lib.methods import FloatSlim, Oat, OatSlim, PgdAt, Smart
from lib.protocol import Protocol
from lib.recipe import Recipe
from tests.tiny import digits

RECIPE = digits(Smart(), "resnet18", precision="fp32")
pytestmark = pytest.mark.usefixtures("results")


def weights(run: runs.Run) -> dict[str, torch.Tensor]:
    return run.model().state_dict()


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_is_trained_once_and_again_to_the_same_bytes(monkeypatch):
    seen = []
    first = runs.fit(RECIPE, seen.append)
    assert seen == sorted(seen) and seen[-1] == 1.0
    digest = store.sha256(first.folder / "weights.safetensors")
    again = runs.fit(RECIPE, fresh=True)
    assert store.sha256(again.folder / "weights.safetensors") == digest
    assert runs.fit(RECIPE.override({"seed": 1})).folder != first.folder
    monkeypatch.setattr(training, "train", None)
    second = runs.fit(Recipe.from_dict(RECIPE.to_dict()))
    assert second == first and same(weights(first), weights(second))
    assert list(second.history["epoch"]) == [1, 2]
    for name in ("commit", "torch", "device", "threads", "data_fingerprint", "seconds", "code"):
        assert name in second.info


def test_a_killed_run_resumes_bit_for_bit(results):
    straight = weights(runs.fit(RECIPE))
    first = store.sha256(runs.folder(RECIPE) / "weights.safetensors")
    store.quarantine(runs.folder(RECIPE))
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from tests.test_runs import RECIPE\n"
        "from lib import runs, training; training.SAVE_EVERY = -1\n"
        "import os, signal\n"
        "def stop(done):\n"
        "    if done > 0.5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "runs.fit(RECIPE, stop)"
    )
    env = os.environ | {"SUITE_RESULTS": str(results), "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, env=env, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (runs.folder(RECIPE) / "resume.pt").is_file()
    assert runs.load(RECIPE) is None
    seen = []
    resumed = runs.fit(RECIPE, seen.append)
    assert min(seen) > 0.5
    assert same(weights(resumed), straight)
    assert store.sha256(resumed.folder / "weights.safetensors") == first
    assert not (resumed.folder / "resume.pt").exists()


class Stop(Exception):
    pass


def stop(done: float) -> None:
    if done > 0.5:
        raise Stop


def unfinished(recipe: Recipe = RECIPE) -> None:
    """Leave a resume state behind, as a run stopped after its first epoch does."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(training, "SAVE_EVERY", -1)
        runs.fit(recipe, stop)


@pytest.mark.parametrize("name", ["resume.pt", "resume.pt.superseded"])
def test_a_training_killed_when_all_its_files_are_written_is_done(name, monkeypatch):
    remove, home = store.remove, runs.folder(RECIPE)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(training, "SAVE_EVERY", -1)
        patch.setattr(store, "remove", lambda path: stop(path.name == name) or remove(path))
        runs.fit(RECIPE)
    assert runs.load(RECIPE) is None and (home / "resume.pt").exists() == (name == "resume.pt")
    monkeypatch.setattr(training, "train", None)
    names = {"history.csv", "manifest.json", "recipe.json", "run.json", "weights.safetensors"}
    assert {path.name for path in runs.fit(RECIPE).folder.iterdir()} == names


def without(state, *names):
    return {name: value for name, value in state.items() if name not in names}


def strange_buffers(state):
    for values in state["optimiser"]["state"].values():
        values["momentum_buffer"] = torch.zeros(1, 2, 3)
    return state


ODD = {
    "one bit flipped": None,
    "a list": lambda state: [state],
    "no marks": lambda state: without(state, "marks"),
    "marks of another shape": lambda state: state | {"marks": 3},
    "a recipe of another shape": lambda state: state | {"marks": {"recipe": []}},
    "no network": lambda state: without(state, "model"),
    "another network": lambda state: state | {"model": {"weight": torch.zeros(3)}},
    "no optimiser": lambda state: state | {"optimiser": {}},
    "strange buffers": strange_buffers,
    "a history of words": lambda state: state | {"history": "abc"},
    "a history that begins late": lambda state: state | {"history": [{"epoch": 2}]},
    "more steps than an epoch has": lambda state: state | {"step": 3},
    "losses of another shape": lambda state: state | {"total": torch.zeros(2)},
    "seconds that are none": lambda state: state | {"seconds": float("nan")},
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_a_resume_state_that_cannot_be_continued_is_set_aside(change, caplog):
    unfinished()
    path = runs.folder(RECIPE) / "resume.pt"
    content = bytearray(path.read_bytes()[32:])
    digest = hashlib.sha256(content).digest()
    if change is None:
        content[len(content) // 2] ^= 1
    else:
        buffer = io.BytesIO()
        torch.save(change(torch.load(io.BytesIO(content), weights_only=True)), buffer)
        content = buffer.getvalue()
        digest = hashlib.sha256(content).digest()
    path.write_bytes(digest + content)
    resumed = weights(runs.fit(RECIPE))
    assert "damaged and set aside; the run starts over" in caplog.text
    assert path.with_name("resume.pt.damaged-1").exists()
    assert same(resumed, weights(runs.fit(RECIPE, fresh=True)))  # nothing of it was kept


NAMES = [
    *("weights.safetensors", "manifest.json", "history.csv", "recipe.json", "run.json.next"),
    *("resume.pt", "verified.json"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("finished", [False, True])
def test_a_folder_in_the_place_of_a_file_costs_no_training(name, finished):
    """Once a run is trained it is sealed, whatever stood in the way; nothing is deleted."""
    if finished:
        store.remove(runs.fit(RECIPE).folder / name)
    folder = runs.folder(RECIPE) / name
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "mine.txt").write_text("mine")
    run = runs.fit(RECIPE, fresh=finished)
    assert runs.load(RECIPE) == run
    found = [*run.folder.parent.rglob("mine.txt")]
    assert [path.read_text() for path in found] == ["mine"]


def test_a_file_in_the_place_of_a_folder_costs_no_training():
    store.write_text(runs.folder(RECIPE), "a file")
    assert runs.load(RECIPE) is None
    run = runs.fit(RECIPE)
    store.write_text(run.folder / "evaluations", "a file")
    assert runs.fit(RECIPE, fresh=True) == runs.load(RECIPE)
    (run.folder / "evaluations" / "deep").mkdir(parents=True)
    assert runs.fit(RECIPE, fresh=True) == runs.load(RECIPE)


def test_a_resume_state_of_other_code_is_not_continued(monkeypatch):
    unfinished()
    monkeypatch.setattr(runs, "code_fingerprint", lambda recipe: "other")
    seen = []
    runs.fit(RECIPE, seen.append)
    assert min(seen) <= 0.25


def harm_weights(change):
    def harm(folder):
        path = folder / "weights.safetensors"
        path.write_bytes(bytes(change(path.read_bytes())))

    return harm


def other_recipe(folder):
    tree = json.loads((folder / "recipe.json").read_text())
    tree["seed"] = 9
    store.write_json(folder / "recipe.json", tree)
    store.seal(folder, [p.name for p in folder.glob("*.*") if p.name != store.MANIFEST])


HARMS = {
    "truncated": harm_weights(lambda raw: raw[:-50]),
    "empty": harm_weights(lambda raw: b""),
    "one bit flipped": harm_weights(lambda raw: raw[:-100] + bytes([raw[-100] ^ 1]) + raw[-99:]),
    "zero tail": harm_weights(lambda raw: raw[:-30] + bytes(30)),
    "a web page": harm_weights(lambda raw: b"<!doctype html>"),
    "history changed": lambda folder: (folder / "history.csv").write_text("epoch\n1\n"),
    "wrong recipe": other_recipe,
    "manifest garbage": lambda folder: (folder / store.MANIFEST).write_text("{"),
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_damage_is_set_aside_never_loaded_and_trained_anew(harm, caplog):
    run = runs.fit(RECIPE)
    expected = weights(run)
    harm(run.folder)
    assert runs.load(RECIPE) is None
    assert "set aside" in caplog.text
    assert run.folder.with_name(f"{run.key}.damaged-1").is_dir()
    assert same(weights(runs.fit(RECIPE)), expected)


def test_two_processes_train_a_recipe_once(results):
    code = (
        "from tests.test_runs import RECIPE; from lib import runs\n"
        "import time; runs.fit(RECIPE, lambda done: time.sleep(0.2))\n"
    )
    env = os.environ | {"SUITE_RESULTS": str(results), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-c", code]
    started = time.time()
    workers = [subprocess.Popen(call, cwd=paths.ROOT, env=env) for _ in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    assert time.time() - started < 120
    assert len([p for p in paths.runs().iterdir() if p.is_dir()]) == 1


def test_the_best_epoch_on_validation_images_is_kept():
    run = runs.fit(RECIPE.override({"train.validate_every": 1, "train.epochs": 3}))
    scores = run.history["val_clean"] + run.history["val_robust"]
    best, last = run.model("best").state_dict(), weights(run)
    assert same(best, last) == (scores.idxmax() == 2 and (scores == scores.max()).sum() == 1)
    with pytest.raises(UserError, match="without validation"):
        runs.fit(RECIPE).model("best")


@pytest.mark.parametrize("method", [FloatSlim(), OatSlim()])
def test_slim_runs_are_validated_stored_and_loaded_at_every_width(method):
    changes = {"train.validate_every": 1, "train.epochs": 1}
    run = runs.fit(replace(RECIPE, method=method).override(changes))
    x = torch.rand(4, 1, 8, 8)
    for model in (run.model(), run.model("best")):
        assert not torch.equal(model(x, 0.0, slim=0.5), model(x, 0.0))


def test_unknown_names_are_refused_before_training():
    for change, words in (
        ({"data.dataset": "cifar11"}, "did you mean 'cifar10'"),
        ({"model.backbone": "resnet43"}, "did you mean 'resnet34'"),
    ):
        with pytest.raises(UserError, match=words):
            runs.fit(RECIPE.override(change))
    assert not list(paths.RESULTS.glob("runs/*/*"))


def test_zero_epochs_store_the_initial_network():
    recipe = Recipe(RECIPE.data, RECIPE.model, PgdAt(0.0), RECIPE.train.__class__(epochs=0))
    assert same(weights(runs.fit(recipe)), runs.build(recipe).state_dict())


def test_no_pickle_is_ever_loaded():
    for path in (paths.ROOT / "lib").rglob("*.py"):
        for line in path.read_text().splitlines():
            assert "torch.load(" not in line or "weights_only=True" in line, path
            assert "pickle.load" not in line, path


@pytest.mark.parametrize("name", ["weights.safetensors.next", "history.csv.next"])
def test_a_full_disk_keeps_what_was_there(monkeypatch, name):
    run = runs.fit(RECIPE)
    before = {p.name: store.sha256(p) for p in run.folder.iterdir() if p.is_file()}
    original = store.write_bytes

    def full(path, content):
        if path.name == name:
            raise UserError("Cannot write (No space left on device); free space, then rerun.")
        original(path, content)

    monkeypatch.setattr(store, "write_bytes", full)
    for recipe, fresh in ((RECIPE, True), (RECIPE.override({"seed": 7}), False)):
        with pytest.raises(UserError, match="free space"):
            runs.fit(recipe, fresh=fresh)
    assert runs.load(RECIPE) == run and runs.load(RECIPE.override({"seed": 7})) is None
    assert before == {name: store.sha256(run.folder / name) for name in before}
    assert not list(run.folder.parent.glob("*.damaged-*"))


def test_an_interrupted_fresh_training_keeps_the_older_run():
    recipe = RECIPE.override({"train.validate_every": 1})
    runs.fit(recipe)
    with pytest.raises(Stop):
        runs.fit(recipe, stop, fresh=True)
    assert runs.load(recipe).model("best") is not None


def test_what_training_would_refuse_is_refused_by_the_check():
    for change, words in (
        ({"data.train_images": 100_000}, "1,?097"),
        ({"model.backbone": "wrn16_8"}, "needs 3 letters"),
        ({"method.pattern": "DS"}, "needs 4 letters"),
        ({"model.dropout": 0.3}, "wide ResNets only"),
    ):
        with pytest.raises(UserError, match=words):
            runs.check(RECIPE.override(change))
    with pytest.raises(UserError, match="must be"):
        RECIPE.override({"train.lr": float("inf")})
    with pytest.raises(UserError, match="600"):
        runs.check(RECIPE, [Protocol(images=100_000)])
    with pytest.raises(UserError, match="validation"):
        runs.check(RECIPE, [Protocol(weights="best")])
    with pytest.raises(UserError, match=r"no sub-network of slimming factor 0\.5"):
        runs.check(RECIPE, [Protocol(slim=0.5)])
    oat = Recipe(RECIPE.data, RECIPE.model, Oat(lambdas=(0.0, 0.2)), RECIPE.train, RECIPE.attack)
    with pytest.raises(UserError, match="no code for lam 1"):
        runs.check(oat, [Protocol(lam=1.0)])
    slim = replace(oat, method=OatSlim(lambdas=(0.0, 0.2), slims=(0.3, 1.0)))
    with pytest.raises(UserError, match=r"slim 0.3 leaves 1.2 of 4 channels"):
        runs.check(slim)
    with pytest.raises(UserError, match="no code for lam 1"):
        runs.check(replace(slim, method=OatSlim(lambdas=(0.0, 0.2))), [Protocol(lam=1.0)])
