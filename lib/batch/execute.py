"""Executes one notebook: `python -m lib.batch.execute SOURCE OUTPUT PARAMETERS` (JSON).

The exit code alone tells whether it succeeded: papermill leaves a notebook whose cells all say
'completed' when its kernel was killed.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from lib import paths
from lib.batch.child import ending, follow_parent
from lib.errors import UserError
from lib.stopping import Stopped, stoppable

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
START = 180  # seconds; a loaded machine takes its time to start a kernel
SOCKET_LENGTH = 80  # a longer path does not fit into the address of a socket


class Kernel(AsyncKernelManager):
    """A kernel that leaves word of how it ended."""

    code = 0

    async def is_alive(self) -> bool:  # type: ignore[override]
        """Return whether it runs."""
        if self.provisioner is not None:
            Kernel.code = await self.provisioner.poll() or Kernel.code
        return await super().is_alive()


@contextmanager
def own_kernel() -> Iterator[dict[str, Any]]:
    """Yield papermill arguments for a kernel of this very Python that talks over private sockets.

    Kernelspecs, start-up files and profiles of whoever runs this have no influence.
    """
    with tempfile.TemporaryDirectory(prefix="nb-", ignore_cleanup_errors=True) as folder:
        spec = Path(folder) / "kernels" / KERNEL["name"]
        spec.mkdir(parents=True)
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (spec / "kernel.json").write_text(json.dumps(KERNEL | {"argv": command}))
        os.environ |= {"JUPYTER_PATH": folder, "JUPYTER_RUNTIME_DIR": folder, "IPYTHONDIR": folder}
        config = Config()
        if os.name == "posix" and len(folder) < SOCKET_LENGTH:
            config.KernelManager.transport = "ipc"
            config.KernelManager.ip = f"{folder}/socket"
        yield {"kernel_manager_class": Kernel, "config": config, "start_timeout": START}


def execute(notebook: Path, output: Path, parameters: dict[str, Any]) -> None:
    """Execute a notebook with parameters; the output file is whole only if this returns."""
    try:
        with own_kernel() as arguments:
            made = _papermill(notebook, output, parameters, cwd=paths.ROOT, **arguments)
    except PapermillExecutionError as error:
        detail = " ".join(f"{error.ename}: {error.evalue}".split())
        raise UserError(f"cell [{error.exec_count}]: {detail}") from error
    except DeadKernelError as error:
        cells = nbformat.read(output, as_version=4).cells
        begun = [c for c in cells if c.metadata.get("papermill", {}).get("start_time")]
        number = sum(c.cell_type == "code" and bool(c.source.strip()) for c in begun)
        raise UserError(f"cell [{number}]: the kernel {ending(Kernel.code)}") from error
    for number, cell in enumerate(made.cells, 1):
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            raise UserError(f"cell {number} of {len(made.cells)} was not executed")
    tidy(made, notebook, output)


def prepare(notebook: Path, output: Path, parameters: dict[str, Any]) -> None:
    """Write a copy of a notebook with parameters filled in, not executed."""
    output.parent.mkdir(parents=True, exist_ok=True)
    tidy(_papermill(notebook, output, parameters, prepare_only=True), notebook, output)


def _papermill(notebook: Path, output: Path, parameters: dict[str, Any], **options: Any) -> Any:
    options |= {"kernel_name": KERNEL["name"], "progress_bar": False}
    return papermill.execute_notebook(notebook, output, parameters, **options)


def tidy(made: Any, notebook: Path, output: Path) -> None:
    """Write a notebook whose metadata name no folder of this machine."""
    home = paths.NOTEBOOKS.parent
    inside = notebook.is_relative_to(home)
    place = notebook.relative_to(home).as_posix() if inside else notebook.name
    made.metadata.papermill |= {"input_path": place, "output_path": notebook.name}
    made.metadata["kernelspec"] = KERNEL
    nbformat.write(made, output)


def main(words: list[str]) -> int:
    """Execute one notebook and return the exit status."""
    os.environ.pop("SUITE_PROGRESS", "")  # nothing of the kind inside a notebook
    follow_parent()
    try:
        with stoppable():
            execute(Path(words[0]), Path(words[1]), json.loads(words[2]))
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except Stopped as stopped:
        return 128 + stopped.number
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
