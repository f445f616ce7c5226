"""nbval as `./run_all.sh --test` calls it, on a notebook whose kernel dies."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
def test_a_kernel_that_dies_is_noticed_long_before_the_time_limit_of_its_cell(tmp_path, name):
    sources = ["import os, signal", f"os.kill(os.getpid(), signal.{name})"]
    cells = [
        {"cell_type": "code", "metadata": {}, "source": text, "outputs": [], "id": f"cell-{i}",
         "execution_count": None}
        for i, text in enumerate(sources)
    ]  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}}
    notebook = tmp_path / "dies.ipynb"
    book = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    notebook.write_text(json.dumps(book))
    ended = subprocess.run(
        [*(sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "no:cacheprovider"),
         *("-p", "tests.notebook_kernels", "--nbval-lax", "--nbval-current-env"),
         *("--nbval-cell-timeout=3600", str(notebook))],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )  # fmt: skip
    assert ended.returncode == 1
    assert f"The kernel of this notebook died ({name})." in ended.stdout
    assert "1 failed, 1 passed" in ended.stdout
