"""The words of the command line: every command and option, checked as far as words tell."""

import argparse
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lib.datasets import absolute
from lib.errors import UserError, choose
from lib.presets import PRESETS

SEEDS = re.compile(r"[0-9]{1,10}(,[0-9]{1,10})*,?")  # a word that can be nothing else
EXAMPLES = {"set": "train.epochs=30", "slurm": "partition=gpu"}
DESCRIPTION = "Train, measure and report robust, efficient networks; --help on each command."


class Parser(argparse.ArgumentParser):
    """A parser that complains in one sentence, like everything else here."""

    commands: Any = None

    def options(self, command: str | None) -> Iterable[str]:
        return (self.commands.choices[command] if command else self)._option_string_actions

    def error(self, message: str) -> NoReturn:
        """Raise what argparse has to say, without the usage."""
        raise UserError(f"{message[0].upper()}{message[1:]}; see {self.prog} --help.")


def parser() -> Parser:
    """Return the parser of all commands."""
    top = Parser(prog="python -m lib", description=DESCRIPTION, allow_abbrev=False)
    commands = top.add_subparsers(dest="command", parser_class=Parser, metavar="COMMAND")
    top.commands = commands

    def command(name: str, text: str, *parents: Parser) -> Parser:
        about: Any = {"help": text, "description": text, "parents": parents}
        return commands.add_parser(name, **about, allow_abbrev=False)

    fields, studies, record = (Parser(add_help=False) for _ in range(3))
    text = "a field of every recipe, as in train.epochs=30; of cost: an option of the method"
    fields.add_argument("--set", action=Fields, default={}, metavar="FIELD=VALUE", help=text)
    studies.add_argument("--preset", default="quick", help=f"{', '.join(PRESETS)}; default: quick")
    studies.add_argument("--seeds", type=seeds_of, help="one run for each, as in 0,1,2")
    text = "write the results that the repository keeps, not those of results/local"
    record.add_argument("--record", action="store_true", help=text)
    _work(command, studies, fields, record)
    _tools(command, fields, record)
    return top


def _work(command: Callable[..., Parser], studies: Parser, fields: Parser, record: Parser) -> None:
    text = "Train what is missing, execute notebooks, write the report."
    p = command("run", text, studies, fields, record)
    p.add_argument("artifacts", nargs="*", metavar="ARTIFACT", help="artifacts, papers or globs")
    p.add_argument("--jobs", type=int, help="processes at a time; default: one for each core")
    text = "seconds that a notebook may take; its networks are trained before"
    p.add_argument("--timeout", type=float, default=1800, help=text)
    p.add_argument("--fresh", action="store_true", help="train and execute everything anew")
    p.add_argument("--from-records", action="store_true", help="only redraw recorded runs")
    text = "where networks are trained: local (default) or slurm"
    p.add_argument("--executor", default="local", help=text)
    text = "an option of sbatch as submitit names it: partition, time (minutes), mem, cpus_per_task"
    p.add_argument("--slurm", action=Fields, default={}, metavar="NAME=VALUE", help=text)
    text = "write what is to be trained as files for `train`, print their names"
    p.add_argument("--write-jobs", action="store_true", help=text)
    p.add_argument("--list", action="store_true", help="show the artifacts there are")
    p.add_argument("--dry-run", action="store_true", help="show what would be done")
    p.add_argument("--why", metavar="ARTIFACT", help="show why something would be done")
    text = "Train and evaluate networks here, one after the other, as far as that is missing."
    p = command("train", text, studies, fields)
    p.add_argument("artifacts", nargs="+", metavar="WHAT", help="artifacts, globs, recipes or keys")
    p.add_argument("--fresh", action="store_true", help="train even what is finished")
    text = "stop in time, as in 90s, 9m, 1.5h; with exit status 75 if the same command is to go on"
    p.add_argument("--within", metavar="TIME", type=seconds_of, help=text)
    command("status", "Show the runs of the store: finished, unfinished, damaged, stale.")
    p = command("runs", "Copy finished runs to a folder that travels, or from one.")
    p.add_argument("action", choices=("export", "import"))
    p.add_argument("folder", type=Path, metavar="FOLDER")
    p.add_argument("key", nargs="*", help="keys of runs; without any, all finished ones")
    p = command("verify", "Train and score the beginning of runs again: do they come out alike?")
    p.add_argument("key", nargs="*", help="keys of runs; without any, all stale ones")


