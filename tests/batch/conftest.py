"""A suite of three tiny artifacts in a folder of its own."""

import json
import sys
from pathlib import Path

import pytest

from lib import paths, scoring
from lib.__main__ import main
from lib.batch import pool
from lib.methods import Plain, Smart
from lib.studies import ARTIFACTS
from lib.study import Builder, Study

CHILD = Path(__file__).with_name("fake_child.py")
PARAMETERS = "PRESET: str = 'ci'\nSEEDS: list = [0]\nOVERRIDES: dict = {}"
METHODS = {"plain": Plain(), "smart": Smart()}


def notebook(*sources: str) -> str:
    """Return a notebook of code cells; the first holds the parameters."""
    cells = [
        {"cell_type": "code", "metadata": {"tags": tags}, "source": text, "outputs": [],
         "execution_count": None, "id": f"cell-{number}"}
        for number, (tags, text) in enumerate(
            [(["parameters"], PARAMETERS), *(([], text) for text in sources)]
        )
    ]  # fmt: skip
    metadata = {"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def tiny(name: str, *labels: str):
    """Return the plan of an artifact over one or both of two tiny networks."""

    def plan(preset="quick", seeds=(0,), overrides=None) -> Study:
        b = Builder(name, preset, seeds, overrides)
        for setting, seed in b.settings():
            for label in labels:
                recipe = b.recipe(setting, seed, METHODS[label])
                b.add(label, recipe, (0.0,), [{"attack": "fgsm"}])
        return b.study()

    plan.__doc__ = f"Plan {name}."
    return plan


class Suite:
    """What a test needs of the tiny suite."""

    def __init__(self, home: Path) -> None:
        self.home, self.results, self.notebooks = home, home / "results", home / "notebooks"
        self.faults = home / "faults.json"
        self.fault()

    def fault(self, **behaviours: str) -> None:
        """Make children misbehave, by artifact (with __ for /) or key."""
        plan = {name.replace("__", "/"): what for name, what in behaviours.items()}
        self.faults.write_text(json.dumps(plan))
        self.faults.with_suffix(".calls").write_text("")

    def write(self, artifact: str, *sources: str) -> None:
        """Replace the notebook of an artifact."""
        path = self.notebooks / f"{artifact}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(notebook(*sources))

    @property
    def calls(self) -> list[str]:
        """Return which children were started since the last `fault`."""
        return self.faults.with_suffix(".calls").read_text().split("\n")[:-1]

    def __call__(self, *words: str) -> int:
        """Run the batch with the ci preset."""
        return main(["run", *words, "--preset", "ci"])

    def files(self) -> dict[str, bytes]:
        """Return every file of the results but the store's."""
        home = self.results / "local"
        found = (p for p in (home / "ci").rglob("*") if p.is_file())
        return {p.relative_to(home).as_posix(): p.read_bytes() for p in found}


@pytest.fixture
def real(tmp_path, monkeypatch):
    """Return the tiny suite with real children."""
    made = Suite(tmp_path)
    monkeypatch.setattr(paths, "RESULTS", made.results)
    monkeypatch.setattr(paths, "NOTEBOOKS", made.notebooks)
    for name in reversed(list(ARTIFACTS)):  # put back in the order that they have
        monkeypatch.delitem(ARTIFACTS, name)
    for name, labels in {"one": ["plain", "smart"], "two": ["plain"], "none": []}.items():
        monkeypatch.setitem(ARTIFACTS, f"tiny/{name}", tiny(f"tiny/{name}", *labels))
        made.write(f"tiny/{name}", "from lib import claims")
    return made


@pytest.fixture
def suite(real, monkeypatch):
    """Return the tiny suite with fake children."""
    monkeypatch.setenv("FAKE", str(real.faults))
    monkeypatch.setattr(scoring, "code_fingerprint", lambda recipe, protocol: "today")
    monkeypatch.setattr(pool, "fork", pool.Process)
    monkeypatch.setattr(pool, "python", lambda *words: [sys.executable, str(CHILD), *words])
    return real
