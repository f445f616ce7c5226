"""One batch with real children: a network, a notebook that works and one that does not."""

import csv
import json
import shutil
import signal
import subprocess
import time

import psutil
import pytest

from lib import paths, records
from lib.batch import execute, plan, pool
from lib.batch.child import LEASH
from lib.errors import UserError

STUDY = """
import os, sys
import matplotlib.pyplot as plt
from lib import artifacts, claims, measure
from lib.study import Builder
from lib.methods import Plain

b = Builder("tiny/two", PRESET, SEEDS, OVERRIDES)
for setting, seed in b.settings():
    b.add("plain", b.recipe(setting, seed, Plain()), (0.0,), [{"attack": "fgsm"}])
study = b.study()
rows = measure.measure(study)
"""
SAVE = """
figure, axes = plt.subplots(figsize=(2, 2))
axes.plot(rows["value"])
frame = claims.table([{"id": "half", "claim": "Half of them hold", "verdict": "reproduced"}])
artifacts.save(study, rows, frame, figure=figure)
print(os.getcwd(), sys.executable, os.environ.get("SUITE_PROGRESS"), PRESET, SEEDS, OVERRIDES)
"""


def test_a_batch_trains_executes_and_reports_then_has_nothing_to_do(real, capsys):
    real.write("tiny/two", STUDY, SAVE)
    real.write("tiny/none", "1 + 1", "raise RuntimeError('not\\ntoday')")
    assert real("tiny/two", "tiny/none", "--jobs", "2") == 1
    shown = capsys.readouterr()
    assert "failed: cell [4]: RuntimeError: not today" in shown.out
    assert "1 reproduced" in shown.out

    folder = real.results / "local/ci/tiny/two"
    made = {path.name for path in folder.iterdir()}
    assert made == {
        *("metrics.csv", "claims.csv", "run.json", "inputs.json"),
        *("figure.png", "figure.pdf", "two.ipynb"),
    }
    assert {p.name for p in (real.results / "local/ci/tiny/none").iterdir()} == {
        "failure.json",
        "none.failed.ipynb",
    }
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["metric"] for row in rows] == ["clean_acc", "robust_acc"]
    run = next(p for p in (real.results / "runs").iterdir() if (p / "manifest.json").is_file())
    assert len(list((run / "evaluations").iterdir())) == 2
    assert json.loads((run / "run.json").read_text())["threads"] == 1

    executed = json.loads((folder / "two.ipynb").read_text())
    assert str(real.home) not in json.dumps(executed["metadata"])
    assert executed["metadata"]["papermill"]["duration"] > 0
    told = "".join(executed["cells"][-1]["outputs"][0]["text"])
    assert told.endswith("None ci [0] {}\n")

    for need in plan.make(["tiny/two"], "ci", (0,), {}).needs.values():
        records.keep(need.recipe)
    shutil.rmtree(real.results / "runs")
    (folder / "figure.png").unlink()
    assert real("tiny/two", "--from-records") == 0 and (folder / "figure.png").is_file()

    real.write("tiny/none", "1 + 1")  # still not what a notebook has to write
    before, started = real.files(), time.monotonic()
    assert real("tiny/two", "--from-records") == 0
    assert time.monotonic() - started < 5 and real.files() == before


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
def test_a_kernel_that_dies_fails_its_artifact_and_the_cell_is_named(real, name):
    source = f"import os, signal; os.kill(os.getpid(), signal.{name})"
    real.write("tiny/none", "1 + 1", source, "1 + 1")
    assert real("tiny/none", "--timeout", "60") == 1
    folder = real.results / "local/ci/tiny/none"
    reason = json.loads((folder / "failure.json").read_text())["reason"]
    assert reason.startswith(f"cell [4]: the kernel ended by {name}: ")
    assert (folder / "none.failed.ipynb").is_file()


def test_an_execution_that_is_stopped_leaves_neither_kernel_nor_temporary_files(real):
    mark = real.home / "kernel"
    real.write("tiny/none", f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid()))",
               "time.sleep(100)")  # fmt: skip
    temporary = real.home / "tmp"
    temporary.mkdir()
    source, output = real.notebooks / "tiny/none.ipynb", real.home / "out.ipynb"
    call = pool.python("lib.batch.execute", str(source), str(output), "{}")
    env = pool.environment() | {"TMPDIR": str(temporary), LEASH: ""}
    process = subprocess.Popen(call, cwd=paths.ROOT, env=env, stderr=subprocess.DEVNULL)
    while not (mark.is_file() and mark.read_text()) and process.poll() is None:
        time.sleep(0.05)
    assert list(temporary.glob("nb-*"))
    process.terminate()
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    assert not list(temporary.iterdir())
    assert not psutil.pid_exists(int(mark.read_text()))


def test_a_notebook_that_stops_in_the_middle_is_no_success(real):
    real.write("tiny/two", "import sys; sys.exit()", "1 + 1")
    output = real.home / "out.ipynb"
    with pytest.raises(UserError, match="cell 4 of 4 was not executed"):
        execute.execute(real.notebooks / "tiny/two.ipynb", output, {"PRESET": "ci"})
