"""What the repository keeps of runs: as good as they are, never mixed up with others, unharmed.

Own runs are in results/runs, the records of the repository in results/records.
"""

import dataclasses
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from lib import evaluate, paths, records, runs, scoring, store, verify
from lib.__main__ import main
from lib.batch import plan, status
from lib.errors import UserError
from lib.protocol import Protocol
from tests.test_runs import RECIPE
from tests.tiny import files

CLEAN, ATTACKED = Protocol(images=40), Protocol(images=40, attack="fgsm", eps=0.1)
pytestmark = pytest.mark.usefixtures("results", "quiet")


def recorded(*protocols, weights=False):
    """Train and measure, record it, and forget the own run; return the record's folder."""
    run = runs.fit(RECIPE)
    for protocol in protocols:
        evaluate.evaluate(run, protocol)
    home = records.keep(RECIPE)
    if weights:
        shutil.copy(run.folder / "weights.safetensors", home)
    shutil.rmtree(paths.runs())
    return home


def changed(folder):
    """Make a run's weights zero, as if another training had come to them."""
    path = folder / "weights.safetensors"
    save_file({n: torch.zeros_like(t) for n, t in load_file(path).items()}, path)
    store.seal(folder, list(store.read_json(folder / store.MANIFEST)))


def test_all_that_counts_is_recorded_but_the_weights(monkeypatch):
    run = runs.fit(RECIPE)
    evaluate.evaluate(run, CLEAN)
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "code_fingerprint", lambda *a: "other")
        evaluate.evaluate(run, ATTACKED)
    store.write_json(run.folder / "evaluations" / "x.partial.json", store.signed({"n": 1}))
    store.write_json(run.folder / "evaluations" / "y.json", store.signed({"n": 1}))  # of no run
    for name in ("resume.pt", "resume.pt.damaged-1"):
        store.write_text(run.folder / name, "state")
    own = files(run.folder)
    home = records.keep(RECIPE)
    kept = ("history.csv", "manifest.json", "recipe.json", "run.json")
    assert home == paths.records() / RECIPE.key
    scored = store.bundle({CLEAN.key: evaluate.find(run, CLEAN)})
    assert files(home) == {n: own[n] for n in kept} | {store.BUNDLE: scored}
    assert files(run.folder) == own


def test_recording_replaces_what_was_there_and_spares_the_weights_that_are_the_runs():
    home = recorded(CLEAN, ATTACKED, weights=True)
    before = files(home)
    for name in ("history.csv.old", "evaluations/0123456789abcdef.json"):
        store.write_text(home / name, "old")
    assert records.keep(RECIPE) == home and files(home) == before  # from itself
    run = runs.fit(RECIPE, fresh=True)
    changed(run.folder)
    evaluate.evaluate(run, CLEAN)
    records.keep(RECIPE)
    assert files(home).keys() == before.keys() - {"weights.safetensors"}
    assert dict(store.measured(home)) == {CLEAN.key: evaluate.find(run, CLEAN)}
    assert (home / store.MANIFEST).read_bytes() == (run.folder / store.MANIFEST).read_bytes()


def test_recording_what_was_redrawn_from_records_changes_nothing(monkeypatch):
    home = recorded(CLEAN, ATTACKED)
    before = files(home)
    monkeypatch.setattr(scoring, "code_fingerprint", lambda *a: "other")
    with pytest.raises(UserError, match="not finished"):
        records.keep(RECIPE)
    monkeypatch.setenv("SUITE_FROM_RECORDS", "1")
    records.keep(RECIPE)
    assert files(home) == before


def test_what_is_not_finished_cannot_be_recorded():
    with pytest.raises(UserError, match=f"Run {RECIPE.key} is not finished"):
        records.keep(RECIPE)
    assert not paths.records().exists()


def test_a_record_counts_where_records_are_asked_for(monkeypatch):
    home = recorded(CLEAN)
    assert runs.load(RECIPE) is None and plan.look(RECIPE)[0] == plan.RECORD
    assert plan.look(RECIPE, records=True)[0] == plan.FINISHED
    run = runs.load(RECIPE, records=True)
    assert run.folder == home and evaluate.find(run, CLEAN) and not evaluate.find(run, ATTACKED)
    monkeypatch.setenv("SUITE_FROM_RECORDS", "1")
    assert runs.fit(RECIPE) == run and evaluate.evaluate(run, CLEAN)["n"] == 40
    with pytest.raises(UserError, match="a record without weights"):
        evaluate.evaluate(run, ATTACKED)


