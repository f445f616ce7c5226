"""Processes of a pool: order, needs, what they say, how they end."""

import os
import signal
import subprocess
import sys
import tempfile
import time

import psutil
import pytest

from lib import paths
from lib.batch import display, pool, room
from lib.errors import UserError


def task(tmp_path, name, code="", **more):
    command = [sys.executable, "-c", code]
    more.setdefault("guess", 1.0)
    return pool.Task(name, "task", command, tmp_path / f"logs/{name}.log", **more)


def run(*tasks, slots=2, watch=lambda: None):
    """Run tasks and return why the last one failed."""
    pool.run(tasks, slots, watch)
    return tasks[-1].reason


def test_no_more_run_at_a_time_than_there_are_slots(tmp_path):
    most = []
    tasks = [task(tmp_path, str(n), "import time; time.sleep(.2)") for n in range(4)]
    run(*tasks, watch=lambda: most.append(sum(t.seconds > 0 and not t.ended for t in tasks)))
    assert max(most) == 2 and all(t.ended and not t.reason for t in tasks)


def test_no_task_is_started_beside_others_that_leave_too_little_memory(tmp_path, monkeypatch):
    together = []
    sizes = {"a": 6.0, "b": 6.0, "c": 4.0, "d": 15.0, "e": 100.0}
    tasks = [
        task(tmp_path, name, "import time; time.sleep(.3)", memory=10.0**12 * size)
        for name, size in sizes.items()
    ]  # far more than such a process holds
    monkeypatch.setattr(room, "free", lambda: 10.0e12)
    monkeypatch.setattr(room, "total", lambda: 20.0e12)

    def watch():
        together.append({t.name for t in tasks if t.seconds > 0 and not t.ended})

    assert "it needs about 100000 GB of memory and there are 20000 GB" in run(
        *tasks, slots=4, watch=watch
    )
    assert all(sum(sizes[name] for name in names) <= 10 for names in together if names != {"d"})
    assert {"a", "c"} in together and {"d"} in together  # what does not fit is alone
    assert all(t.ended and not t.reason for t in tasks[:-1]) and not tasks[-1].seconds


def test_a_task_waits_for_what_it_needs_and_is_not_started_if_that_failed(tmp_path):
    mark = tmp_path / "mark"
    first = task(tmp_path, "a", f"import time; time.sleep(.3); open({str(mark)!r}, 'w')")
    second = task(tmp_path, "b", f"import os; os.remove({str(mark)!r})", needs=[first])
    assert run(second, first) == second.reason == "" and not mark.exists()
    failing = task(tmp_path, "a", f"open({str(mark)!r}, 'w'); raise SystemExit('error: no luck')")
    second = task(tmp_path, "b", f"import os; os.remove({str(mark)!r})", needs=[failing])
    assert run(failing, second) == "run a: no luck" and mark.exists() and not second.seconds


def test_the_reason_is_the_last_error_of_all_that_was_said(tmp_path):
    code = "import sys; print('ok'); print('ValueError: a\\nb', file=sys.stderr); sys.exit(3)"
    assert run(task(tmp_path, "a", code)) == "ValueError: a"
    assert (tmp_path / "logs/a.log").read_text() == "ok\nValueError: a\nb\n"
    assert run(task(tmp_path, "a", "raise SystemExit(4)")) == "ended with exit code 4"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("SIGKILL", "fewer --jobs"),
        ("SIGTERM", "run it again"),
        ("SIGSEGV", "ONEDNN_MAX_CPU_ISA=SSE41"),
        ("SIGABRT", "ONEDNN_MAX_CPU_ISA=SSE41"),
        ("SIGBUS", "free space"),
        ("SIGILL", "another build"),
    ],
)
def test_a_task_that_a_signal_ended_says_what_to_do(tmp_path, name, advice):
    code = f"import os, signal; print('Error: x', flush=True); os.kill(os.getpid(), signal.{name})"
    reason = run(task(tmp_path, "a", code))
    assert reason.startswith(f"ended by {name}: ") and advice in reason and "\n" not in reason


def test_the_log_of_a_crash_says_where_it_happened(tmp_path):
    code = "def unlucky():\n    import os\n    os.kill(os.getpid(), 11)\n\nunlucky()"
    run(task(tmp_path, "a", code))
    assert "in unlucky" in (tmp_path / "logs/a.log").read_text()


