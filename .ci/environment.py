"""The environment the suite runs in: is it there, and if not, make it.

Run as a script by any Python from 3.11 on, before anything is installed: standard library only.
packaging, which reads pins and markers, is itself pinned: without it nothing can match the lock.
"""

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
UNFINISHED = "unfinished\n"  # what it says until then
PYTHON = VENV / "bin" / "python"
PRIVATE = ROOT / ".uv"  # our own uv where there is none, and the lock of the setup

UV = ROOT / ".ci" / "uv.txt"  # with hashes; installed where no uv of at least OLDEST_UV is found
OLDEST_UV = (0, 5)
OTHER_LOCK = 3  # the exit status of ready when .venv is whole but of another lock
ONLY_FOR_CUDA = re.compile(r"(nvidia-|cuda-|triton$)")


def say(text: str) -> None:
    """Write one line for the person at the keyboard; standard output belongs to results."""
    sys.stderr.write(text + "\n")


# Is this interpreter good enough?


def pins() -> list[Any]:
    """Return every pin of the lock as a packaging Requirement, markers included."""
    from packaging.requirements import Requirement

    lines = re.findall(r"^[A-Za-z0-9].*", LOCK.read_text(), re.MULTILINE)
    return [Requirement(line.rstrip(" \\")) for line in lines]


def project_table() -> dict[str, Any]:
    """Return the [project] table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def ranges(extras: list[str] | None = None) -> list[Any]:
    """Return the requirements of pyproject.toml with those extras (None: with all of them)."""
    from packaging.requirements import Requirement

    project = project_table()
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
    """Return the lock's hash, interpreter and place, then what lies in site-packages."""
    library = Path(sysconfig.get_path("purelib"))
    names = sorted(path.name for path in library.iterdir() if path.name != "__pycache__")
    place = f"{' '.join(sys.version.split())} in {VENV}"
    return [hashlib.sha256(LOCK.read_bytes()).hexdigest(), place, *names]


def ready() -> int:
    """Return 0 if this is .venv and as its stamp says, OTHER_LOCK if only the lock has changed."""
    try:
        lock, *recorded = STAMP.read_text().splitlines()
    except (OSError, ValueError):
        return 1
    now = contents()
    if not recorded or set(recorded) - set(now) or Path(sys.prefix).resolve() != VENV.resolve():
        return 1
    return 0 if lock == now[0] else OTHER_LOCK


def stamp() -> int:
    """Link the suite into .venv, so that its kernels can import lib, and record what is there."""
    (Path(sysconfig.get_path("purelib")) / "suite.pth").write_text(f"{ROOT}\n")
    partial = STAMP.with_suffix(".tmp")
    partial.write_text("\n".join(contents()) + "\n")
    partial.replace(STAMP)
    return 0


# Make .venv


def status(*command: object) -> int:
    """Return the exit status of a command, run silently; 127 if it cannot be run."""
    try:
        return subprocess.run([str(word) for word in command], capture_output=True).returncode
    except OSError:
        return 127


def ask(command: str) -> int:
    """Return the exit status of a command of this script under the Python of .venv."""
    return status(PYTHON, "-P", __file__, command)


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
    name = UV.read_text().split()[0]
    say(f"Installing {name} into {folder}.")
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    install = (*pip, "--require-hashes", "--only-binary=:all:", "-r", str(UV))
    shutil.rmtree(folder, ignore_errors=True)
    if status(sys.executable, "-m", "venv", folder) or status(folder / "bin/python", *install):
        shutil.rmtree(folder, ignore_errors=True)  # a Python without ensurepip, as on Debian
        status(sys.executable, *install, "--target", folder)
    if not usable_uv(own):
        raise SystemExit(
            f"Cannot install {name}: check the network and pip's index, or install uv yourself, "
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
        STAMP.write_text(UNFINISHED)
    except OSError as error:
        raise SystemExit(
            f"Cannot replace {VENV} ({error.strerror}): remove it yourself, then run again."
        ) from None


def install(keep: int, update: bool) -> None:
    """Fill .venv from the lock, from nothing or what is there; uv shares the descriptor keep."""
    uv, settings = find_uv(), uv_settings()
    quiet = [] if sys.stderr.isatty() else ["--quiet"]  # progress is for people; errors always show
    exactly = ["--no-build", "--require-hashes", "--python", str(PYTHON), str(LOCK)]
    steps = [["pip", "sync", *quiet, *exactly]]
    if update:
        say(f"Bringing {VENV} up to date with requirements.txt.")
        STAMP.write_text(UNFINISHED)
    else:
        say(f"Setting up {VENV} (once; some gigabytes on Linux, where PyTorch brings CUDA).")
        clear()
        base = getattr(sys, "_base_executable", sys.executable)  # not the .venv that has gone
        steps.insert(0, ["venv", "--quiet", "--allow-existing", "--python", base, str(VENV)])
    for step in steps:
        if subprocess.run([uv, *step], cwd=ROOT, env=settings, pass_fds=[keep]).returncode:
            raise SystemExit(
                "Could not install the pinned packages, see above: check the network (or point "
                "UV_DEFAULT_INDEX to a mirror) and the free space, then run ./run_all.sh again; "
                "what was downloaded is kept."
            )


def setup() -> int:
    """Make .venv from the lock, unless it is there already; anything half-made is made again."""
    with alone() as held:
        state = ask("ready")
        if state == 0:
            return 0
        by_hand = not STAMP.exists() and ask("check") == 0
        if not by_hand:
            if state != OTHER_LOCK:
                require_space()
            install(held, update=state == OTHER_LOCK)
        if ask("stamp"):
            raise SystemExit(f"{PYTHON} does not run: remove {VENV}, then run ./run_all.sh again.")
        return 0


COMMANDS = {f.__name__: f for f in (check, ready, stamp, setup)}


def main(words: list[str]) -> int:
    """Run one command and return its exit status."""
    if not words or words[0] not in COMMANDS:
        raise SystemExit(f"Usage: python .ci/environment.py {'|'.join(COMMANDS)}")
    try:
        return COMMANDS[words[0]](*words[1:])
    except KeyboardInterrupt:
        say("Interrupted; the next run starts the setup again, with what was downloaded.")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
