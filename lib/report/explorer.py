"""The explorer of a report: what a notebook measured over trade-offs and attacks, to try out."""

import math
from pathlib import Path
from typing import Any

from lib import store
from lib.samples import unpack

MOST = 2**22  # bytes that a page takes
COSTS = ("networks", "macs", "params", "bytes")


def read(path: Path) -> str:
    """Return the data of an explorer as JSON for a page, in which nothing is markup.

    What the page could not show is refused by a ValueError or another error of wrong shapes.
    """
    data = store.parse(path)
    _check(data)
    text = store.compact(data)
    _must(len(text) <= MOST)
    return text.replace("<", "\\u003c")


def section(data: str) -> str:
    """Return the section of a page that shows the data, '' without any."""
    if not data:
        return ""
    block = f'<script type="application/json" id="explorer-data">{data}</script>\n'
    return Path(__file__).with_name("explorer.html").read_text(encoding="utf-8") + block


def _check(data: dict[str, Any]) -> None:
    lams, strengths, samples = data["lams"], data["strengths"], data["samples"]
    classes, labels = data["classes"], samples["labels"]
    _must(data["channels"] in (1, 3) and data["size"] in range(1, 257))
    pixels = len(labels) * data["channels"] * data["size"] ** 2
    moved = pixels * len(strengths)
    _must(all(isinstance(text, str) for text in (data["attack"], data["dataset"], *classes)))
    _must(all(label in range(len(classes)) for label in labels))
    _must(all(_number(x) for x in (*lams, *strengths, data["eps"], *labels)))
    _must(strengths == sorted(strengths) and strengths[0] == 0 and 1 in strengths)
    _must(bool(lams and labels and data["networks"]))
    _must(len(unpack(samples["pixels"], pixels)) == pixels)
    for network in data["networks"]:
        _must(isinstance(network["method"], str) and isinstance(network["name"], str))
        _must(all(_number(network["cost"][name]) for name in COSTS))
        _must(len(network["lams"]) == len(lams))
        for state in network["lams"]:
            scores, guesses = state["scores"], state["guesses"]
            _must(len(scores) == len(guesses) == len(strengths))
            _must(len(unpack(state["noise"], moved)) == moved)
            for value, low, high, n in scores:
                _must(0 <= low <= value <= high <= 100 and _number(n) and n >= 1)
            _must(all(len(guessed) == len(labels) for guessed in guesses))
            for guess, odds in (pair for guessed in guesses for pair in guessed):
                _must(guess in range(len(classes)) and 0 <= odds <= 1)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and not isinstance(value, bool)


def _must(holds: bool) -> None:
    if not holds:
        raise ValueError("it is not as the explorer takes it")
