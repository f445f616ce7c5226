"""Where things are; nothing else builds a path."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
REFERENCE = ROOT / "data" / "reference"
DATA = Path(os.environ.get("SUITE_DATA", ROOT / "data"))
RESULTS = Path(os.environ.get("SUITE_RESULTS", ROOT / "results"))


def runs() -> Path:
    """Return the folder of the job store."""
    return RESULTS / "runs"


def records() -> Path:
    """Return the folder of the finished runs that the repository keeps."""
    return RESULTS / "records"


def artifact(preset: str, name: str) -> Path:
    """Return the folder of one figure or table, name as in 'smart/table1_mask_density'."""
    return RESULTS / preset / name


def notebook(name: str) -> Path:
    """Return the source notebook of an artifact."""
    return NOTEBOOKS / f"{name}.ipynb"