def test_a_record_with_weights_is_a_finished_run_that_is_measured_elsewhere(monkeypatch):
    home = recorded(CLEAN, weights=True)
    before = files(home)
    monkeypatch.setattr(runs.training, "train", None)
    run = runs.fit(RECIPE)
    assert run.folder == home and plan.look(RECIPE)[0] == plan.FINISHED
    measured = []
    original = evaluate.correct
    monkeypatch.setattr(evaluate, "correct", lambda *a: measured.append(1) or original(*a))
    evaluate.evaluate(run, CLEAN)
    assert not measured
    for _ in range(2):
        evaluate.evaluate(run, ATTACKED)
    assert len(measured) == 1 and files(home) == before
    own = files(paths.runs())
    assert [n for n in own if ".lock" not in n] == [f"{RECIPE.key}/evaluations/{ATTACKED.key}.json"]
    assert evaluate.find(run, ATTACKED)
    (held,) = status.held()  # a folder with no more than evaluations is what its record is
    assert (held.state, held.what.split()[0]) == (plan.FINISHED, "smart")
    records.keep(RECIPE)
    assert dict(store.measured(home)).keys() == {p.key for p in (CLEAN, ATTACKED)}


def test_an_own_run_comes_first_and_is_not_mixed_up_with_the_record(monkeypatch):
    home = recorded(CLEAN, weights=True)
    before = files(home)
    run = runs.fit(RECIPE, fresh=True)
    assert run.folder == runs.folder(RECIPE) == runs.load(RECIPE).folder
    assert evaluate.find(run, CLEAN)  # the same weights, to the last bit
    changed(run.folder)
    assert not evaluate.find(run, CLEAN, any_code=True)
    with monkeypatch.context() as patch:
        patch.setenv("SUITE_FROM_RECORDS", "1")  # as another training it stands back
        assert runs.load(RECIPE).folder == home and evaluate.find(runs.load(RECIPE), CLEAN)
        with pytest.raises(UserError, match="another training"):  # nothing is written to it
            runs.load(RECIPE).model()
    logits = run.model()(evaluate.data.load("digits", "test", limit=40).float(), lam=0.0)
    labels = evaluate.data.load("digits", "test", limit=40).labels
    assert evaluate.evaluate(run, CLEAN)["correct"] == int((logits.argmax(1) == labels).sum())
    assert files(home) == before
    (run.folder / store.MANIFEST).unlink()  # only the record is left
    assert (record := runs.load(RECIPE)).folder == home
    assert [(CLEAN.key, evaluate.evaluate(record, CLEAN))] == [*store.measured(home)]


def test_a_damaged_own_run_is_set_aside_for_the_record_and_a_damaged_record_stays(caplog):
    home = recorded(weights=True)
    own = runs.fit(RECIPE, fresh=True).folder
    (own / "history.csv").write_text("epoch\n")
    assert plan.look(RECIPE)[0] == plan.FINISHED and runs.load(RECIPE).folder == home
    assert "set aside" in caplog.text and own.with_name(f"{own.name}.damaged-1").is_dir()
    (home / "history.csv").write_text("epoch\n")
    before = files(home)
    assert plan.look(RECIPE)[0] == "damaged: history.csv differs from its recorded hash"
    assert runs.load(RECIPE) is None and files(home) == before
    assert runs.fit(RECIPE).folder == own and files(home) == before


def test_an_unfinished_training_shows_beside_a_record():
    recorded()
    store.write_text(runs.folder(RECIPE) / "resume.pt", "state")
    assert plan.look(RECIPE)[0] == plan.UNFINISHED


def test_a_record_is_verified_beside_the_own_runs_and_then_recorded(monkeypatch):
    home = recorded()
    before = files(home)
    run = runs.load(RECIPE, records=True)
    monkeypatch.setattr(runs, "code_fingerprint", lambda recipe: "reworded")
    assert not runs.is_current(run) and verify.verify(run)
    assert runs.is_current(run) and files(home) == before
    monkeypatch.setenv("SUITE_FROM_RECORDS", "1")
    records.keep(RECIPE)
    shutil.rmtree(paths.runs())
    assert runs.is_current(run)
    monkeypatch.setattr(runs.Run, "info", {"code": "of another training"})
    assert not runs.is_current(run)


