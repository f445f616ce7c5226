"""README shows code that runs, links that lead somewhere and regions that can be filled."""

import re
import runpy
from pathlib import Path

import pytest

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
