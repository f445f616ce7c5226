"""The environment the suite runs in: is it there, make it, do the files that describe it agree?

Run as a script by any Python from 3.11 on, before anything is installed: standard library only.
packaging, which reads pins and markers, is itself pinned: without it nothing can match the lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.txt"
VENV = ROOT / ".venv"
STAMP = VENV / "suite.stamp"  # written last: what was installed from which lock
PYTHON = VENV / "bin" / "python"
PRIVATE = ROOT / ".uv"  # our own uv where there is none, and the lock of the setup

UV = "0.13.8"  # installed where no uv of at least OLDEST_UV is found
OLDEST_UV = (0, 5)
PYTHONS = ("3.11.9", "3.12.9", "3.13.9", "3.14.0")  # the lock has wheels for all of these
RELOCK = (
    "uv pip compile --universal --generate-hashes --all-extras pyproject.toml -o requirements.txt"
)
ONLY_FOR_CUDA = re.compile(r"(nvidia-|cuda-|triton$)")
SYSTEMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "macos": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
}


def say(text: str) -> None:
    """Write one line for the person at the keyboard; standard output belongs to results."""
    sys.stderr.write(text + "\n")


# Is this interpreter good enough?


def pins() -> list[Any]:
    """Return every pin of the lock as a packaging Requirement, markers included."""
    from packaging.requirements import Requirement

    lines = re.findall(r"^[A-Za-z0-9].*", LOCK.read_text(), re.MULTILINE)
    return [Requirement(line.rstrip(" \\")) for line in lines]


def ranges(extras: list[str] | None = None) -> list[Any]:
    """Return the requirements of pyproject.toml with those extras (None: with all of them)."""
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    chosen = optional if extras is None else extras
    return [
        Requirement(x)
        for group in (project["dependencies"], *map(optional.get, chosen))
        for x in group
    ]


def differences(wanted: list[Any]) -> list[str]:
    """Return how this interpreter's packages differ from what is wanted, one phrase each.

    A torch build with a local label (2.15.0+cpu) brings the CUDA libraries it needs itself.
    """
    found: dict[str, str] = {}
    for need in wanted:
        try:
            found[need.name] = version(need.name)
        except PackageNotFoundError:
            found[need.name] = ""
    own_cuda = "+" in found.get("torch", "")
    phrases = []
    for need in wanted:
        have = found[need.name]
        if need.marker and not need.marker.evaluate():
            continue
        if not have and not (own_cuda and ONLY_FOR_CUDA.match(need.name)):
            phrases.append(f"{need.name} is missing")
        elif have and not need.specifier.contains(have, prereleases=True):
            phrases.append(f"{need.name} is {have} instead of {need.specifier}")
    return phrases


def check(*extras: str) -> int:
    """Compare this Python with the lock or, if extras are named, with the ranges of pyproject."""
    try:
        found = differences(ranges(list(extras)) if extras else pins())
    except ImportError:
        found = ["packaging is missing"]
    if found:
        rest = f" and {len(found) - 3} more" if len(found) > 3 else ""
        say(
            f"{sys.executable} cannot run the suite: {', '.join(found[:3])}{rest}; install "
            f"requirements.txt into it, or leave it and let run_all.sh make .venv."
        )
    return int(bool(found))


def contents() -> list[str]:
    """Return a fingerprint of lock, interpreter and place, then what lies in site-packages."""
    told = f"{hashlib.sha256(LOCK.read_bytes()).hexdigest()} {sys.version} {VENV}"
    library = Path(sysconfig.get_path("purelib"))
    names = sorted(path.name for path in library.iterdir() if path.name != "__pycache__")
    return [hashlib.sha256(told.encode()).hexdigest(), *names]


def ready() -> int:
    """Return 0 if this is the Python of .venv and all that the stamp recorded is still there."""
    try:
        recorded = STAMP.read_text().splitlines()
    except OSError:
        return 1
    now = contents()
    same = recorded[:1] == now[:1] and set(recorded) <= set(now)
    return int(not (same and Path(sys.prefix).resolve() == VENV.resolve()))


def stamp() -> int:
    """Link the suite into .venv, so that its kernels can import lib, and record what is there."""
    (Path(sysconfig.get_path("purelib")) / "suite.pth").write_text(f"{ROOT}\n")
    partial = STAMP.with_suffix(".tmp")
    partial.write_text("\n".join(contents()) + "\n")
    partial.replace(STAMP)
    return 0


# Make .venv


def works(*command: object) -> bool:
    """Return whether a command can be run and succeeds."""
    try:
        return not subprocess.run([str(word) for word in command], capture_output=True).returncode
    except OSError:
        return False


@contextmanager
def alone() -> Iterator[int]:
    """Hold the setup's lock; the system frees it when its last holder dies, however that happens.

    The file descriptor is handed to uv, so that a uv that outlives us still keeps others out.
    """
    try:
        PRIVATE.mkdir(exist_ok=True)
        held = os.open(PRIVATE / "setup.lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise SystemExit(
            f"Cannot write in {ROOT} ({error.strerror}): copy the suite to a folder of your own, "
            "or activate an environment with requirements.txt installed."
        ) from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("Waiting for another run that is setting up .venv.")
        fcntl.flock(held, fcntl.LOCK_EX)
    except OSError:
        say("This file system has no locks: start no second run until .venv is made.")
    try:
        yield held
    finally:
        os.close(held)


def usable_uv(command: Path | str) -> bool:
    """Return whether this uv runs (a shim may not) and is new enough."""
    try:
        told = subprocess.run([command, "--version"], capture_output=True, text=True).stdout
    except OSError:
        return False
    number = tuple(map(int, re.findall(r"\d+", told)[:2]))
    return told.startswith("uv ") and number >= OLDEST_UV


def find_uv() -> str:
    """Return a uv: from PATH, or our private one, installed with pip if it is not there yet."""
    folder = PRIVATE / "env"
    own = folder / "bin" / "uv"
    for command in ("uv", own):
        if usable_uv(command):
            return str(command)
    say(f"Installing uv {UV} into {folder}.")
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"uv=={UV}")
    shutil.rmtree(folder, ignore_errors=True)
    if not (works(sys.executable, "-m", "venv", folder) and works(folder / "bin/python", *install)):
        shutil.rmtree(folder, ignore_errors=True)  # a Python without ensurepip, as on Debian
        works(sys.executable, *install, "--target", folder)
    if not usable_uv(own):
        raise SystemExit(
            f"Cannot install uv {UV}: check the network and pip's index, or install uv yourself, "
            "then run ./run_all.sh again."
        )
    return str(own)


def uv_settings() -> dict[str, str]:
    """Return the environment for uv: pip's index and certificate where uv has none of its own."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True
    ).stdout
    said = re.findall(r"^[\w:]+\.([\w-]+)='?(.*?)'?$", told, re.MULTILINE)
    pip = dict(reversed(said))  # variables are listed first and win over files
    settings = dict(os.environ)
    if "index-url" in pip and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & settings.keys():
        settings["UV_DEFAULT_INDEX"] = pip["index-url"]
    if "cert" in pip:
        settings.setdefault("SSL_CERT_FILE", pip["cert"])
    return settings


