"""What code means: fingerprints of the parts of lib without comments, docstrings and layout."""

from __future__ import annotations

import ast
import hashlib
import re
import tokenize
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from lib import paths

LIB = paths.ROOT / "lib"


# Tokens without meaning. An f-string is one token before Python 3.12 and several from then on;
# written one after the other without spaces they read the same.
_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
_BLOCKS = {tokenize.INDENT: "\1", tokenize.DEDENT: "\2", tokenize.NEWLINE: ";"}


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def meaning(path: Path) -> str:
    """Return the text of a module without comments, docstrings, spaces and trailing commas."""
    docs = set()
    for node in ast.walk(_tree(path)):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        value = first.value if isinstance(first, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            docs |= set(range(value.lineno, (value.end_lineno or value.lineno) + 1))
    pieces = []
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type in _BLOCKS:
                pieces.append(_BLOCKS[token.type])
            elif token.type not in _LAYOUT and token.start[0] not in docs:
                pieces.append(token.string)
    text = "".join("".join(pieces).split()).replace("{{", "{").replace("}}", "}")
    return re.sub(r",([)\]}])", r"\1", text)


def _files(part: str) -> list[Path]:
    """Return the files of a module or package directly under lib."""
    if (LIB / f"{part}.py").is_file():
        return [LIB / f"{part}.py"]
    found = (LIB / part).rglob("*")
    return sorted(f for f in found if f.is_file() and "__pycache__" not in f.parts)


@cache
def fingerprint(part: str) -> str:
    """Return a hash of what a part of lib means, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in _files(part):
        digest.update(f"{path.relative_to(LIB).as_posix()}\n".encode())
        content = meaning(path).encode() if path.suffix == ".py" else path.read_bytes()
        digest.update(content)
    return digest.hexdigest()[:16]


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
    files = [f for f in _files(part) if f.suffix == ".py"]
    return frozenset().union(*(imported(_tree(f)) for f in files))


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
