"""Fingerprints change with the meaning of code and with nothing else."""

import ast
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lib import runs, scoring, source
from lib.attacks import NORMS
from lib.methods import METHODS, Float, Oat, PgdAt
from lib.models import BACKBONES
from lib.protocol import Protocol
from lib.recipe import Attack, Data, Model, Recipe, Train
from lib.schedules import SCHEDULES
from lib.sparsity import Momentum
from lib.trainers.objectives import OBJECTIVES
from lib.trainers.pruners import PRUNERS

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
    assert meaning(nested) != meaning("if a:\n    if b:\n        c\nelse:\n    d\n")


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


FLOAT = Recipe(Data("digits"), Model("resnet18", width=4), Float())
TRAINED = {
    "float": FLOAT,
    "sparse": replace(FLOAT, sparsity=Momentum()),
    "oat": replace(FLOAT, method=Oat()),
    "pgd-at": replace(FLOAT, method=PgdAt(), train=Train(schedule="onecycle")),
    "wide": replace(FLOAT, model=Model("wrn16_8", width=2), attack=Attack(norm="l2")),
}
SCORED = {name: Protocol(attack=name) for name in ("none", "fgsm", "pgd", "autoattack")}
CACHED = ("_tree", "_tokens", "_definition", "_used")


def codes():
    """Return the fingerprint of every training, and of every evaluation of the FLOAT network."""
    for name in CACHED:
        getattr(source, name).cache_clear()
    trained = {name: runs.code_fingerprint(recipe) for name, recipe in TRAINED.items()}
    return trained | {name: scoring.code_fingerprint(FLOAT, p) for name, p in SCORED.items()}


def edited(text, name, documented):
    """Return a module with one more statement in a function or class, or in its docstring."""
    node = ast.parse(text)
    for part in name.split("."):
        (node,) = (n for n in node.body if getattr(n, "name", "") == part)
    place = node.body[0] if documented else node.body[-1]
    line = min([place.lineno, *(d.lineno for d in getattr(place, "decorator_list", ()))]) - 1
    lines = text.splitlines()
    if documented:
        lines[line] = lines[line].replace('"""', '"""Once more: ', 1)
    else:
        lines.insert(line, " " * place.col_offset + "pass")
    return "\n".join(lines) + "\n"


ALL, TRAININGS, ATTACKS = {*TRAINED, *SCORED}, {*TRAINED}, {"fgsm", "pgd"}
WHOSE = {
    "attacks.projected.pgd": TRAININGS | ATTACKS,
    "attacks.norms.L2.shrink": {"wide"},
    "attacks.norms.L1.shrink": set(),
    "attacks.autoattack._Program": {"autoattack"},
    "data.batching.crop_and_flip": TRAININGS,
    "data.batching.in_order": {*SCORED},
    "data.loading.load": set(),
    "models.conditional.Conditional.draw_noise": ALL - {"pgd-at"},
    "models.conditional_layers.FiLM.affine": {"oat"},
    "models.freezing.classifier": {*SCORED},
    "models.resnet.BasicBlock": ALL - {"wide"},
    "models.slimmable.SlimmableConv2d": set(),
    "models.variants.create": ALL,
    "recipe.Attack": set(),
    "runs.load": set(),
    "schedules.onecycle": {"pgd-at"},
    "step.default_step": TRAININGS | ATTACKS,
    "scoring._fgsm": {"fgsm"},
    "scoring.correct": {*SCORED},
    "scoring.function": {*SCORED},
    "scoring.stream": {*SCORED},
    "trainers.loop.under_attack": ALL,
    "trainers.loop.Trainer.steps": TRAININGS,
    "trainers.objectives.two_paths": {"float", "sparse", "wide"},
    "trainers.pruners.momentum.SparseMomentum": {"sparse"},
}


@pytest.mark.parametrize("place", WHOSE)
def test_an_edit_shows_in_all_that_used_it_and_nowhere_else(monkeypatch, place):
    names = sorted(sys.modules, reverse=True)
    module = next(name for name in names if f"lib.{place}".startswith(f"{name}."))
    path, read = Path(sys.modules[module].__file__), source._text
    name, found = f"lib.{place}".removeprefix(f"{module}."), []
    before = codes()
    for documented in (False, True):
        text = edited(read(path), name, documented)
        with monkeypatch.context() as patch:
            patch.setattr(source, "_text", lambda p, text=text: text if p == path else read(p))
            after = codes()
        found.append({name for name in before if before[name] != after[name]})
    assert found == [WHOSE[place], set()]


def test_what_is_added_leaves_the_fingerprints_of_all_others(monkeypatch):
    before = codes()
    tables = (BACKBONES, METHODS, OBJECTIVES, NORMS, SCHEDULES, PRUNERS, scoring.ATTACKS)
    for table in tables:
        monkeypatch.setitem(table, "new", next(iter(table.values())))
    assert codes() == before


def test_what_a_table_says_of_a_run_is_part_of_its_fingerprint(monkeypatch):
    before = codes()
    wider = replace(BACKBONES["resnet18"], width=128)
    monkeypatch.setitem(BACKBONES, "resnet18", wider)
    monkeypatch.setitem(SCHEDULES, "onecycle", SCHEDULES["cosine"])
    assert {name for name, code in codes().items() if code != before[name]} == {"pgd-at"}
    monkeypatch.setattr(scoring, "BATCH", 50)  # a constant
    assert {name for name, code in codes().items() if code != before[name]} == {"pgd-at", *SCORED}
    scoring.network_code.cache_clear()
    default = replace(FLOAT, model=Model("resnet18"))
    first = runs.code_fingerprint(default)
    monkeypatch.setitem(BACKBONES, "resnet18", replace(wider, width=32))
    scoring.network_code.cache_clear()
    assert runs.code_fingerprint(default) != first
    scoring.network_code.cache_clear()
