"""Do pyproject.toml, the lock and the conda file agree? `python .ci/lockfile.py drift|write`."""

import re
import sys
from collections.abc import Iterator
from typing import Any

import environment

RELOCK = (
    "uv pip compile --universal --generate-hashes --all-extras pyproject.toml -o requirements.txt"
)
PYTHONS = ("3.11.9", "3.12.9", "3.13.9", "3.14.0")  # the lock has wheels for all of these
SYSTEMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "macos": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
}


def conda_file() -> str:
    """Return the text of environment.yml: conda brings Python, the lock brings everything else."""
    project = environment.project_table()
    return "\n".join(
        [
            "# Written by: python .ci/lockfile.py write",
            f"name: {project['name']}",
            "channels:",
            "  - conda-forge",
            "dependencies:",
            f"  - python {project['requires-python'].replace(' ', '')}",
            "  - pip",
            "  - pip:",
            "      - -r requirements.txt",
            "",
        ]
    )


def write() -> int:
    """Write environment.yml."""
    (environment.ROOT / "environment.yml").write_text(conda_file())
    return 0


def unmet(need: Any, locked: list[Any]) -> Iterator[str]:
    """Yield the systems and Pythons on which not exactly one pin meets this range."""
    for name, system in SYSTEMS.items():
        for python in PYTHONS:
            marks = {
                "python_full_version": python,
                "python_version": python.rpartition(".")[0],
                **system,
            }
            here = [p for p in locked if p.marker is None or p.marker.evaluate(marks)]
            met = [p for p in here if need.specifier.contains(str(p.specifier).lstrip("="))]
            if len(met) != 1 or len(here) != 1:
                yield f"{need.name} on {name} with Python {python}"


def drift() -> int:
    """Say where environment.yml, pyproject.toml and the lock contradict each other."""
    text = environment.LOCK.read_text()
    found = []
    conda = environment.ROOT / "environment.yml"
    if not conda.exists() or conda.read_text() != conda_file():
        found.append("environment.yml is out of date: run python .ci/lockfile.py write")
    if f"#    {RELOCK}\n" not in text:
        found.append(f"requirements.txt was not made by: {RELOCK}")
    if re.search(r"://|^\s*--[a-z-]*(?:index|links)", text, re.MULTILINE):
        found.append("requirements.txt names an index or an address; any mirror should do")
    blocks = [*re.split(r"\n(?=[A-Za-z0-9])", text)[1:], environment.UV.read_text()]
    found += [f"{x.split()[0]} has no hash" for x in blocks if "--hash=sha256:" not in x]
    locked: dict[str, list[Any]] = {}
    for pin in environment.pins():
        locked.setdefault(pin.name, []).append(pin)
    for need in environment.ranges():
        where = list(unmet(need, locked.get(need.name, [])))
        if where:
            found.append(f"requirements.txt does not meet pyproject's {need}: {', '.join(where)}")
    for line in found:
        environment.say(line)
    return int(bool(found))


if __name__ == "__main__":
    commands = {"drift": drift, "write": write}
    if sys.argv[1:] not in (["drift"], ["write"]):
        raise SystemExit("Usage: python .ci/lockfile.py drift|write")
    sys.exit(commands[sys.argv[1]]())