def test_every_stale_run_is_verified_whether_own_or_recorded(capsys, monkeypatch):
    recorded()
    other = RECIPE.override({"seed": 1})
    runs.fit(other)
    assert main(["verify"]) == 0 and capsys.readouterr().out == ""
    monkeypatch.setattr(runs, "code_fingerprint", lambda recipe: "reworded")
    for keys in ({RECIPE.key, other.key}, set()):
        assert main(["verify"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert {line.split()[0] for line in lines if "the same" in line} == keys


def test_a_run_on_images_that_have_gone_does_not_end_the_status(tmp_path, capsys):
    runs.fit(RECIPE)
    gone = RECIPE.override({"data.dataset": f"imagefolder:{tmp_path}/gone@16"})
    store.write_json(runs.folder(gone) / "recipe.json", gone.to_dict())
    store.seal(runs.folder(gone), ["recipe.json"])
    assert main(["status"]) == 0 and main(["verify"]) == 0
    assert "its images are not here" in capsys.readouterr().out


def test_status_shows_own_runs_and_counts_the_records(capsys):
    recorded()
    runs.fit(RECIPE.override({"seed": 1}))
    assert main(["status"]) == 0
    shown = capsys.readouterr().out
    assert RECIPE.key not in shown and "\n1 runs, " in shown and "; 1 more are kept" in shown
    assert status.recipe_of(RECIPE.key) == RECIPE


def trained(*recipes, protocols=(CLEAN,)):
    """Train and measure recipes, and return the files of the job store."""
    for recipe in recipes:
        for protocol in protocols:
            evaluate.evaluate(runs.fit(recipe), protocol)
    return stored()


def stored():
    return {n: raw for n, raw in files(paths.runs()).items() if not n.endswith(".lock")}


OTHER = RECIPE.override({"seed": 1})
CHAINED = dataclasses.replace(OTHER, start=RECIPE)


def test_runs_travel_with_evaluations_and_what_they_start_from(tmp_path, monkeypatch, capsys):
    before = trained(CHAINED, OTHER, protocols=(CLEAN, ATTACKED))
    assert main(["runs", "export", str(tmp_path / "bag"), CHAINED.key]) == 0
    assert sorted(p.name for p in (tmp_path / "bag").iterdir() if p.is_dir()) == sorted(
        [RECIPE.key, CHAINED.key]
    )
    assert main(["runs", "export", str(tmp_path / "bag")]) == 0
    assert "was there, with 0 new evaluations" in capsys.readouterr().out
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "there")
    for added in ("added, with 2 evaluations", "was there, with 0 new evaluations"):
        assert main(["runs", "import", str(tmp_path / "bag")]) == 0
        assert capsys.readouterr().out.count(added) >= 2 and stored() == before
    monkeypatch.setattr(runs.training, "train", None)
    assert evaluate.find(runs.fit(CHAINED), ATTACKED)


def test_what_is_there_stays_and_gets_the_evaluations_that_it_lacks(tmp_path, monkeypatch):
    trained(RECIPE, protocols=(CLEAN, ATTACKED))
    bag = tmp_path / "bag"
    main(["runs", "export", str(bag)])
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "there")
    home = trained(RECIPE)  # to the same weights
    assert main(["runs", "import", str(bag)]) == 0
    name = f"{RECIPE.key}/evaluations/{ATTACKED.key}.json"
    assert stored() == home | {name: (bag / name).read_bytes()}


def harmed(name, content):
    return lambda home: (home / name).write_bytes(content)


REFUSED = {
    "is damaged: weights.safetensors differs": harmed("weights.safetensors", b"\0"),
    "is damaged: history.csv differs": harmed("history.csv", b"epoch\n"),
    "no finished run": lambda home: (home / "manifest.json").unlink(),
    "recipe.json cannot be read": harmed("recipe.json", b"{"),
    "did you mean 'train'": harmed("recipe.json", b'{"trane": {}}'),
    "is that of run": lambda home: home.rename(home.with_name("0" * 16)),
    "another training of it is there": changed,
}


@pytest.mark.parametrize(("said", "harm"), REFUSED.items(), ids=REFUSED)
def test_what_is_damaged_is_refused_and_all_else_arrives(said, harm, tmp_path, monkeypatch, capsys):
    trained(RECIPE, OTHER)
    bag = tmp_path / "bag"
    main(["runs", "export", str(bag)])
    if harm is not changed:
        monkeypatch.setattr(paths, "RESULTS", tmp_path / "there")
    before = stored()
    harm(bag / RECIPE.key)
    left = files(bag)
    capsys.readouterr()
    assert main(["runs", "import", str(bag)]) == 1
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 2 and shown.count("refused: ") == 1 and said in shown
    assert files(bag) == left and before.items() <= stored().items()
    assert runs.load(OTHER) and bool(runs.load(RECIPE)) == (harm is changed)


def test_a_damaged_run_leaves_no_copy_and_a_damaged_copy_is_made_anew(tmp_path, capsys):
    before = trained(RECIPE)
    bag = tmp_path / "bag"
    main(["runs", "export", str(bag)])
    harmed("history.csv", b"")(bag / RECIPE.key)
    assert main(["runs", "export", str(bag), RECIPE.key]) == 0
    whole = {n: raw for n, raw in files(bag).items() if ".damaged-1" not in n and ".lock" not in n}
    assert whole == before and (bag / f"{RECIPE.key}.damaged-1").is_dir()
    harmed("history.csv", b"")(runs.folder(RECIPE))
    assert main(["runs", "export", str(tmp_path / "new")]) == 1
    assert "is damaged: history.csv differs" in capsys.readouterr().out
    assert not files(tmp_path / "new") and main(["runs", "import", str(tmp_path / "none")]) == 2
