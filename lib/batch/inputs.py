"""What an executed notebook was made from: whether its results are current, and if not, why.

inputs.json beside the results holds a hash of every input and of every file made from them. A
notebook whose inputs and results have not changed is not executed again.
"""

from __future__ import annotations

import ast
import hashlib
import json
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from lib import paths, source, store
from lib.batch.plan import Plan
from lib.errors import UserError
from lib.papers import Study

FILE = "inputs.json"
FAILURE = "failure.json"
PACKAGES = ("matplotlib", "numpy", "pandas", "torch")


def cells(path: Path) -> list[dict[str, Any]]:
    """Return the cells of a notebook as its file holds them."""
    try:
        return [dict(cell) for cell in json.loads(path.read_text())["cells"]]
    except FileNotFoundError:
        raise UserError(f"There is no notebook {path}; restore it from the repository.") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path} is not a notebook; restore it from the repository.") from None


def code(cell: dict[str, Any]) -> str:
    """Return the text of a cell without magics, so that Python can parse it."""
    text = cell.get("source", "")
    lines = (text if isinstance(text, str) else "".join(text)).splitlines()
    return "\n".join("" if line.startswith(("%", "!")) else line for line in lines)


def _parts(found: list[dict[str, Any]]) -> set[str]:
    """Return every part of lib that the code of a notebook can reach."""
    parts: set[str] = set()
    for cell in found:
        if cell.get("cell_type") == "code":
            try:
                parts |= source.imported(ast.parse(code(cell)))
            except SyntaxError:
                continue  # the notebook will say so when it is executed
    return source.needed(parts)


def _digest(content: Any) -> str:
    text = content if isinstance(content, bytes) else json.dumps(content, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()[:16]


def of(study: Study, plan: Plan) -> dict[str, str]:
    """Return a short hash for every input of an artifact, by a name that people can read."""
    notebook = cells(paths.notebook(study.artifact))
    kept = [(c.get("cell_type"), code(c), c.get("metadata", {}).get("tags")) for c in notebook]
    jobs = [(job.label, job.recipe.key, [p.key for p in job.protocols]) for job in study.jobs]
    found = {
        "the notebook": _digest(kept),
        "the parameters": _digest([study.preset.name, study.seeds, dict(study.overrides)]),
        "the networks it asks for": _digest(jobs),
        "Python": platform.python_version(),
    }
    found |= {package: metadata.version(package) for package in PACKAGES}
    found |= {f"lib/{part}": source.fingerprint(part) for part in sorted(_parts(notebook))}
    for path in sorted(paths.REFERENCE.rglob("*.csv")):
        name = path.relative_to(paths.REFERENCE).as_posix()
        found[f"data/reference/{name}"] = _digest(path.read_bytes())
    for need in plan.of(study):
        found[f"run {need.name}"] = _run(need.recipe.key, sorted(need.protocols))
    return found


def _run(key: str, protocols: list[str]) -> str:
    places = [[home / store.MANIFEST for home in store.homes(key)]]
    places += [store.evaluations(key, protocol) for protocol in protocols]
    found = (next((f for f in place if f.is_file()), None) for place in places)
    return _digest([_digest(f.read_bytes()) if f else "" for f in found])


def outputs(folder: Path) -> dict[str, str]:
    """Return a short hash of every result file in the folder of an artifact."""
    files = sorted(f for f in folder.iterdir() if f.is_file()) if folder.is_dir() else []
    beside = (FILE, FAILURE)
    return {
        f.name: _digest(f.read_bytes())
        for f in files
        if f.name not in beside and not f.name.startswith(".") and ".failed." not in f.name
    }


def changes(study: Study, plan: Plan) -> Iterator[str]:
    """Yield why the results of an artifact are not current, nothing if they are."""
    record = store.read_json(study.folder / FILE)
    if not record:
        yield "it has not been executed yet"
        return
    if (study.folder / FAILURE).is_file():
        yield "the last attempt failed"
    then, now = record.get("inputs", {}), of(study, plan)
    for name in sorted(then.keys() | now.keys()):
        if name not in then:
            yield f"{name} is new"
        elif name not in now:
            yield f"{name} is gone"
        elif then[name] != now[name]:
            yield f"{name} has changed"
    made = outputs(study.folder)
    for name, digest in record.get("outputs", {}).items():
        if made.get(name) != digest:
            yield f"{name} of the results has been {'edited' if name in made else 'removed'}"
