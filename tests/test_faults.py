"""The short version of the faults, and that a suite which loads what is damaged fails it."""

import json
import os
import subprocess
import sys

from lib import paths

HARMLESS = "from lib import store as s; f = s.damage; s.damage = lambda *a: f(*a) if a[1:] else ''"


def faults(*words: str, first: str = "") -> subprocess.CompletedProcess:
    code = f"{first}\nimport sys; from tests.faults.__main__ import main; sys.exit(main())"
    call = [sys.executable, "-c", code, "--short", *words]
    env = {k: v for k, v in os.environ.items() if k not in ("SUITE_RECORD", "SUITE_FROM_RECORDS")}
    return subprocess.run(call, cwd=paths.ROOT, env=env, capture_output=True, text=True)


def test_the_suite_deals_with_every_fault(tmp_path):
    done = faults("--json", str(tmp_path / "faults.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "faults.json").read_text())["faults"]
    kills = [row["work"] for row in found if row["fault"] == "SIGKILL" and row["passed"]]
    assert kills == ["training", "ADMM chain", "HYDRA chain", "GDWS conversion", "evaluation"]
    others = {"full disk", "two at once", "NaN in a step", "damaged file"}
    assert others < {row["fault"] for row in found}


def test_a_suite_that_does_not_look_at_hashes_fails():  # of finished runs
    done = faults("--only", "damaged file, history.csv", first=HARMLESS)
    assert done.returncode == 1 and "history.csv: 0 of 1" in done.stdout
