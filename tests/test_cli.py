"""The command line, called in this process: what it prints and the status it returns."""

import json
import subprocess
import sys

import nbformat
import pytest

from lib import commands, paths, store
from lib.__main__ import main
from lib.arguments import parse
from lib.batch import worker
from lib.report import readme
from lib.runs import Run
from lib.stopping import Stopped
from lib.studies import ARTIFACTS, artifact

pytestmark = pytest.mark.usefixtures("results")


@pytest.mark.parametrize("words", ["run --list", "--help", "run --help", "cost --help"])
def test_help_and_list_need_no_torch(words):
    code = (
        "import sys; from lib.__main__ import main; status = main(sys.argv[1:]);"
        "sys.exit(status or 'torch' in sys.modules)"
    )
    call = [sys.executable, "-c", code, *words.split()]
    done = subprocess.run(call, cwd=paths.ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout and not done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", [*ARTIFACTS]),
        ("smart", [name for name in ARTIFACTS if name.startswith("smart/")]),
        ("smart/fig[45]*", ["smart/fig4_lambda_sweep", "smart/fig5_fgsm"]),
        ("s*table2* SMART/Fig5*", ["smart/table2_comparison", "smart/fig5_fgsm"]),
        ("smart/fig5_fgsm --jobs 2 smart/fig1_pareto", ["smart/fig1_pareto", "smart/fig5_fgsm"]),
    ],
)
def test_artifacts_are_chosen_by_paper_name_or_glob_around_the_options(words, expected, capsys):
    assert main(["run", "--list", *words.split()]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == expected


def fields(*words):
    return parse(["run", *(f"--set={word}" for word in words)]).set


def test_values_are_json_or_text_and_a_folder_is_of_where_the_caller_is(tmp_path, monkeypatch):
    words = ["a.b=3", "a.c=0.5", "a.d=false", "a.e=cifar100", "a.f=[0, 0.2]", "a.g=x=y", "a.h="]
    words += ["a.i=8/255", "a.j=-0.5/2", "a.k=1/0", "a.l=a/2"]
    assert fields(*words) == {
        **{"a.b": 3, "a.c": 0.5, "a.d": False, "a.e": "cifar100", "a.f": [0, 0.2]},
        **{"a.g": "x=y", "a.h": "", "a.i": 8 / 255, "a.j": -0.25, "a.k": "1/0", "a.l": "a/2"},
    }
    assert fields() == {}
    monkeypatch.chdir(tmp_path)
    found = fields("data.dataset=imagefolder:my/images@32")
    assert found == {"data.dataset": f"imagefolder:{tmp_path}/my/images@32"}


@pytest.mark.parametrize(
    "words", ["--seeds 0 1 2", "--seeds 0,1 2", "--seeds 0, 1, 2", "--seeds=0 1 2", "--seeds 0,1,2"]
)
def test_seeds_may_stand_apart(words):
    found = parse(["run", "smart/fig5_fgsm", *words.split(), "audit", "--preset", "ci"])
    assert found.seeds == (0, 1, 2)
    assert found.artifacts == ["smart/fig5_fgsm", "audit"]
    found = parse(["train", "smart", "1"])
    assert (found.artifacts, found.seeds) == (["smart", "1"], (0,))


def test_a_paper_is_trained_as_all_its_artifacts(monkeypatch, capsys):
    trained = []

    def work(recipe, protocols, label, fresh):
        trained.append(recipe.key)
        return Run(recipe, paths.runs() / recipe.key)

    monkeypatch.setattr(worker, "work", work)
    assert main(["train", "smart", "--preset", "ci"]) == 0
    every = [name for name in ARTIFACTS if name.startswith("smart/")]
    assert set(trained) == {key for name in every for key in artifact(name)("ci").recipes}


def test_cost_prints_json_or_a_table(capsys):
    words = ["cost", "--method", "smart", "--backbone", "resnet20", "--set", "pattern=DSS"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["params"] > found["params_per_path"] > 0
    assert main([*words, "--width", "4"]) == 0
    assert "params_per_path" in capsys.readouterr().out


def test_data_tells_the_number_of_images(capsys):
    assert main(["data", "digits"]) == 0
    assert capsys.readouterr().out == "digits: 1,097 train, 100 val, 600 test\n"


def test_prepared_notebooks_run_under_the_asked_preset(tmp_path, monkeypatch, capsys):
    source = tmp_path / "notebooks/smart/fig5_fgsm.ipynb"
    source.parent.mkdir(parents=True)
    text = "PRESET: str = 'quick'\nSEEDS: list = [0]\nOVERRIDES: dict = {}"
    cell = nbformat.v4.new_code_cell(text, metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "x"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), source)
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    plan = ARTIFACTS["smart/fig5_fgsm"]
    for name in reversed(list(ARTIFACTS)):  # put back in the order that they have
        monkeypatch.delitem(ARTIFACTS, name)
    monkeypatch.setitem(ARTIFACTS, "smart/fig5_fgsm", plan)
    assert main(["prepare-notebooks", "--preset", "ci", str(tmp_path / "out")]) == 0
    made = nbformat.read(tmp_path / "out/smart/fig5_fgsm.ipynb", as_version=4)
    last = [cell.source.splitlines()[-1] for cell in made.cells]
    assert last == ["OVERRIDES: dict = {}", 'PRESET = "ci"']
    assert str(tmp_path) not in json.dumps(made.metadata)


def test_report_rebuilds_every_folder_of_results(results, monkeypatch, capsys):
    for name in ("quick", "ci"):
        store.write_json(results / "local" / name / "smart/fig5_fgsm/run.json", {})
    noted = results / "local/ci/smart/fig5_fgsm/inputs.json"
    store.write_json(noted, {"outputs": {"claims.csv": "0"}})
    asked = []
    monkeypatch.setattr(readme, "fill", lambda path: asked.append(path))
    assert main(["report", "--readme"]) == 0
    assert asked == [paths.ROOT / "README.md"]
    assert "not published: smart/fig5_fgsm (claims.csv, run.json)" in capsys.readouterr().out
    for preset in ("quick", "ci"):
        assert (results / "local" / preset / "index.html").is_file()
    assert "quick/index.html" in (results / "local/index.html").read_text()


def test_report_touches_what_the_repository_keeps_only_where_asked(results, monkeypatch):
    monkeypatch.setenv("SUITE_RECORD", "")
    for name in ("local/quick/smart/x", "quick/smart/x", "records/0123/evaluations/x"):
        store.write_json(results / name / "run.json", {})
    made = {results / "local/quick/index.html", results / "local/index.html"}
    assert main(["report"]) == 0 and set(results.rglob("index.html")) == made
    made |= {results / "quick/index.html", results / "index.html"}
    assert main(["report", "--record"]) == 0 and set(results.rglob("index.html")) == made


def test_errors_that_nobody_can_mend_keep_their_traceback(monkeypatch):
    def fail(words):
        raise RuntimeError("a bug")

    monkeypatch.setitem(commands.COMMANDS, "data", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["data", "digits"])


@pytest.mark.parametrize(
    ("raised", "status"), [(KeyboardInterrupt(), 130), (Stopped(15), 143), (Stopped(1), 129)]
)
def test_an_interruption_is_one_line(monkeypatch, capsys, raised, status):
    def stop(words):
        raise raised

    monkeypatch.setitem(commands.COMMANDS, "data", stop)
    assert main(["data", "digits"]) == status
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1 and "run the same command again to continue" in shown.err


@pytest.mark.parametrize("asked", ["run --list", "run --list smart/fig1*"])  # one fits a buffer
def test_a_reader_that_has_enough_is_no_error(asked):
    call = f"env -u PYTHONUNBUFFERED {sys.executable} -m lib {asked} | head -0"
    done = subprocess.run(call, shell=True, cwd=paths.ROOT, capture_output=True, text=True)
    assert not done.stderr
