"""Fingerprints change with the meaning of code and with nothing else."""

import ast

import pytest

from lib import source

CODE = '''"""A module."""


def f(x, y):
    """Say what."""
    # a comment
    return {"a": x, f"{y}": 1}
'''


@pytest.fixture
def meaning(tmp_path):
    def of(text):
        path = tmp_path / f"m{abs(hash(text))}.py"
        path.write_text(text)
        return source.meaning(path)

    return of


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another"),
        ('"""Say what."""', '"""Say something\n    longer."""'),
        ("(x, y)", "(\n    x,\n    y,\n)"),
        ("    ", "  "),
        ("\n\n\n", "\n"),
    ],
)
def test_comments_docstrings_and_layout_have_no_meaning(meaning, old, new):
    assert meaning(CODE.replace(old, new)) == meaning(CODE)


@pytest.mark.parametrize(("old", "new"), [("x, y", "y, x"), (": 1", ": 2"), ('"a"', '"b"')])
def test_a_change_of_meaning_shows(meaning, old, new):
    assert meaning(CODE.replace(old, new)) != meaning(CODE)


def test_blocks_have_meaning(meaning):
    nested = "if a:\n    if b:\n        c\n    else:\n        d\n"
    outer = "if a:\n    if b:\n        c\nelse:\n    d\n"
    assert meaning(nested) != meaning(outer)


def test_imports_are_found_wherever_they_are():
    tree = ast.parse(
        "import lib.a.b\nfrom lib import c, d as e\nfrom lib.f import g\nimport os\n"
        "def h():\n    from lib.i import j\n"
    )
    assert source.imported(tree) == {"a", "c", "d", "f", "i"}


def test_what_is_needed_follows_imports():
    assert {"errors", "presets", "protocol", "recipe"} <= source.needed(["studies"])
    assert "trainers" not in source.needed(["presets"])
    assert "trainers" in source.needed(["measure"])
    assert source.needed(["nothing_of_the_kind"]) == set()
