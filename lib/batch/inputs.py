"""What an executed notebook was made from: whether its results are current, and if not, why.

inputs.json beside the results holds a hash of every input and of every file made from them. A
notebook whose inputs and results have not changed is not executed again.
"""

import ast
import hashlib
import json
import platform
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from lib import artifacts, paths, source, spread, store
from lib.batch.plan import Plan
from lib.errors import UserError
from lib.study import Study

PARAMETERS = ("PRESET", "SEEDS", "OVERRIDES")
PACKAGES = ("matplotlib", "numpy", "pandas", "torch")
Cell = tuple[Any, str, Any]  # its kind, its text as Python can parse it, its tags: no outputs


def cells(path: Path) -> list[Cell]:
    """Return what of a notebook makes results."""
    try:
        return [_cell(cell) for cell in json.loads(path.read_text())["cells"]]
    except FileNotFoundError:
        raise UserError(f"There is no notebook {path}; restore it from the repository.") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path} is not a notebook; restore it from the repository.") from None


def _cell(cell: dict[str, Any]) -> Cell:
    text = cell.get("source", "")
    lines = (text if isinstance(text, str) else "".join(text)).splitlines()
    code = "\n".join("" if line.startswith(("%", "!")) else line for line in lines)
    return cell.get("cell_type"), code, cell.get("metadata", {}).get("tags")


def _trees(found: Iterable[Cell]) -> Iterator[ast.Module]:
    for kind, code, _ in found:
        with suppress(SyntaxError):
            yield ast.parse(code if kind == "code" else "")


def check(notebook: Path) -> None:
    """Refuse a notebook that is not there or would ignore parameters; papermill only warns."""
    tagged = [cell for cell in cells(notebook) if "parameters" in (cell[2] or [])]
    nodes = (node for tree in _trees(tagged) for node in ast.walk(tree))
    known = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    if lacking := [name for name in PARAMETERS if name not in known]:
        said = f"{notebook} has no parameter {lacking[0]}"
        raise UserError(f"{said}; assign it in its cell tagged 'parameters'.")


def _digest(content: Any) -> str:
    text = content if isinstance(content, bytes) else json.dumps(content, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()[:16]


def of(study: Study, plan: Plan) -> dict[str, str]:
    """Return a short hash for every input of an artifact, by a name that people can read."""
    notebook = cells(paths.notebook(study.artifact))
    jobs = [(job.label, job.recipe.key, [p.key for p in job.protocols]) for job in study.jobs]
    found = {
        "the notebook": _digest(notebook),
        "the parameters": _digest([study.preset.name, study.seeds, dict(study.overrides)]),
        "the networks it asks for": _digest(jobs),
        "Python": platform.python_version(),
    }
    found |= {package: metadata.version(package) for package in PACKAGES}
    parts = source.needed({part for tree in _trees(notebook) for part in source.imported(tree)})
    found |= {f"lib/{part}": source.fingerprint(part) for part in sorted(parts)}
    told = spread.FOLDER / f"{study.preset.name}.csv"
    for path in (*sorted(paths.REFERENCE.rglob("*.csv")), told):
        if path.is_file():
            found[path.relative_to(paths.ROOT).as_posix()] = _digest(path.read_bytes())
    for need in plan.of(study):
        found[f"run {need.name}"] = _run(need.recipe.key, sorted(need.protocols))
    return found


def _run(key: str, protocols: list[str]) -> str:
    made = [store.read_json(home / store.MANIFEST) for home in store.homes(key)[:1]] or [{}]
    said = [one for home in store.places(key) for one in store.measured(home)]
    scores = {n: r for n, r in reversed(said) if r.get("weights_sha256") in made[0].values()}
    made += [store.signed(scores[name]) if name in scores else {} for name in protocols]
    return _digest([_digest(one) if one else "" for one in made])


def changes(study: Study, plan: Plan) -> Iterator[str]:
    """Yield why the results of an artifact are not current, nothing if they are."""
    record = store.read_json(study.folder / artifacts.INPUTS)
    if not record:
        yield "it has not been executed yet"
        return
    if (study.folder / artifacts.FAILURE).is_file():
        yield "the last attempt failed"
    then, made_then = record.get("inputs"), artifacts.recorded(study.folder)
    if not isinstance(then, dict) or not made_then:
        yield f"{artifacts.INPUTS} of the results is damaged"
        return
    now, made = of(study, plan), artifacts.outputs(study.folder)
    for name in sorted(then.keys() | now.keys()):
        if then.get(name, "") != now.get(name, ""):  # no hash is empty
            what = "has changed" if name in now else "is gone"
            yield f"{name} {what if name in then else 'is new'}"
    for name, digest in made_then.items():
        if made.get(name) != digest:
            yield f"{name} of the results has been {'edited' if name in made else 'removed'}"
