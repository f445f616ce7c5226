"""Networks as jobs of a Slurm of one node that these tests start themselves, where it is installed.

On Debian: apt-get install munge slurmctld slurmd slurm-client, and submitit from pip.
"""

import getpass
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lib import paths
from lib.batch import plan, pool, slurm
from lib.errors import UserError
from tests.batch.test_whole import SAVE, STUDY

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
PATH = f"{os.environ['PATH']}:/usr/sbin"  # where Debian keeps daemons
there = all(shutil.which(name, path=PATH) for name in DAEMONS)
needs_slurm = pytest.mark.skipif(
    not there or not importlib.util.find_spec("submitit"), reason="Slurm or submitit is missing"
)
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={control}
SlurmdPort={node}
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=60 State=UP
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def queue(*words: str) -> str:
    return subprocess.check_output(["squeue", "--noheader", *words], text=True)


@pytest.fixture(scope="module")
def daemons(tmp_path_factory):
    """Start munge, the controller and the node; stop them in the end."""
    home = tmp_path_factory.mktemp("slurm")
    (home / "state").mkdir()
    (home / "spool").mkdir()
    (home / "munge.key").write_bytes(os.urandom(1024))
    (home / "munge.key").chmod(0o600)
    host = socket.gethostname().split(".")[0]
    names = {"home": home, "host": host, "user": getpass.getuser()}
    text = CONF.format(**names, control=free_port(), node=free_port())
    (home / "slurm.conf").write_text(text)
    names = {"key": "key-file", "socket": "socket", "pid": "pid-file", "log": "log-file"}
    munge = [f"--{option}={home}/munge.{name}" for name, option in names.items()]
    munge.append(f"--seed-file={home}/munge.seed")
    calls = [["munged", "--force", "--foreground", *munge], ["slurmctld", "-D"]]
    started = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", PATH)
        patch.setenv("SLURM_CONF", str(home / "slurm.conf"))
        for call in (*calls, ["slurmd", "-D", "-N", host]):
            with (home / f"{call[0]}.out").open("w") as log:
                started.append(subprocess.Popen(call, stdout=log, stderr=log))
        deadline = time.monotonic() + 60
        idle = ["sinfo", "--noheader", "--format=%T"]
        while subprocess.run(idle, capture_output=True, text=True).stdout.strip() != "idle":
            assert time.monotonic() < deadline, (home / "slurmctld.log").read_text()[-2000:]
            time.sleep(0.2)
        yield
        for process in reversed(started):
            process.terminate()
            process.wait()


@needs_slurm
def test_networks_trained_by_slurm_are_those_trained_here(daemons, real, tmp_path, capsys):
    real.write("tiny/two", STUDY, SAVE)
    assert real("tiny/two", "--write-jobs") == 0
    (job,) = capsys.readouterr().out.split()
    assert real("tiny/two", "--executor", "slurm", "--slurm", "mem=2000", "--slurm", "time=9") == 0
    assert not list((real.results / "runs/.slurm").iterdir())
    assert queue("--states=all", "--format=%j %T %l").split() == ["suite", "COMPLETED", "9:00"]
    environment = os.environ | pool.settings() | {"SUITE_RESULTS": str(tmp_path / "here")}
    subprocess.check_call(pool.python("lib", "train", job), cwd=paths.ROOT, env=environment)
    homes = [home / "runs" / Path(job).stem for home in (real.results, tmp_path / "here")]
    mine, other = ((home / "weights.safetensors").read_bytes() for home in homes)
    assert mine == other and all(len(list((h / "evaluations").iterdir())) == 2 for h in homes)


@needs_slurm
def test_a_failing_job_is_reported_with_its_log_and_the_other_goes_on(daemons, suite, capsys):
    keys = {n.label: n.recipe.key for n in plan.make(["tiny/one"], "ci", (0,), {}).needs.values()}
    suite.fault(**{keys["smart"]: "fail"})
    assert suite("tiny/one", "tiny/two", "--executor", "slurm") == 1
    shown = capsys.readouterr().out
    assert "ValueError: no luck" in shown and "done" in shown
    log = Path(re.search("^Log of what failed: (.*)$", shown, re.MULTILINE)[1])
    assert "Traceback" in log.read_text() and "progress" not in log.read_text()


@needs_slurm
def test_a_job_cancelled_elsewhere_fails_and_an_interrupt_cancels_others(daemons, suite, capsys):
    keys = {n.label: n.recipe.key for n in plan.make(["tiny/one"], "ci", (0,), {}).needs.values()}
    suite.fault(**dict.fromkeys(keys.values(), "hang"))

    def disturb():
        while len(suite.calls) < 2:
            time.sleep(0.1)
        first = queue("--states=RUNNING", "--format=%i").split()[0]
        subprocess.check_call(["scancel", first])
        time.sleep(12)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=disturb, daemon=True).start()
    assert suite("tiny/one", "--executor", "slurm") == 130
    assert "ended by SIGTERM" in capsys.readouterr().err
    deadline = time.monotonic() + 30
    while queue("--states=RUNNING,COMPLETING,PENDING"):
        assert time.monotonic() < deadline
        time.sleep(0.2)


@needs_slurm
@pytest.mark.parametrize(
    ("option", "said"),
    [("partition=gpu", "sbatch refused a job .*correct --slurm"), ("time=99", "never start job")],
)
def test_what_slurm_would_never_run_is_said_at_once(daemons, suite, capsys, option, said):
    assert suite("tiny/one", "--executor", "slurm", "--slurm", option)
    shown = capsys.readouterr()
    assert re.search(said, shown.out + shown.err) and suite.calls == []
    assert not queue()


def test_without_submitit_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match="python -m pip install submitit"):
        slurm.Queue({})
