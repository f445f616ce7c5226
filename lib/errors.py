"""The one exception that is meant for the person at the keyboard, and help with misspelt names."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path


class UserError(Exception):
    """Something the caller can mend; the message is one sentence that says what to do."""


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Say in one sentence that a place cannot be written, whatever the block ran into."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"Cannot write {path} ({error.strerror or error}); free space or make the folder "
            "writable, then rerun."
        ) from error


def choose(kind: str, word: str, options: Iterable[str]) -> str:
    """Return word if it is one of options, else raise a UserError with the nearest match."""
    known = sorted(options)
    if word in known:
        return word
    near = get_close_matches(str(word), known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"choose one of: {', '.join(known)}."
    raise UserError(f"Unknown {kind} '{word}'; {hint}")


def check_range(name: str, value: float, low: float, high: float = float("inf")) -> float:
    """Return value if it is finite and low <= value <= high, else raise a UserError."""
    if not low <= value <= high or value == float("inf"):
        limit = f"between {low:g} and {high:g}" if high != float("inf") else f"at least {low:g}"
        raise UserError(f"{name} is {value:g} but must be {limit}.")
    return value


def check_radius(name: str, eps: float, norm: str, size: float = float("inf")) -> None:
    """Refuse a radius that reaches farther than any image of size values in [0, 1] is away."""
    widest = {"linf": 1.0, "l2": size**0.5}.get(norm, size)  # else L1
    if check_range(name, eps, 0) > widest:
        raise UserError(
            f"{name} is {eps:g} but pixels span 0 to 1 and no image is farther than {widest:g} "
            f"away in {norm}; 8 steps of 255, for example, are 8/255."
        )


def check_set(
    name: str, values: Sequence[float], low: float, high: float, *, needed: float
) -> None:
    """Refuse numbers outside [low, high], one given twice, and a set without the needed one."""
    for value in values:
        check_range(name, value, low, high)
    if len(set(values)) < len(values) or needed not in values:
        raise UserError(f"{name} must hold {needed:g} and no value twice.")