def test_a_hangup_that_nohup_lets_pass_is_let_pass():
    code = (
        "import os, signal; from lib.stopping import stoppable\n"
        "with stoppable(): os.kill(os.getpid(), signal.SIGHUP)"
    )
    call = ["nohup", sys.executable, "-c", code]
    assert subprocess.run(call, cwd=paths.ROOT, capture_output=True).returncode == 0
    assert subprocess.run(call[1:], cwd=paths.ROOT, capture_output=True).returncode == 1


def test_progress_lines_are_heard_and_kept_out_of_the_log(tmp_path):
    shares = []
    telling = task(tmp_path, "a", "import time; print('progress 0.25', flush=True); time.sleep(.6)")
    run(telling, watch=lambda: shares.append(telling.share))
    assert 0.25 in shares and (tmp_path / "logs/a.log").read_text() == ""


def test_a_log_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(UserError, match=r"Cannot write .*a\.log .*then rerun\."):
        run(task(tmp_path, "a"))


def test_a_copy_of_a_process_is_like_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")  # short enough for the name of a socket
    (tmp_path / "told.py").write_text(
        "import os, sys, lib.paths\n"
        "import torch  # loaded before\n"
        "print(sys.argv[1:], os.environ['TOLD'], os.environ['OMP_NUM_THREADS'], __name__)\n"
        "print(os.getsid(0) == os.getpid(), os.getcwd() == str(lib.paths.ROOT), flush=True)\n"
        "sys.argv[1] == 'stop' and sys.exit('error: no luck')\n"
        "sys.argv[1] == 'kill' and os.kill(os.getpid(), 9)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    reasons = {}
    for word in ("end", "stop", "kill"):
        log, env = tmp_path / f"{word}.log", {"TOLD": "yes"}
        command = pool.python("told", word)
        reasons[word] = run(pool.Task(word, "task", command, log, 1.0, env=env, place=pool.Fork))
        said = log.read_text().splitlines()
        assert said[:2] == [f"['{word}'] yes 1 __main__", "True True"]
    assert os.environ["OMP_NUM_THREADS"] == "7" and "TOLD" not in os.environ
    monkeypatch.setattr(paths, "RESULTS", tmp_path)  # which what is loaded knows nothing of
    assert type(pool.fork(pool.python("told", "end"), env, print)) is pool.Process
    assert (reasons["end"], reasons["stop"]) == ("", "no luck")
    assert reasons["kill"].startswith("ended by SIGKILL: ")


@pytest.mark.parametrize("place", ["Process", "Fork"])
def test_children_end_when_the_parent_is_killed(tmp_path, place):
    mark = tmp_path / "pid"
    (tmp_path / "waits.py").write_text(
        "from lib.batch.child import follow_parent; import time, os; follow_parent();"
        f"open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(100)"
    )
    parent = (
        "import sys; from pathlib import Path; from lib.batch import pool;"
        f"t = pool.Task('a', 'task', pool.python('waits'), Path({str(mark)!r} + 'l'), 1.0,"
        f"place=pool.{place}); pool.run([t], 1, lambda: None)"
    )
    env = os.environ | {"PYTHONPATH": f"{paths.ROOT}:{tmp_path}", "TMPDIR": "/tmp"}
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=paths.ROOT, env=env)
    deadline = time.monotonic() + 60
    while not (mark.is_file() and mark.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    pid = int(mark.read_text())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)


def test_the_time_left_follows_what_is_measured(tmp_path):
    tasks = [task(tmp_path, name, guess=1000.0) for name in "abcd"]
    meter = display.Meter(tasks, slots=2)
    assert meter.left() == 2000
    for ended in tasks[:2]:
        ended.seconds, ended.share = 2000.0, 1.0
    assert meter.left() == pytest.approx(2000, rel=0.01)  # twice the guess, two at a time
    tasks[2].seconds, tasks[2].share = 1000.0, 0.5
    tasks[3].seconds, tasks[3].share = 2000.0, 1.0
    assert meter.left() == pytest.approx(1000, rel=0.01)
    tasks[2].share = 1.0
    assert meter.left() == 0


def test_the_longest_task_bounds_the_time_left_and_time_that_passes_counts(tmp_path):
    tasks = [task(tmp_path, "a", guess=100.0), task(tmp_path, "b", guess=1.0)]
    for tasks[0].seconds, left in ((0, 100), (30, 70), (99, 9.9), (200, 20)):  # its share not told
        assert display.Meter(tasks, slots=8).left() == pytest.approx(left)
