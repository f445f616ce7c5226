"""What code means: fingerprints of lib without comments, docstrings and layout.

Of a part of lib, as `fingerprint` takes it of all that a notebook may reach, or of what was used,
as `used` takes it of a run or an evaluation: some functions and classes, and what they refer to.
"""

import ast
import hashlib
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from lib import paths

LIB = paths.ROOT / "lib"
# What these hold is in the recipe and the protocol by value, or it only refuses and keeps files.
APART = (
    *("lib.conversions", "lib.datasets", "lib.errors", "lib.method", "lib.methods", "lib.part"),
    *("lib.protocol", "lib.recipe", "lib.sparsity", "lib.store"),
)

# Tokens without meaning. An f-string is one token before Python 3.12 and several from then on;
# written one after the other without spaces they read the same.
_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER}
_BLOCKS = {tokenize.INDENT: "\1", tokenize.DEDENT: "\2", tokenize.NEWLINE: ";"}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(_text(path))


@cache
def _tokens(path: Path) -> list[tuple[int, str]]:
    """Return the tokens that mean something, each with its line."""
    docs = set()
    for node in ast.walk(_tree(path)):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        value = first.value if isinstance(first, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            docs |= set(range(value.lineno, (value.end_lineno or value.lineno) + 1))
    return [
        (token.start[0], _BLOCKS.get(token.type, token.string))
        for token in tokenize.generate_tokens(io.StringIO(_text(path)).readline)
        if token.type in _BLOCKS or (token.type not in _LAYOUT and token.start[0] not in docs)
    ]


def meaning(path: Path, first: int = 1, last: int = sys.maxsize) -> str:
    """Return the text of some lines without comments, docstrings, spaces and trailing commas."""
    text = "".join(string for line, string in _tokens(path) if first <= line <= last)
    text = "".join(text.split()).replace("{{", "{").replace("}}", "}")
    return re.sub(r",([)\]}])", r"\1", text).lstrip("\2")


def _hash(texts: Iterable[str | bytes]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text if isinstance(text, bytes) else text.encode())
    return digest.hexdigest()[:16]


Place = tuple[str, str]  # of a definition: module and name
Leaf = str | Place  # the text of a plain value, or a definition


def used(*roots: Any) -> str:
    """Return a hash of what some values mean, and all of lib that they refer to, 16 digits.

    Functions and classes count with the bases, functions, classes and plain constants that their
    code names; a partial with its function; plain values and tuples as they are. Not followed are
    dicts of functions, classes or objects (what was looked up in such a table is a root), layers
    (those of a network are roots), annotations, what lies APART, and functions called `check...`,
    which only refuse.
    """
    return _used(frozenset(_leaves(roots)))


@cache
def _used(roots: frozenset[Leaf]) -> str:
    found, waiting = set(roots), list(roots)
    while waiting:
        leaf = waiting.pop()
        more = _definition(leaf) - found if isinstance(leaf, tuple) else set()
        found |= more
        waiting += more
    return _hash(f"{text}\n" for text in sorted(leaf for leaf in found if isinstance(leaf, str)))


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_plain(v) for v in value.values())
    if isinstance(value, tuple | frozenset | list):
        return all(map(_plain, value))
    return value is None or isinstance(value, str | int | float)


def _leaves(value: Any) -> Iterator[Leaf]:
    """Yield what a value is, or where in lib it is defined; of what is made of several, of each."""
    if _plain(value):
        yield repr(value)
    elif isinstance(value, tuple | frozenset | list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, partial):
        yield from _leaves((value.func, *value.args))
    elif callable(value) and hasattr(value, "__qualname__"):
        for one in value.__mro__ if isinstance(value, type) else [value]:
            if (one.__module__ or "").startswith("lib."):
                yield one.__module__, one.__qualname__.partition(".<locals>")[0]


@cache
def _definition(place: Place) -> set[Leaf]:
    """Return what a definition means, with its constants, and the places that it refers to."""
    module = sys.modules[place[0]]
    path = Path(str(module.__file__))
    node: Any = _tree(path)
    for name in place[1].split("."):
        node = next((n for n in getattr(node, "body", ()) if getattr(n, "name", "") == name), None)
    if not isinstance(node, ast.FunctionDef | ast.ClassDef):
        return set()  # made by code, as the conditional class of a backbone is
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    found: set[Leaf] = {f"{place[1]} {meaning(path, first, node.end_lineno or first)}"}
    for name, value in _references(node, module):
        if _plain(value):
            found.add(f"{name} = {value!r}")
        elif not (name.lstrip("_").startswith("check") or _is_layer(value)):
            found |= {leaf for leaf in _leaves(value) if leaf[0] not in APART}
    return found


def _is_layer(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module)


def _references(node: ast.AST, module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield name and value of what code refers to in its module, or in a module of lib there."""
    for child in _code(node):
        if isinstance(child, ast.Name) and child.id in vars(module):
            yield child.id, vars(module)[child.id]
        elif isinstance(child, ast.Attribute) and isinstance(child.value, ast.Name):
            home = vars(module).get(child.value.id)
            if isinstance(home, ModuleType) and home.__name__.startswith("lib"):
                yield child.attr, getattr(home, child.attr, None)
        elif isinstance(child, ast.ImportFrom) and (child.module or "").startswith("lib"):
            home = sys.modules.get(str(child.module))
            yield from ((alias.name, getattr(home, alias.name, None)) for alias in child.names)


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes below one but those of annotations."""
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and name not in ("annotation", "returns"):
                yield child
                yield from _code(child)


def _files(part: str) -> list[Path]:
    """Return the files of a module or package directly under lib."""
    if (LIB / f"{part}.py").is_file():
        return [LIB / f"{part}.py"]
    found = (LIB / part).rglob("*")
    return sorted(f for f in found if f.is_file() and "__pycache__" not in f.parts)


@cache
def fingerprint(part: str) -> str:
    """Return a hash of what a part of lib means, 16 hexadecimal digits."""
    texts: list[str | bytes] = []
    for path in _files(part):
        content = meaning(path) if path.suffix == ".py" else path.read_bytes()
        texts += [f"{path.relative_to(LIB).as_posix()}\n", content]
    return _hash(texts)


def imported(tree: ast.AST) -> set[str]:
    """Return the parts of lib that code imports, wherever in it, as 'plots' or 'models'."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "lib":
            names |= {f"lib.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[1] for name in names if name.startswith("lib.")}


@cache
def _direct(part: str) -> frozenset[str]:
    return frozenset().union(*(imported(_tree(f)) for f in _files(part) if f.suffix == ".py"))


def needed(parts: Iterable[str]) -> set[str]:
    """Return parts of lib together with all that they import, directly or not."""
    found: set[str] = set()
    waiting = list(parts)
    while waiting:
        part = waiting.pop()
        if part not in found and _files(part):
            found.add(part)
            waiting += _direct(part)
    return found
