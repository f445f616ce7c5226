"""For every artifact, the recipes it needs; importable without torch or Jupyter."""

from collections.abc import Iterable
from fnmatch import fnmatch

from lib.errors import choose
from lib.study import ARTIFACTS, Plan

# isort: off
from lib.studies import smart, float_, dnr, gdws, beyond, audit  # in the order of the suite
# isort: on

__all__ = ["ARTIFACTS", "artifact", "audit", "beyond", "dnr", "float_", "gdws", "match", "smart"]


def artifact(name: str) -> Plan:
    """Return the function that plans an artifact."""
    return ARTIFACTS[choose("artifact", name, ARTIFACTS)]


def match(patterns: Iterable[str]) -> list[str]:
    """Return the artifacts that papers, names or globs select, in the suite's order; none: all.

    Upper case counts as lower case, which all names are.
    """
    chosen: set[str] = set()
    papers = {name.split("/")[0] for name in ARTIFACTS}
    for pattern in (word.lower() for word in patterns):
        found = {n for n in ARTIFACTS if fnmatch(n, pattern) or n.split("/")[0] == pattern}
        if not found:
            choose("artifact", pattern, {*ARTIFACTS, *papers})
        chosen |= found
    return [name for name in ARTIFACTS if name in chosen or not chosen]