def require_space() -> None:
    """Refuse before the download rather than in the middle of it."""
    default = 6_500_000 if sys.platform == "linux" else 2_000_000  # CUDA libraries on Linux only
    needed = int(os.environ.get("SUITE_MIN_FREE_KB", default))
    free = shutil.disk_usage(ROOT).free // 1000
    if free < needed:
        raise SystemExit(
            f"Only {free / 1e6:.1f} GB are free in {ROOT} but the environment needs "
            f"{needed / 1e6:.1f} GB: free some, or set SUITE_MIN_FREE_KB=0 to try anyway."
        )


def clear() -> None:
    """Leave an empty .venv that is marked as unfinished."""
    try:
        if VENV.is_symlink():
            VENV.unlink()
        elif VENV.exists():
            shutil.rmtree(VENV)
        VENV.mkdir()
        STAMP.write_text("unfinished\n")
    except OSError as error:
        raise SystemExit(
            f"Cannot replace {VENV} ({error.strerror}): remove it yourself, then run again."
        ) from None


def install(keep: int) -> None:
    """Fill an empty .venv from the lock; keep is a file descriptor that uv shares."""
    uv, settings = find_uv(), uv_settings()
    say(f"Setting up {VENV} (once; the first download is about 3 GB on Linux).")
    clear()
    base = getattr(sys, "_base_executable", sys.executable)  # not the .venv that is going
    quiet = [] if sys.stderr.isatty() else ["--quiet"]  # progress is for people; errors always show
    exactly = ["--no-build", "--require-hashes", "--python", str(PYTHON), str(LOCK)]
    for step in (
        ["venv", "--quiet", "--allow-existing", "--python", base, str(VENV)],
        ["pip", "sync", *quiet, *exactly],
    ):
        if subprocess.run([uv, *step], cwd=ROOT, env=settings, pass_fds=[keep]).returncode:
            raise SystemExit(
                "Could not install the pinned packages, see above: check the network (or point "
                "UV_DEFAULT_INDEX to a mirror) and the free space, then run ./run_all.sh again; "
                "what was downloaded is kept."
            )


