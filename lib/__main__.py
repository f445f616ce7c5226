"""The command line: `python -m lib COMMAND`; `--help` on each."""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from lib.arguments import parse, parser
from lib.batch.child import follow_parent
from lib.errors import UserError
from lib.stopping import Stopped, stoppable
from lib.studies import ARTIFACTS, match

TIME_IS_UP = os.EX_TEMPFAIL  # the exit status of what is to be run again
CONTINUE = "What is finished is kept; run the same command again to continue."


def dispatch(argv: Sequence[str]) -> int:
    """Carry out one command and return its exit status."""
    words = parse(argv)
    if words.command is None:
        parser().print_help()
        return 2
    if words.command == "run" and words.list:
        return show(match(words.artifacts))
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("lib").setLevel(logging.INFO)
    if getattr(words, "record", False):
        os.environ["SUITE_RECORD"] = "1"  # for children, too
    from lib import commands  # not above: PyTorch takes seconds to import

    return commands.COMMANDS[words.command](words)


def show(names: Sequence[str]) -> int:
    """Print artifacts with what they show."""
    width = max(map(len, names))
    for name in names:
        text = (ARTIFACTS[name].__doc__ or "").strip().splitlines()[0]
        print(f"{name:{width}}  {text.removeprefix('Plan ').rstrip('.')}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; what the caller can mend is one line on standard error."""
    follow_parent()
    try:
        with stoppable():
            status = dispatch(sys.argv[1:] if argv is None else argv)
            sys.stdout.flush()  # here, where a reader that has gone is known
            return status
    except UserError as error:
        message, status = f"error: {' '.join(str(error).split())}", 2
    except KeyboardInterrupt:
        message, status = f"Interrupted. {CONTINUE}", 130
    except Stopped as stopped:
        name = signal.Signals(stopped.number).name
        message, status = f"Stopped by {name}. {CONTINUE}", 128 + stopped.number
        if stopped.number == signal.SIGALRM:
            message, status = f"The time is up. {CONTINUE}", TIME_IS_UP
    except BrokenPipeError:  # the reader, as in `... | head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as asked:  # --help
        return asked.code if isinstance(asked.code, int) else 1
    with suppress(OSError):  # the terminal may be gone
        sys.stderr.write(f"{message}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
