"""What a process started by the batch does about signals and about the death of its parent."""

import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection

from lib import paths

LEASH = "SUITE_LEASH"  # set by the parent, which holds our standard input open while it lives
CRASH = (
    "a library crashed; run it again, and if it then works under ONEDNN_MAX_CPU_ISA=SSE41 alone, "
    "oneDNN's code for this processor is to blame"
)
ADVICE = {  # what a person can do about a process that a signal ended
    "SIGKILL": "most likely for lack of memory; use fewer --jobs",
    "SIGTERM": "something outside of the suite stopped it; run it again",
    "SIGSEGV": CRASH,
    "SIGABRT": CRASH,
    "SIGBUS": "a file that it had open was cut short or the disk is full; free space, run it again",
    "SIGILL": "a library uses instructions that this processor lacks; install another build of it",
}


def ending(code: int) -> str:
    """Return how a process ended by its exit code, and what to do about it."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    return f"ended by {name}" + (f": {ADVICE[name]}" if name in ADVICE else "")


def follow_parent() -> None:
    """End this process when its parent dies, however that happens."""
    if not os.environ.pop(LEASH, ""):
        return

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            continue
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        os._exit(143)

    threading.Thread(target=wait, daemon=True).start()


def module(
    words: Sequence[str], env: Mapping[str, str], stdin: Connection, stdout: Connection
) -> None:
    """Become `python -m words` in a session of its own, out of a process that was forked."""
    os.setsid()
    for number, end in ((0, stdin), (1, stdout), (2, stdout)):
        os.dup2(end.fileno(), number)
    sys.stdin = os.fdopen(0, closefd=False)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(paths.ROOT)
    sys.argv = [*words]
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
