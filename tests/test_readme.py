"""README shows code that runs, links that lead somewhere and regions that can be filled."""

import re
import runpy
from pathlib import Path

import pytest
from scipy.stats import binomtest

from lib import store
from lib.methods import PgdAt
from lib.protocol import Protocol
from lib.recipe import Data, Model, Recipe, Train
from lib.report import readme

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_examples_run(code, results, monkeypatch):
    monkeypatch.chdir(results)
    (results / "records").symlink_to(ROOT / "results/records")  # the weights of the repository
    example = results / "example.py"
    example.write_text(code)
    runpy.run_path(str(example))


def test_the_links_into_the_repository_lead_somewhere():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    local = [target for target in targets if "://" not in target]
    assert local
    assert [target for target in local if not (ROOT / target).exists()] == []


def test_every_generated_region_is_closed_and_known():
    marks = re.findall(r"^<!-- (generated: (\w+).*|end) -->$", README, re.MULTILINE)
    names = [name for _, name in marks if name]
    assert [bool(name) for _, name in marks] == [True, False] * len(names)
    assert set(names) == set(readme.REGIONS)


def test_the_relock_command_is_the_one_that_drift_asks_for():
    from lockfile import RELOCK

    assert RELOCK in README


def test_recorded_runs_behind_no_results_are_shown_as_they_scored(results):
    home = results / "records" / ("0" * 16)
    recipe = Recipe(Data("cifar10"), Model("resnet34"), PgdAt(lam=0.5), Train(epochs=10))
    store.write_json(home / "recipe.json", recipe.to_dict())
    store.write_json(home / "run.json", {"device": "a GPU"})
    assert readme.runs({}, "0" * 16) == readme.NOTHING
    store.seal(home, ["recipe.json", "run.json"])
    for name, correct, protocol in (("a", 30, {}), ("b", 20, {"attack": "pgd", "steps": 7})):
        record = {"correct": 2 * correct, "n": 40, "bits": "f f"}  # of two draws
        whole = record | {"protocol": Protocol(**protocol).to_dict()}
        store.write_signed(home / "evaluations" / f"{name}.json", whole)
    (home / "evaluations/c.json").write_text("{}")  # of nobody
    row = readme.runs({}, "0" * 16).splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:3] == ["PGD-AT", "0.5", "resnet34, 10 epochs, a GPU"]
    low, high = binomtest(20, 40).proportion_ci(method="wilson")
    assert cells[4] == f"50.0 [{100 * low:.1f}, {100 * high:.1f}] of 40"
    assert cells[3].startswith("75.0 [") and cells[5] == ""
