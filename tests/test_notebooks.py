"""Every notebook keeps to the conventions that make it readable and runnable in bulk."""

import ast
import re
from itertools import pairwise

import nbformat
import papermill
import pytest

from lib import paths
from lib.studies import ARTIFACTS

TAGS = ["parameters", "claims-stated", "figure", "claims", "check"]
DEFAULTS = {"PRESET": ("str", '"quick"'), "SEEDS": ("list", "[0]"), "OVERRIDES": ("dict", "{}")}
FORBIDDEN = {
    "shell or magic": r"^\s*[!%]",
    "sys.path": r"sys\.path",
    "silenced warnings": r"filterwarnings|simplefilter",
    "a CUDA call": r"\.cuda\(|\.to\(\"cuda",
    "an absolute path": r"[\"'](/[A-Za-z]|~/|[A-Z]:\\)",
    "a parent folder": r"\.\./",
    "a download": r"urlretrieve|requests\.get|urlopen|wget",
    "a pickle": r"pickle|torch\.save|torch\.load",
    "commented-out code": r"^\s*#\s*\w+\s*(=|\()",
}

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*/*.ipynb"))
RECORDED = sorted((paths.ROOT / "results").glob("*/*/*/*.ipynb"))
IDS = [f"{path.parent.name}/{path.stem}" for path in NOTEBOOKS]
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)


def load(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def length(cell):
    return len(cell.source.splitlines())


def draws(cell):
    return "figure" in cell.metadata.get("tags", [])


def test_notebooks_and_artifacts_are_the_same_set():
    assert set(IDS) == set(ARTIFACTS)


@each
def test_it_is_valid_and_stripped(path):
    notebook = load(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert set(notebook.metadata) == {"kernelspec"}
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in code(notebook):
        assert not cell.outputs and cell.execution_count is None
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        assert re.fullmatch(r"[a-z][a-z0-9-]*", cell.id), cell.id


def tagged(path):
    cells = [cell for cell in code(load(path)) if cell.metadata.get("tags")]
    return {cell.metadata.tags[0]: cell.source for cell in cells}


retold = [path for path in NOTEBOOKS if "claims-stated" in tagged(path)]
told = pytest.mark.parametrize("path", retold, ids=[f"{p.parent.name}/{p.stem}" for p in retold])


@told
def test_it_has_the_tagged_cells_in_order(path):
    assert list(tagged(path)) == TAGS


@told
def test_it_states_its_claims_before_it_trains_and_shows_the_code_of_an_equation(path):
    cells = [cell.source for cell in code(load(path))]
    stated = cells.index(tagged(path)["claims-stated"])
    assert not any("measure(" in cell or "fit(" in cell for cell in cells[: stated + 1])
    assert any(re.search(r"^source\(", cell, re.MULTILINE) for cell in cells)


@told
def test_it_judges_and_saves_in_one_call_and_draws_its_figure_itself(path):
    cells = tagged(path)
    assert "stated(study)" in cells["claims-stated"]
    assert "verdicts(study, metrics" in cells["claims"]
    text = "\n".join(cell.source for cell in code(load(path)))
    assert "artifacts.save(" not in text and "lib.papers" not in text


@each
def test_papermill_reads_its_parameters(path):
    found = papermill.inspect_notebook(str(path))
    assert {n: (p["inferred_type_name"], p["default"]) for n, p in found.items()} == DEFAULTS
    assert all(p["help"] for p in found.values())


@each
def test_it_is_short_and_mostly_prose(path):
    notebook = load(path)
    assert 10 <= len(code(notebook)) <= 20
    assert len(prose(notebook)) >= len(code(notebook)) - 1
    assert sum(length(cell) for cell in code(notebook)) <= 150
    assert all(length(cell) <= (45 if draws(cell) else 20) for cell in code(notebook))
    assert max(length(cell) for cell in prose(notebook)) <= 18


@each
def test_it_opens_with_a_title_and_ends_with_its_limits(path):
    cells = load(path).cells
    assert cells[0].cell_type == cells[-1].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    assert sum(line.startswith("# ") for cell in prose(load(path)) for line in lines(cell)) == 1
    assert cells[-1].source.startswith("## ")


def lines(cell):
    return cell.source.splitlines()


@each
def test_its_code_cells_follow_a_sentence_that_announces_them(path):
    cells = load(path).cells
    for before, cell in pairwise(cells):
        if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
            if before.cell_type == "code":
                assert "parameters" in before.metadata.get("tags", []), cell.id
            else:
                assert not before.source.startswith("# "), cell.id


@each
def test_its_imports_stand_in_one_cell(path):
    cells = [c for c in code(load(path)) if re.search(r"^(import|from) ", c.source, re.MULTILINE)]
    assert len(cells) == 1
    body = ast.parse(cells[0].source).body
    assert all(isinstance(node, ast.Import | ast.ImportFrom) for node in body)


@each
def test_it_leaves_machinery_to_lib(path):
    for cell in code(load(path)):
        for what, pattern in FORBIDDEN.items():
            assert not re.search(pattern, cell.source, re.MULTILINE), f"{cell.id}: {what}"
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.ClassDef), f"{cell.id} defines a class"
            if isinstance(node, ast.FunctionDef) and not draws(cell):
                assert node.end_lineno - node.lineno < 8, f"{cell.id}: {node.name} is long"


@each
def test_it_asserts_and_saves(path):
    by_tag = {tag: c.source for c in code(load(path)) for tag in c.metadata.get("tags", [])}
    assert by_tag["check"].count("assert ") >= 3
    saves = [re.search(r"artifacts.save\(|^verdicts\(", c.source, re.M) for c in code(load(path))]
    assert len(list(filter(None, saves))) == 1


@each
def test_its_claims_are_judged_as_far_as_the_study_allows(path):
    text = "\n".join(cell.source for cell in code(load(path)))
    assert "preset.judge" not in text
    if path.parent.name != "audit" and "verdicts(study" not in text:
        assert "study.judged" in text and "tables.verdicts(study, claims)" in text


@each
def test_its_prose_tells_no_findings_which_may_not_hold_for_the_next_preset(path):
    for cell in prose(load(path)):
        assert not re.search(r"\b[Ff]ound here\b|\bHere we (find|found)\b", cell.source), cell.id


@pytest.mark.parametrize(
    "path", RECORDED, ids=[p.relative_to(paths.ROOT / "results").as_posix() for p in RECORDED]
)
def test_a_recorded_notebook_shows_no_warning(path):
    for cell in code(load(path)):
        said = [o.text for o in cell.outputs if o.get("name") == "stderr"]
        assert not said, f"{cell.id}: {said[0]}"


@each
def test_no_measured_number_is_typed_into_a_figure_or_a_sentence(path):
    for cell in code(load(path)):
        if "Markdown(" in cell.source:
            text = " ".join(
                node.value
                for node in ast.walk(ast.parse(cell.source))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            )
            assert not re.search(r"\d+\.\d+ %|\d{2,}\.\d", text), cell.id
