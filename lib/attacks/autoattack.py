"""AutoAttack (Croce and Hein 2020): its attacks come from pyautoattack, the order of them is here.

An image that one attack breaks is spared by the following ones. For functions that draw noise an
image counts as broken when every one of eot draws gets it wrong: a single draw would spare images
after one lucky error and keep examples that fail on the next draw.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor

from lib.attacks.loss import (
    GRADIENT,
    Classifier,
    Worst,
    check_attack,
    check_gradient,
    check_logits,
)
from lib.attacks.norms import NORMS
from lib.errors import UserError, check_range, choose

VERSIONS = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "rand": ("apgd-ce", "apgd-dlr"),
}
LEAST = {"standard": 4, "rand": 3}  # classes that the DLR losses need
SPELLING = {"linf": "Linf", "l2": "L2", "l1": "L1"}
REPORT = 1e-3  # of the work, between two reports of progress

_silent = logging.getLogger("lib.attacks.autoattack")
_silent.disabled = True  # the package's advice on gradients, which it would write to the root


def autoattack(
    f: Classifier,
    x: Tensor,
    y: Tensor,
    eps: float,
    *,
    version: str = "standard",
    norm: str = "linf",
    steps: int = 100,
    eot: int = 20,
    queries: int = 5_000,
    seed: int = 0,
    on_step: Callable[[float], None] = lambda done: None,
) -> Tensor:
    """Return images within eps of x in norm, inside [0, 1], that f gets wrong where one was found.

    f maps float32 images (N, C, H, W) to logits; nothing of it is changed. 'standard' is APGD-CE,
    targeted APGD and FAB with up to nine targets, and Square; an image that is wrong from the start
    or that none of them breaks comes back as it is. 'rand', for functions that draw noise, is
    APGD-CE and APGD-DLR with gradients averaged over eot draws; of what they find, and the image
    itself, it keeps what eot draws get wrong most often. steps are the iterations of APGD
    and FAB, queries those of Square. The same seed gives the same images, as far as f does not
    draw from a generator of its own; torch's global one is seeded for the attack and put back.
    on_step gets a rising estimate of the share done.
    """
    choose("version of AutoAttack", version, VERSIONS)
    check_attack(x, y, eps, norm, steps=(steps, 1), eot=(eot, 1), queries=(queries, 1))
    if x.ndim != 4:
        raise UserError(f"Images have shape {tuple(x.shape)} but AutoAttack needs (N, C, H, W).")
    if version == "standard" and norm != "linf":  # what the package's attacks cannot do
        if x.shape[2] < 5:
            raise UserError(
                f"AutoAttack in {norm} needs images of 5 rows or more, these have {x.shape[2]}; "
                "use PGD."
            )
        check_range("steps of AutoAttack in l1", steps, 2 if norm == "l1" else 1)
    x, y = x.detach().float().contiguous(), y.detach().long()
    if eps == 0 or len(x) == 0:
        return x.clone()
    seeds = torch.randint(2**62, (8,), generator=torch.Generator().manual_seed(seed)).tolist()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.no_grad():
        x, y = x.clone(), y.clone()  # an inference tensor cannot be differentiated
        torch.manual_seed(seeds.pop())
        logits = f(x)
        check_logits(logits, y)
        classes = logits.shape[1]
        if classes < LEAST[version]:
            raise UserError(
                f"AutoAttack's version '{version}' needs {LEAST[version]} classes or more, the "
                f"classifier has {classes}; use PGD."
            )
        budget = _Budget(version, norm, eps, steps, eot, queries, classes - 1)
        worst = Worst(f, x, y, budget.draws)
        work = budget.forwards()
        watched = _Watched(f, sum(work.values()), on_step)
        for name, forwards in work.items():
            _extend(worst, x, name, budget, watched, seeds.pop())
            watched.finish(forwards)
        return worst.images


@dataclass(frozen=True)
class _Budget:
    """How hard each attack tries; others are the classes that an image can be mistaken for."""

    version: str
    norm: str
    eps: float
    steps: int
    eot: int
    queries: int
    others: int

    @property
    def draws(self) -> int:
        """Return the passes that one gradient, or one judgement, averages over."""
        return self.eot if self.version == "rand" else 1

    @property
    def is_wide(self) -> bool:
        """Whether APGD starts from three times the radius, and APGD-CE five times."""
        return self.norm == "l1" and self.version == "standard"

    def targets(self, name: str) -> int:
        """Return how many classes an attack aims at, the likeliest first."""
        return min(5 if self.norm == "l1" and name == "apgd-t" else 9, self.others)

    def forwards(self) -> dict[str, int]:
        """Return the forward passes of each attack on an image that it never breaks, in order."""
        climb = GRADIENT * self.draws * (self.steps + 1)
        each = {
            "apgd-ce": climb * (5 if self.is_wide else 1),
            "apgd-dlr": climb,
            "apgd-t": climb * self.targets("apgd-t"),
            "fab-t": (GRADIENT + 1) * self.steps * self.targets("fab-t"),
            "square": self.queries,
        }
        return {name: each[name] for name in VERSIONS[self.version]}

    def attack(self, name: str, f: Classifier | None) -> Any:
        """Return the package's attack as AutoAttack sets it up for its versions."""
        ball = {"norm": SPELLING[self.norm], "eps": self.eps}
        targets = {"n_target_classes": self.targets(name)}
        if name == "fab-t":
            return _Fab(f, **ball, n_iter=self.steps, targeted=True, **targets)
        if name == "square":
            return SquareAttack(f, **ball, n_queries=self.queries, resc_schedule=False)
        apgd = ball | {"n_iter": self.steps, "use_largereps": self.is_wide, "logger": _silent}
        if name == "apgd-t":
            return APGDAttack_targeted(f, **apgd, **targets)
        loss = name.removeprefix("apgd-")
        restarts = 5 if self.is_wide else 1
        return APGDAttack(f, **apgd, loss=loss, n_restarts=restarts, eot_iter=self.draws)