def setup() -> int:
    """Make .venv from the lock, unless it is there already; anything half-made is made again."""

    def says_yes(command: str) -> bool:
        return works(PYTHON, "-P", __file__, command)

    with alone() as held:
        if says_yes("ready"):
            return 0
        by_hand = not STAMP.exists() and says_yes("check")
        if not by_hand:
            require_space()
            install(held)
        if not says_yes("stamp"):
            raise SystemExit(f"{PYTHON} does not run: remove {VENV}, then run ./run_all.sh again.")
        return 0


# Do the files agree?


def conda_file() -> str:
    """Return the text of environment.yml: conda brings Python, the lock brings everything else."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return "\n".join(
        [
            "# Written by: python lib/environment.py write",
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
    (ROOT / "environment.yml").write_text(conda_file())
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
    text = LOCK.read_text()
    found = []
    conda = ROOT / "environment.yml"
    if not conda.exists() or conda.read_text() != conda_file():
        found.append("environment.yml is out of date: run python lib/environment.py write")
    if f"#    {RELOCK}\n" not in text:
        found.append(f"requirements.txt was not made by: {RELOCK}")
    if re.search(r"://|^\s*--[a-z-]*(?:index|links)", text, re.MULTILINE):
        found.append("requirements.txt names an index or an address; any mirror should do")
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text)[1:]
    found += [f"{x.split()[0]} has no hash" for x in blocks if "--hash=sha256:" not in x]
    locked: dict[str, list[Any]] = {}
    for pin in pins():
        locked.setdefault(pin.name, []).append(pin)
    for need in ranges():
        where = list(unmet(need, locked.get(need.name, [])))
        if where:
            found.append(f"requirements.txt does not meet pyproject's {need}: {', '.join(where)}")
    for line in found:
        say(line)
    return int(bool(found))


COMMANDS = {f.__name__: f for f in (check, ready, stamp, setup, write, drift)}


def main(words: list[str]) -> int:
    """Run one command and return its exit status."""
    if not words or words[0] not in COMMANDS:
        raise SystemExit(f"Usage: python lib/environment.py {'|'.join(COMMANDS)}")
    try:
        return COMMANDS[words[0]](*words[1:])
    except KeyboardInterrupt:
        say("Interrupted; the next run starts the setup again, with what was downloaded.")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
