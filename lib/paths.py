"""Where things are; nothing else builds a path."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
REFERENCE = ROOT / "data" / "reference"
DATA = Path(os.environ.get("SUITE_DATA") or ROOT / "data").absolute()
RESULTS = Path(os.environ.get("SUITE_RESULTS") or ROOT / "results").absolute()


def runs() -> Path:
    """Return the folder of the job store."""
    return RESULTS / "runs"


def records() -> Path:
    """Return the folder of the finished runs that the repository keeps."""
    return RESULTS / "records"


def home(preset: str) -> Path:
    """Return the results folder of a preset: the user's own, under SUITE_RECORD the repository's.

    Git ignores the former, so that nobody's results replace those that are committed.
    """
    return (RESULTS if os.environ.get("SUITE_RECORD") else RESULTS / "local") / preset


def artifact(preset: str, name: str) -> Path:
    """Return the folder of one figure or table, name as in PAPER/ARTIFACT."""
    return home(preset) / name


def notebook(name: str) -> Path:
    """Return the source notebook of an artifact."""
    return NOTEBOOKS / f"{name}.ipynb"
