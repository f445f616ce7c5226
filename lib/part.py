"""A piece of a recipe: a frozen dataclass that checks its fields and becomes plain containers."""

import hashlib
import json
import types
import typing
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Annotated, Any

from lib.errors import UserError, check_range, choose

LARGEST = 2**31 - 1

# Types of fields with their bounds, both included; words are told as Annotated[str, WORDS]
Share = Annotated[float, (0.0, 1.0)]
Density = Annotated[float, (1e-6, 1.0)]
Amount = Annotated[float, (0.0,)]
Count = Annotated[int, (0,)]
Number = Annotated[int, (1,)]


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def _coerce(name: str, kind: Any, value: Any) -> Any:
    """Return value in the field's type, so that 1 and 1.0 or a list and a tuple are the same.

    One outside of the bounds or words of the type is refused.
    """
    if typing.get_origin(kind) is Annotated:
        kind, allowed = typing.get_args(kind)
        value = _coerce(name, kind, value)
        if kind is str:
            return choose(name.split(".")[1], value, allowed)
        return check_range(name, value, *allowed)
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        if not isinstance(value, list | tuple):
            raise UserError(f"{name} must be a list, not {value!r}.")
        return tuple(_coerce(name, item, v) for v in value)
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None and type(None) in options:
        return None
    if isinstance(value, int) and abs(value) > LARGEST:
        raise UserError(f"{name} must be a number between -{LARGEST} and {LARGEST}.")
    for option in options:
        if isinstance(value, option) and not (isinstance(value, bool) and option is not bool):
            return value
        if option is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
    expected = " or ".join(o.__name__ for o in options if o is not type(None))
    raise UserError(f"{name} must be of type {expected}, not {value!r}.")


@dataclass(frozen=True)
class Part:
    """A piece of a recipe; checks its fields by their types."""

    def __post_init__(self) -> None:
        hints, kin = _hints(type(self)), type(self).__mro__  # type: ignore[arg-type]
        family = kin[kin.index(Part) - 1].__name__.lower()  # as 'method' of all methods
        for f in fields(self):
            value = _coerce(f"{family}.{f.name}", hints[f.name], getattr(self, f.name))
            object.__setattr__(self, f.name, value)
        self.check()

    def check(self) -> None:
        """Refuse what the type of a field does not tell."""

    @property
    def key(self) -> str:
        """Return the content hash, 16 hexadecimal digits."""
        text = json.dumps(self.to_dict(full=False), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self, full: bool = True) -> dict[str, Any]:
        """Return plain containers; full=False leaves out what equals its default."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            default = f.default if f.default_factory is MISSING else f.default_factory()
            if not full and value == default and f.default is not MISSING:
                continue
            if isinstance(value, Part):
                kind = {"kind": value.kind} if hasattr(value, "kind") else {}
                value = kind | value.to_dict(full)
            out[f.name] = list(value) if isinstance(value, tuple) else value
        return out
