"""Networks as jobs of Slurm: submitted through submitit, followed by their logs, cancelled.

What a job does is the same command as on this machine, which goes on where an earlier call stopped.
So Slurm may end it at any moment, and one at its time limit is put back into the queue.
"""

import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib import paths
from lib.batch.pool import THREADS, Job, settings
from lib.errors import UserError, choose, written

EVERY = 2.0  # seconds between looks at the queue
PATIENCE = 15.0  # seconds until a shared folder shows what a job that has ended wrote
DEFAULTS = {"time": 60, "job_name": "suite"}  # minutes; then the job queues again
REQUEUES = 100
ENDED = {  # states of jobs that leave no result, and what to do about it
    "CANCELLED": "somebody cancelled it; run it again",
    "OUT_OF_MEMORY": "ask for more with --slurm mem=16GB",
    "TIMEOUT": "run it again, or ask for more with --slurm time=MINUTES",
    "NODE_FAIL": "its node failed; run it again",
    "": "the end of its log may tell why",  # COMPLETED, FAILED, no longer known
}
UNDER_WAY = re.compile("PENDING|RUNNING|COMPLETING|CONFIGURING|SUSPENDED|REQUEUE")  # states
HOPELESS = re.compile("Partition(Time|Node)Limit|PartitionConfig|BadConstraints|Invalid")  # why


@dataclass(frozen=True)
class Command:
    """What a job does: run a command and return its exit code; once more if it is put back."""

    words: Sequence[str]
    env: Mapping[str, str]

    def __call__(self) -> int:
        return subprocess.call(self.words, cwd=paths.ROOT, env=os.environ | self.env)

    def checkpoint(self) -> Any:
        """Return what the job does after it was put back into the queue: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Queue:
    """The jobs of a batch in Slurm's queue; options are those of submitit's `SlurmExecutor`."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        try:
            import submitit
        except ImportError:
            raise UserError(
                "--executor slurm needs submitit; install it with: python -m pip install submitit"
            ) from None
        for name in options:
            choose("option of --slurm", name, submitit.SlurmExecutor._valid_parameters())
        home = paths.runs() / ".slurm"
        try:
            with written(home):
                self._executor = submitit.SlurmExecutor(home, max_num_timeout=REQUEUES)
        except RuntimeError:
            raise UserError("--executor slurm found no srun; start this where Slurm is.") from None
        setup = [f"export PYTHONPATH={settings()['PYTHONPATH']!r}", *options.get("setup", ())]
        given = {**DEFAULTS, **options, "setup": setup, "stderr_to_stdout": True}
        self._executor.update_parameters(**given)
        threads = str(options.get("cpus_per_task", 1))
        self._env = settings() | dict.fromkeys(THREADS, threads)
        self._states, self._asked = dict[str, list[str]](), 0.0

    def __call__(
        self, command: Sequence[str], env: Mapping[str, str], hear: Callable[[str], None]
    ) -> Job:
        """Submit a command and return its job, which hands every line of its log to `hear`."""
        from submitit.core.utils import FailedJobError

        try:
            job = self._executor.submit(Command(command, self._env | dict(env)))
        except FailedJobError as error:
            said = " ".join(str(error.__cause__ or error).split())
            raise UserError(f"sbatch refused a job ({said}); correct --slurm.") from error
        self._states[job.job_id] = ["PENDING", ""]
        for script in Path(job.paths.folder).glob(".submission_file_*"):
            script.unlink(missing_ok=True)  # sbatch and submitit have copies
        return Submitted(self, job, hear)

    def state(self, number: str) -> list[str]:
        """Return state of a job and reason in Slurm's words, '' if the queue does not know it."""
        if time.monotonic() - self._asked > EVERY:
            call = ["squeue", "--noheader", "--states=all", "--format=%i %T %r"]
            call.append(f"--user={os.getuid()}")
            said = subprocess.run(call, capture_output=True, text=True)
            if said.returncode == 0:  # or nobody answers for a moment
                rows = (line.split() for line in said.stdout.splitlines())
                self._states = {row[0]: row[1:] for row in rows if len(row) > 2}
            self._asked = time.monotonic()
        return self._states.get(number, ["", ""])


class Submitted:
    """A job in the queue or at work."""

    def __init__(self, queue: Queue, job: Any, hear: Callable[[str], None]) -> None:
        self._queue, self._job, self._hear = queue, job, hear
        self._log = Path(job.paths.stdout)
        self._read, self._began, self._looked, self._seen = 0, 0.0, 0.0, time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._began if self._began else 0.0

    def poll(self) -> int | str | None:
        """Read on in the log, and look whether there is a result or the job has gone."""
        if time.monotonic() - self._looked < 0.5:
            return None
        self._looked = time.monotonic()
        state, why, *_ = self._queue.state(self._job.job_id)
        if HOPELESS.match(why):
            self.terminate()
            return f"Slurm would never start job {self._job.job_id} ({why}); correct --slurm"
        finished = self._job.paths.result_pickle.exists()
        if not self._began and (finished or state != "PENDING"):
            self._began = self._looked
        self._listen(to_the_end=finished)
        if finished:
            return self._result()
        if UNDER_WAY.match(state):
            self._seen = self._looked
        elif self._looked - self._seen > PATIENCE:
            what = f"Slurm ended job {self._job.job_id}: {state.lower() or 'it left the queue'}"
            return f"{what}; {ENDED.get(state, ENDED[''])}"
        return None

    def _listen(self, to_the_end: bool) -> None:
        """Hand on the lines that the log has grown by, but for what submitit says of itself."""
        if not self._log.exists():
            return
        with self._log.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = len(text) if to_the_end else text.rfind(b"\n") + 1
        self._read += whole
        for line in text[:whole].decode(errors="replace").splitlines(keepends=True):
            if not line.startswith("submitit "):
                self._hear(line)

    def _result(self) -> int | str:
        if error := self._job.exception():
            return " ".join(str(error).split()[-20:])
        code = self._job.result()
        for path in self._log.parent.glob(f"{self._job.job_id}_*"):
            path.unlink(missing_ok=True)
        return code

    def terminate(self) -> None:
        self._job.cancel(check=False)

    def kill(self, grace: float) -> None:
        """Leave it to Slurm to kill what it has been told to cancel."""
