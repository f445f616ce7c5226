"""One artifact as a task: its notebook writes into a stage, and only success moves it into place.

The stage is a results folder of the notebook's own, whose runs are the shared store. So a notebook
that fails, hangs or is killed leaves the results of the last good execution as they were.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lib import artifacts, paths, store
from lib.batch import inputs, pool
from lib.batch.plan import Plan
from lib.errors import UserError, written
from lib.study import Study

GUESS = 12.0  # seconds of a notebook that has not been executed before
REQUIRED = ("metrics.csv", "claims.csv", "run.json")
EITHER = ("figure.png", "table.md")


def guess(study: Study, limit: float) -> float:
    """Return the seconds that a notebook takes, by its last execution or the repository's."""
    for folder in (study.folder, paths.RESULTS / study.results / study.artifact):
        past = store.read_json(folder / artifacts.INPUTS).get("seconds")
        if isinstance(past, int | float) and 0 <= past < limit:
            return past
    return GUESS


@dataclass(kw_only=True, eq=False)
class Execution(pool.Task):
    """The execution of the notebook of a study."""

    study: Study
    plan: Plan
    home: Path  # of all stages of this batch
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def stage(self) -> Path:
        """Return the results folder that the notebook sees."""
        return self.home / self.name.replace("/", ".")

    def begin(self) -> None:
        self.inputs = inputs.of(self.study, self.plan)
        self.stage.mkdir()
        for shelf in (paths.runs(), paths.records()):
            (self.stage / shelf.name).symlink_to(shelf.resolve(), target_is_directory=True)
        values = (self.study.preset.name, list(self.study.seeds), dict(self.study.overrides))
        given = json.dumps(dict(zip(inputs.PARAMETERS, values, strict=True)))
        source, partial = paths.notebook(self.name), self.stage / "partial.ipynb"
        self.command = pool.python("lib.batch.execute", str(source), str(partial), given)
        self.env = {**self.env, "SUITE_RESULTS": str(self.stage), "TMPDIR": str(self.home)}

    def end(self) -> None:
        """Move a success into place, or keep a failure beside the last good results."""
        self.reason = self.reason or self._incomplete()
        try:
            with written(self.study.folder), store.one_writer(self.log):  # of all batches
                self._keep_failure() if self.reason else self._publish()
        except UserError as error:  # the other artifacts have folders of their own
            self.reason = self.reason or str(error)

    @property
    def _made(self) -> Path:
        return self.stage / self.study.folder.relative_to(paths.RESULTS)

    def _incomplete(self) -> str:
        lacking = [name for name in REQUIRED if not (self._made / name).is_file()]
        if not any((self._made / name).is_file() for name in EITHER):
            lacking.append(" or ".join(EITHER))
        return f"the notebook wrote no {', no '.join(lacking)}" if lacking else ""

    def _publish(self) -> None:
        folder, name = self.study.folder, self.study.name
        store.sweep(folder)
        (self.stage / "partial.ipynb").rename(self._made / f"{name}.ipynb")
        before = (artifacts.recorded(folder) or {}).keys() & artifacts.outputs(folder).keys()
        (folder / artifacts.INPUTS).unlink(missing_ok=True)
        noted = artifacts.outputs(self._made)  # what else lies in the folder is a user's
        made = {f.name: f.read_bytes() for f in sorted(self._made.iterdir()) if f.is_file()}
        for file, content in made.items():
            store.write_bytes(folder / file, content)
        for old in (before - made.keys()) | {artifacts.FAILURE, f"{name}.failed.ipynb"}:
            (folder / old).unlink(missing_ok=True)
        record = {"seconds": round(self.seconds, 1), "inputs": self.inputs, "outputs": noted}
        store.write_json(folder / artifacts.INPUTS, record)

    def _keep_failure(self) -> None:
        partial = self.stage / "partial.ipynb"
        if partial.is_file():
            target = self.study.folder / f"{self.study.name}.failed.ipynb"
            store.write_bytes(target, partial.read_bytes())
        store.write_json(self.study.folder / artifacts.FAILURE, {"reason": self.reason})
