"""One artifact as a task: its notebook writes into a stage, and only success moves it into place.

The stage is a results folder of the notebook's own, whose runs are the shared store. So a notebook
that fails, hangs or is killed leaves the results of the last good execution as they were.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from lib import artifacts, paths, store
from lib.batch import execute, inputs, pool
from lib.batch.plan import Plan
from lib.errors import UserError
from lib.study import Study

GUESS = 12.0  # seconds of a notebook that has not been executed before
REQUIRED = ("metrics.csv", "claims.csv", "run.json")
EITHER = ("figure.png", "table.md")
TEMPORARY = "tmp"


def stages() -> Path:
    """Return the folder of all stages, beside the runs and out of git's sight like them."""
    return paths.runs() / ".stage"


@contextmanager
def staging() -> Iterator[Path]:
    """Yield a folder for the stages of one batch; remove it in the end, and what dead ones left.

    The operating system frees the lock inside when its owner dies; the number of a process tells
    nothing, since in containers it comes back. TEMPORARY is a link to the temporary folder of the
    notebooks, outside, where sockets have short names.
    """
    folder = stages() / uuid.uuid4().hex[:12]
    lock = FileLock(folder / "lock")
    try:
        try:
            with store.one_writer(stages()):
                for left in stages().glob("*"):
                    with suppress(Timeout, OSError), FileLock(left / "lock", timeout=0):
                        _remove(left)
                folder.mkdir(parents=True)
                lock.acquire()
            temporary = Path(tempfile.gettempdir()) / f"nb-{folder.name}"
            (folder / TEMPORARY).symlink_to(temporary)  # first: whoever sweeps finds it by this
            temporary.mkdir(mode=0o700)
        except OSError as error:
            raise UserError(
                f"Cannot write {error.filename or folder} ({error.strerror}); free space or make "
                "the folder writable; TMPDIR names another one for temporary files."
            ) from error
        yield folder
    finally:
        _remove(folder)
        lock.release()


def _remove(folder: Path) -> None:
    """Remove the folder of a batch and the temporary folder that it names."""
    link = folder / TEMPORARY
    if link.is_symlink() and link.readlink().name == f"nb-{folder.name}":
        shutil.rmtree(link.readlink(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def guess(study: Study, limit: float) -> float:
    """Return the seconds that a notebook takes, by its last execution if there was one."""
    past = store.read_json(study.folder / artifacts.INPUTS).get("seconds")
    return past if isinstance(past, int | float) and 0 <= past < limit else GUESS


@dataclass
class Execution:
    """The execution of one notebook."""

    study: Study
    plan: Plan
    home: Path  # of all stages of this batch
    stage: Path = Path()
    inputs: dict[str, str] = field(default_factory=dict)

    def task(self, needs: frozenset[str], limit: float, env: dict[str, str]) -> pool.Task:
        """Return this execution as a task of the pool."""
        name = self.study.artifact
        task = pool.Task(
            name,
            "notebook",
            (),
            paths.runs() / ".logs" / f"{name.replace('/', '.')}.log",
            guess=guess(self.study, limit),
            needs=needs,
            limit=limit,
            begin=lambda: self.begin(task, env),
            end=self.end,
        )
        return task

    def begin(self, task: pool.Task, env: dict[str, str]) -> None:
        """Note the inputs and lay out the stage."""
        self.inputs = inputs.of(self.study, self.plan)
        self.stage = self.home / self.study.artifact.replace("/", ".")
        self.stage.mkdir()
        for shelf in (paths.runs(), paths.records()):
            (self.stage / shelf.name).symlink_to(shelf.resolve(), target_is_directory=True)
        parameters = {
            "PRESET": self.study.preset.name,
            "SEEDS": list(self.study.seeds),
            "OVERRIDES": dict(self.study.overrides),
        }
        source = paths.notebook(self.study.artifact)
        words = (str(source), str(self.stage / "partial.ipynb"), json.dumps(parameters))
        task.command = pool.python("lib.batch.execute", *words)
        temporary = (self.home / TEMPORARY).readlink()
        task.env = env | {"SUITE_RESULTS": str(self.stage), "TMPDIR": str(temporary)}

    def end(self, outcome: pool.Outcome) -> pool.Outcome:
        """Move a success into place, or keep a failure beside the last good results."""
        try:
            if not outcome.reason:
                outcome.reason = self._incomplete()
            if outcome.reason:
                self._keep_failure(outcome.reason)
            else:
                self._publish(outcome.seconds)
        except OSError as error:
            raise UserError(
                f"Cannot write {self.study.folder} ({error.strerror}); free space or make the "
                "folder writable, then rerun."
            ) from error
        finally:
            if self.stage != Path():
                shutil.rmtree(self.stage, ignore_errors=True)
        return outcome

    @property
    def _made(self) -> Path:
        return self.stage / self.study.folder.relative_to(paths.RESULTS)

    def _incomplete(self) -> str:
        lacking = [name for name in REQUIRED if not (self._made / name).is_file()]
        if not any((self._made / name).is_file() for name in EITHER):
            lacking.append(" or ".join(EITHER))
        return f"the notebook wrote no {', no '.join(lacking)}" if lacking else ""

    def _publish(self, seconds: float) -> None:
        folder, name = self.study.folder, self.study.name
        folder.mkdir(parents=True, exist_ok=True)
        (self.stage / "partial.ipynb").rename(self._made / f"{name}.ipynb")
        before = (artifacts.recorded(folder) or {}).keys() & artifacts.outputs(folder).keys()
        (folder / artifacts.INPUTS).unlink(missing_ok=True)
        noted = artifacts.outputs(self._made)  # what else lies in the folder is a user's
        made = sorted(f for f in self._made.iterdir() if f.is_file())
        for file in made:
            store.write_bytes(folder / file.name, file.read_bytes())
        gone = before - {file.name for file in made}
        failed = {artifacts.FAILURE, f"{name}.failed.ipynb"}
        for old in gone | failed:
            (folder / old).unlink(missing_ok=True)
        record = {"seconds": round(seconds, 1), "inputs": self.inputs, "outputs": noted}
        store.write_json(folder / artifacts.INPUTS, record)

    def _keep_failure(self, reason: str) -> None:
        folder = self.study.folder
        folder.mkdir(parents=True, exist_ok=True)
        partial = self.stage / "partial.ipynb"
        if self.stage != Path() and partial.is_file():
            store.write_bytes(folder / f"{self.study.name}.failed.ipynb", partial.read_bytes())
        store.write_json(folder / artifacts.FAILURE, {"reason": reason})


def check(study: Study) -> None:
    """Refuse a notebook that is not there or would ignore the parameters."""
    source = paths.notebook(study.artifact)
    inputs.cells(source)
    execute.inspect(source)
