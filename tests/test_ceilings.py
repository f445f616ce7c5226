"""The rules that keep lib small: ceilings of lines, second use, figures named in one place."""

import ast
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from lib import paths
from lib.scoring import ATTACKS
from lib.studies import ARTIFACTS

LIB, TESTS = paths.ROOT / "lib", paths.ROOT / "tests"
CORE = ("models", "attacks", "trainers", "methods.py", "recipe.py", "protocol.py", "evaluate.py")
PAPERS = ("studies", "readings")
above = pytest.mark.xfail(strict=True, reason="the ceiling that is aimed at; not reached yet")


def sources(*places: Path) -> list[Path]:
    """Return the Python files in folders."""
    found = [place.rglob("*.py") if place.is_dir() else [place] for place in places]
    return sorted(path for files in found for path in files)


def lines(*places: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in sources(*places))


def name(path: Path) -> str:
    return path.relative_to(LIB).as_posix()


@pytest.mark.parametrize(
    ("places", "most"),
    [
        ([LIB], 19_450),
        pytest.param([LIB], 10_000, marks=above),
        ([LIB / part for part in CORE], 5_560),
        ([LIB / part for part in PAPERS], 100 * len(ARTIFACTS)),
        ([TESTS], 16_870),
        pytest.param([TESTS], 9_500, marks=above),
    ],
    ids=["lib", "lib as aimed at", "core", "papers", "tests", "tests as aimed at"],
)
def test_no_part_grows_above_its_ceiling(places, most):
    assert lines(*places) <= most


def test_no_file_of_lib_is_longer_than_an_evening_allows():
    assert {name(path): n for path in sources(LIB) if (n := lines(path)) > 300} == {}


def used(tree: ast.AST, imports: bool) -> Counter[str]:
    """Return how often code names identifiers: variables, attributes and, if asked, imports."""
    found: Counter[str] = Counter()
    for node in ast.walk(tree):
        found.update([node.id] if isinstance(node, ast.Name) else [])
        found.update([node.attr] if isinstance(node, ast.Attribute) else [])
        found.update([node.name] if isinstance(node, ast.alias) and imports else [])
    return found


def test_a_public_function_has_a_second_use():
    """It is called in lib or in two notebooks; what one notebook needs stands there."""
    trees = {path: ast.parse(path.read_text()) for path in sources(LIB)}
    uses: Counter[str] = Counter()
    for path, tree in trees.items():  # the face of a package only hands names on
        uses += used(tree, imports=path.name != "__init__.py")
    for path in paths.NOTEBOOKS.rglob("*.ipynb"):
        cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        words = set(re.findall(r"\w+", "\n".join("".join(c["source"]) for c in cells)))
        uses.update(dict.fromkeys(words, 0.5))
    for text in re.findall("```python\n(.*?)```", (paths.ROOT / "README.md").read_text(), re.S):
        uses.update(re.findall(r"\w+", text))
    lonely = [
        f"{name(path)}: {node.name}"
        for path, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.decorator_list  # a plan registers itself
        if node.name[0] != "_" and uses[node.name] < 1
    ]
    assert lonely == []


def test_no_figure_is_named_outside_of_plans_and_readings():
    stems = {artifact.split("/")[1] for artifact in ARTIFACTS} - {*ATTACKS}  # one is called so
    said = re.compile(rf"\b({'|'.join(stems)})\b|\b(Figure|Table|Fig\.) ?\d|\b(fig|table)\d+_")
    naming = {}
    for path in sources(LIB):
        found = sorted({m[0] for m in said.finditer(path.read_text())})
        if found and not name(path).startswith(tuple(f"{part}/" for part in PAPERS)):
            naming[name(path)] = found
    assert naming == {}
