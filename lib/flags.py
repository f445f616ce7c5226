"""Why a robust accuracy may say less than it seems to: checks of how it was measured.

Each is an entry of CHECKS; those that need the network itself are in `lib.assess`. What a severe
finds, with a capital mark, makes the accuracy unreliable; others say what it does not cover.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import le
from typing import Any, NamedTuple

import pandas as pd

from lib.intervals import difference
from lib.presets import Strong
from lib.protocol import Protocol
from lib.study import Job

SIGN = "†"  # before marks
CHANCE = 0.001  # p-value of a difference between two attacks that is not put down to it
STEPS, IMAGES, SEEDS = 20, 1_000, 3  # fewer are few
POINT, MASKED = 1.0, 10.0  # points that another attack, and that AutoAttack, may find more
Row = Mapping[Any, Any]
Rows = Mapping[Protocol, Row | None]


class Check(NamedTuple):
    """A reason for doubt: its mark in tables, what it says, and when it holds."""

    mark: str
    says: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Score:
    """An accuracy as checks see it, beside all of the same network at the same trade-off.

    rows hold a row as in metrics.csv for each protocol, None where it is not measured. noisy tells
    whether the network draws noise, trained in which balls it was attacked in training.
    """

    protocol: Protocol
    rows: Rows
    noisy: bool = False
    trained: frozenset[tuple[str, float]] = frozenset()
    seeds: int = SEEDS

    def above(self, other: Protocol, margin: float = 0.0) -> bool:
        return above(self.rows.get(self.protocol), self.rows.get(other), margin)

    @property
    def rivals(self) -> list[Protocol]:
        """Return the other attacks in its ball.

        AutoAttack's 'rand' drops an image at the first draw that errs, and has none on noise.
        """
        mine, ball = self.protocol, _ball(self.protocol)
        others = (p for p in self.rows if p != mine and p.attack != "none" and _ball(p) == ball)
        return [p for p in others if not (self.noisy and "rand" in (p.version, mine.version))]

    def outdone(self, single: bool) -> bool:
        """Return whether an attack that tries less finds more, one of a single step or others."""
        mine = _effort(self.protocol)
        less = [p for p in self.rivals if all(map(le, _effort(p), mine)) and _effort(p) != mine]
        return any(self.above(p) for p in less if (_effort(p)[0] == 1) == single)

    def rises(self) -> bool:
        """Return whether the same attack finds more in a smaller ball."""
        mine, how = self.protocol, (self.protocol.norm, _effort(self.protocol))
        smaller = (p for p in self.rows if p.attack == mine.attack and p.eps < mine.eps)
        return any(self.above(p) for p in smaller if (p.norm, _effort(p)) == how)

    def masked(self) -> bool:
        """Return whether AutoAttack finds far more than the PGD that tries hardest."""
        mine, others = self.protocol, self.rivals
        least = any(p.attack == "pgd" and _effort(p) > _effort(mine) for p in others)
        strong = (p for p in others if p.attack == "autoattack")
        return mine.attack == "pgd" and not least and any(self.above(p, MASKED) for p in strong)


def above(a: Row | None, b: Row | None, margin: float = 0.0) -> bool:
    """Return whether an accuracy is above another one by more than a margin and chance."""
    if a is None or b is None or a["value"] - b["value"] <= margin:
        return False
    return difference(pd.DataFrame([a]), pd.DataFrame([b])).minus(margin).p_above(0) <= CHANCE


def _effort(protocol: Protocol) -> tuple[float, ...]:
    """Return the steps, restarts and draws of an attack; AutoAttack tries harder than all."""
    if protocol.attack == "autoattack":
        return (float("inf"),) * 3
    return 1 if protocol.attack == "fgsm" else protocol.steps, protocol.restarts, protocol.eot


def _ball(protocol: Protocol) -> tuple[str, float]:
    return protocol.norm.removesuffix("-sparse"), protocol.eps


def _unaveraged(s: Score) -> bool:
    averaged = s.protocol.eot > 1 and (s.protocol.attack, s.protocol.version) != STANDARD
    return s.noisy and s.protocol.noise == "fresh" and not averaged


def _shortened(s: Score) -> bool:
    p, full = s.protocol, Strong()
    few = p.queries < full.queries if p.version == "standard" else p.eot < full.eot
    return p.attack == "autoattack" and (few or p.steps < full.steps)


def _few(s: Score) -> bool:
    own = s.rows.get(s.protocol)
    return 0 < (own["n"] if own else s.protocol.images) < IMAGES


STANDARD = ("autoattack", "standard")
CHECKS = (
    Check("S", "a single step finds more", lambda s: s.outdone(single=True)),
    Check("E", "fewer steps or restarts find more", lambda s: s.outdone(single=False)),
    Check("M", f"AutoAttack finds over {MASKED:g} points more than PGD", Score.masked),
    Check("N", "noise in the network, but gradients of a single draw", _unaveraged),
    Check(
        "C",
        "more attacked images than clean ones are right",
        lambda s: any(s.above(p) for p in s.rows if p.attack == "none"),
    ),
    Check("R", "the same attack finds more in a smaller radius", Score.rises),
    Check(
        "b",
        f"another attack finds over {POINT:g} point more",
        lambda s: any(s.above(p, POINT) for p in s.rivals),
    ),
    Check(
        "s",
        f"no attack of {STEPS} steps",
        lambda s: all(_effort(p)[0] < STEPS for p in (s.protocol, *s.rivals)),
    ),
    Check("q", "AutoAttack tries less hard than its authors' program", _shortened),
    Check(
        "v",
        "AutoAttack for networks with noise, but there is none",
        lambda s: not s.noisy and s.protocol.version != "standard",
    ),
    Check("f", "frozen noise", lambda s: s.noisy and s.protocol.noise == "frozen"),
    Check(
        "r",
        "another radius or norm than in training",
        lambda s: bool(s.trained) and _ball(s.protocol) not in s.trained,
    ),
    Check("c", "no clean accuracy", lambda s: all(p.attack != "none" for p in s.rows)),
    Check("n", f"fewer than {IMAGES:,} images", _few),
    Check("d", f"fewer than {SEEDS} seeds", lambda s: s.seeds < SEEDS),
    Check("e", "an epoch that was chosen afterwards", lambda s: s.protocol.weights == "best"),
    Check("t", "no test images", lambda s: s.protocol.split != "test"),
)


def found(score: Score) -> str:
    """Return the marks of an accuracy, '' for a clean one."""
    attacked = score.protocol.attack != "none"
    return "".join(check.mark for check in CHECKS if attacked and check.holds(score))


def of_job(job: Job, seeds: int = SEEDS, rows: Rows | None = None) -> dict[Protocol, str]:
    """Return the marks of each protocol of a job, as far as rows of it tell."""
    recipe, rows = job.recipe, dict.fromkeys(job.protocols) | dict(rows or {})
    method, attack = recipe.method, recipe.attack
    radii = {attack.norm: attack.eps} if method.shares[1] else {}
    radii = method.balls(attack.eps, 0)[0] if hasattr(method, "balls") else radii
    trained = frozenset((norm.removesuffix("-sparse"), eps) for norm, eps in radii.items())

    def reading(p: Protocol) -> tuple[Any, ...]:
        return p.lam, p.slim, p.threshold, p.noise, p.weights, p.split

    marks = {}
    for p in job.protocols:
        beside = {o: row for o, row in rows.items() if reading(o) == reading(p)}
        marks[p] = found(Score(p, beside, method.noise and p.lam > 0, trained, seeds))
    return marks


def among(marks: Iterable[Any]) -> list[Check]:
    """Return the checks whose marks are in texts; what is no text has none."""
    text = "".join(text for text in marks if isinstance(text, str))
    return [check for check in CHECKS if check.mark in text]


def shown(marks: Iterable[Any]) -> str:
    """Return marks as they stand behind a number, ' †sn'."""
    letters = "".join(check.mark for check in among(marks))
    return letters and f" {SIGN}{letters}"


def legend(metrics: pd.DataFrame) -> str:
    """Return what the marks of robust accuracies mean, and how many have each, '' without any."""
    marks = metrics.loc[metrics["metric"] == "robust_acc"].get("flags", [])
    marks = [text for text in marks if isinstance(text, str)]  # of those that were checked
    counts = {check: sum(check.mark in text for text in marks) for check in among(marks)}
    said = "; ".join(f"{check.mark}, {check.says} ({n})" for check, n in counts.items())
    opening = f"{SIGN} marks what to doubt of {len(marks)} robust accuracies, in capitals where"
    return said and f"{opening} it makes them unreliable: {said}."