def forwards(version: str, steps: int, eot: int, queries: int, classes: int) -> int:
    """Return the forward passes that AutoAttack in Linf spends on an image it never breaks."""
    budget = _Budget(version, "linf", 0.0, steps, eot, queries, classes - 1)
    return sum(budget.forwards().values())


def _extend(
    worst: Worst, x: Tensor, name: str, budget: _Budget, watched: _Watched, seed: int
) -> None:
    """Attack the images that are not yet wrong in every draw, and keep what is worse."""
    standing = (worst.errors < 1).nonzero().flatten()
    if not len(standing):
        return
    clean, labels = x[standing], worst.y[standing]
    attack = budget.attack(name, watched)
    attack.seed = seed
    torch.manual_seed(seed)
    try:
        if budget.version == "rand":  # its `perturb` leaves out images that one draw gets wrong
            attack.init_hyperparam(clean)
            highest, _, _, wrong = attack.attack_single_run(clean, labels)
            found = [highest, wrong]
        else:
            found = [attack.perturb(clean.clone(), labels)]
    except AssertionError as error:
        raise UserError(
            f"AutoAttack's {name} cannot attack this classifier ({error or 'a check failed'}); "
            "use PGD."
        ) from error
    ball = NORMS[budget.norm]()
    for adv in found:  # projected, because rounding may have left the ball by a bit
        worst.offer(ball.project(adv, clean, budget.eps), standing)


class _Watched:
    """A classifier that returns float32 logits of its own and reports how much of total is done.

    A pass with gradient counts as much as it costs, in forward passes.
    """

    def __init__(self, f: Classifier, total: int, report: Callable[[float], None]) -> None:
        self.f, self.total, self.report = f, total, report
        self.before, self.now, self.shown = 0, 0, 0.0

    def __call__(self, x: Tensor) -> Tensor:
        differentiated = torch.is_grad_enabled() and x.requires_grad
        logits = self.f(x)
        if differentiated:
            check_gradient(logits)
        self.tell(self.now + (GRADIENT if differentiated else 1))
        return logits.float().clone()  # Square writes into it

    def tell(self, now: int) -> None:
        """Count the passes of this attack; report the share done where it has grown enough."""
        self.now = now
        share = min(1.0, (self.before + now) / self.total)
        if share >= self.shown + REPORT or share == 1.0 > self.shown:
            self.shown = share
            self.report(share)

    def finish(self, forwards: int) -> None:
        """Count an attack as done, which may have taken fewer passes than expected."""
        self.before += forwards
        self.tell(0)


class _Fab(FABAttack_PT):
    """FAB that differentiates the images alone, so that no parameter is left with a gradient."""

    def get_diff_logits_grads_batch_targeted(
        self, imgs: Tensor, la: Tensor, la_target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the differences (N, 1) of two logits and their gradients (N, 1, C, H, W)."""
        with torch.enable_grad():
            images = imgs.clone().requires_grad_()
            logits = self.predict(images)
            row = torch.arange(len(imgs), device=imgs.device)
            gap = logits[row, la_target] - logits[row, la]
            (grad,) = torch.autograd.grad(gap.sum(), images)
        return gap.detach().unsqueeze(1), grad.unsqueeze(1)