def _tools(command: Callable[..., Parser], fields: Parser, record: Parser) -> None:
    p = command("cost", "Count parameters, operations and bytes of a network.", fields)
    p.add_argument("--method", required=True)
    p.add_argument("--backbone", required=True)
    p.add_argument("--width", type=int, default=0, help="channels of the first stage; 0: paper's")
    p.add_argument("--num-classes", type=int, default=10)
    p.add_argument("--in-channels", type=int, default=3)
    p.add_argument("--size", type=int, default=32, help="pixels of the side of an image")
    p.add_argument("--json", action="store_true", help="print JSON instead of a table")
    p = command("bench", "Measure speed beside what else one would pick, in one run.", record)
    text = "a row, a glob, or how rows begin, as in train/oat; may be given again"
    p.add_argument("--only", action="append", default=[], metavar="NAME", help=text)
    p.add_argument("--json", type=Path, metavar="FILE", help="where to write the rows")
    p.add_argument("--rounds", type=int, default=0, help="of every row; default: as many as pay")
    p = command("data", "Download, check and decode data sets.")
    p.add_argument("name", nargs="+", help="as in cifar10")
    text = "Write index.html, RESULTS.md and summary.csv from the results."
    p = command("report", text, record)
    p.add_argument("--preset", default="", help="one folder of results; without it, all of them")
    p.add_argument("--readme", action="store_true", help="fill the generated parts of README.md")
    p = command("open", "Show what would settle open claims of recorded results, cheapest first.")
    p.add_argument("artifacts", nargs="*", metavar="ARTIFACT", help="artifacts, papers or globs")
    p.add_argument("--preset", default="quick", help="whose results; default: quick")
    p.add_argument("--json", action="store_true", help="print JSON instead of tables")
    command("spread", "Write data/spread/: how far trainings of one recipe spread.")
    p = command("prepare-notebooks", "Write copies of the notebooks with a preset filled in.")
    p.add_argument("--preset", default="ci")
    p.add_argument("folder", type=Path, metavar="DEST")


def seeds_of(text: str) -> tuple[int, ...]:
    """Return the seeds of '0,1,2'."""
    try:
        return tuple(int(word) for word in text.strip(",").split(","))
    except ValueError:
        raise UserError(f"--seeds takes whole numbers as in 0,1,2, not '{text}'.") from None


def seconds_of(text: str) -> float:
    """Return the seconds of '90s', '9m' or '1.5h'."""
    number, unit = text[:-1], {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    if not unit or not re.fullmatch(r"[0-9]{1,9}([.][0-9]+)?", number) or float(number) == 0:
        raise UserError(f"--within takes a time, as in 90s, 9m or 1.5h, not '{text}'.")
    return float(number) * unit


class Fields(argparse.Action):
    """Collects the fields of '--set a.b=value'; a value is JSON, a quotient as 8/255, or text."""

    def __call__(self, parser: Any, words: Any, given: Any, option: str | None = None) -> None:
        name, equals, text = given.partition("=")
        found = getattr(words, self.dest)
        if not equals or not name:
            example = EXAMPLES[self.dest]
            raise UserError(f"{option} takes {self.metavar}, as in {example}, not '{given}'.")
        if name in found:
            raise UserError(f"{option} gives {name} twice; give it once.")
        try:
            value = json.loads(text)
        except ValueError:
            value = _quotient(text)
        if name == "data.dataset":  # children run in other folders
            value = absolute(str(value))
        setattr(words, self.dest, found | {name: value})


def _quotient(text: str) -> float | str:
    above, _, below = text.partition("/")
    try:
        return float(above) / float(below)
    except (ValueError, ZeroDivisionError):
        return text


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the words of a call; artifacts may stand before, between and after the options."""
    top = parser()
    if argv and not argv[0].startswith("-"):
        choose("command", argv[0], top.commands.choices)
    words, more = top.parse_known_args(argv)
    for word in more:
        if word.startswith("-"):
            choose("option", word.partition("=")[0], top.options(words.command))
    if words.command in ("run", "train"):
        words.artifacts += more
        if words.seeds:  # those of '--seeds 0 1 2' stand among the artifacts
            apart = [word for word in words.artifacts if SEEDS.fullmatch(word)]
            words.artifacts = [word for word in words.artifacts if word not in apart]
            words.seeds += tuple(seed for word in apart for seed in seeds_of(word))
        words.seeds = words.seeds or (0,)
    elif more:
        top.error(f"unrecognized arguments: {' '.join(more)}")
    return words
