"""AutoAttack (Croce and Hein 2020): pyautoattack's own program, told how hard to try.

For functions that draw noise there is a second count beside the program's. The program counts an
image as broken at the first draw that gets it wrong, which may be a lucky one that spares it the
attacks; 'rand-all' goes on until every one of eot draws gets it wrong.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lib.attacks.loss import GRADIENT, Classifier, Worst, check_attack, check_gradient, check_logits
from lib.attacks.norms import NORMS
from lib.errors import UserError, check_range, choose

try:
    from pyautoattack import AutoAttack
    from pyautoattack.fab_pt import FABAttack_PT
except ImportError:  # networks are trained, and attacked otherwise, without it

    class AutoAttack:  # type: ignore[no-redef]
        """Stands in for the package's program."""

        def __init__(self, *given: Any, **options: Any) -> None:
            raise UserError("AutoAttack needs the package pyautoattack; install it or use PGD.")

    FABAttack_PT = AutoAttack

LEAST = {"standard": 4, "rand": 3, "rand-all": 3}  # classes that the DLR losses need
SPELLING = {"linf": "Linf", "l2": "L2", "l1": "L1"}
REPORT = 1e-3  # of the work, between two reports of progress

_silent = logging.getLogger("lib.attacks.autoattack")
_silent.disabled = True  # the package's advice, which it would write to the root


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
) -> tuple[Tensor, Tensor]:
    """Return images within eps of x in norm, inside [0, 1], and which of them (N,) are broken.

    f maps float32 images (N, C, H, W) to logits; nothing of it is changed. 'standard' is APGD-CE,
    targeted APGD and FAB with up to nine targets, and Square; 'rand', for functions that draw
    noise, APGD-CE and APGD-DLR with gradients averaged over eot draws. An image is broken if the
    program says so; one that is wrong from the start or that nothing breaks comes back as it is.
    Of 'rand-all' the images are what eot draws get wrong most often, and broken what all do.
    steps are the iterations of APGD and FAB, queries those of Square. The same seed gives the same
    result, as far as f does not draw from a generator of its own: torch's global one is seeded and
    put back. on_step gets a rising estimate of the share done.
    """
    _check_call(x, y, eps, version, norm, steps, eot, queries)
    x, y = x.detach().float().contiguous(), y.detach().long()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.no_grad():
        x, y = x.clone(), y.clone()  # an inference tensor cannot be differentiated
        torch.manual_seed(seed)
        if eps == 0 or len(x) == 0:
            return x, f(x).argmax(1) != y if len(x) else y.bool()
        check_logits(logits := f(x), y)
        others = logits.shape[1] - 1
        if others + 1 < LEAST[version]:
            raise UserError(
                f"AutoAttack's version '{version}' needs {LEAST[version]} classes or more, the "
                f"classifier has {others + 1}; use PGD."
            )
        work = _work(version, norm, steps, eot, queries, others)
        watched = _Watched(f, work, on_step)
        program = _Program(watched, norm, eps, version, seed=seed, device=x.device)
        program.try_so_hard(steps, eot, queries, others)
        torch.manual_seed(seed)
        tracer = sys.gettrace()
        try:
            if version == "rand-all":
                adv, broken = program.break_every_draw(x, y)
            else:
                adv, predicted = program.run_standard_evaluation(x, y, batch_size=len(x))
                broken = predicted != y
        except AssertionError as error:
            raise UserError(
                f"AutoAttack cannot attack this classifier ({error or 'a check failed'}); use PGD."
            ) from error
        finally:
            sys.settrace(tracer)  # which a check of the package takes away
        program.model.tell(1.0)
        return adv, broken


def _check_call(
    x: Tensor, y: Tensor, eps: float, version: str, norm: str, steps: int, eot: int, queries: int
) -> None:
    """Refuse what no version of AutoAttack, or not this one, can do."""
    choose("version of AutoAttack", version, LEAST)
    choose("norm of AutoAttack", norm, SPELLING)
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


def _targets(norm: str, attack: str, others: int) -> int:
    """Return how many of the other classes an attack aims at, the likeliest first."""
    return min(5 if norm == "l1" and attack == "apgd-t" else 9, others)


def _work(
    version: str, norm: str, steps: int, eot: int, queries: int, others: int
) -> dict[str, int]:
    """Return the forward passes of each attack on an image that it never breaks, in order."""
    climb = GRADIENT * (steps + 1)
    if version != "standard":
        return {"apgd-ce": climb * eot, "apgd-dlr": climb * eot}
    return {
        "apgd-ce": climb * (5 if norm == "l1" else 1),
        "apgd-t": climb * _targets(norm, "apgd-t", others),
        "fab-t": (GRADIENT + 1) * steps * _targets(norm, "fab-t", others),
        "square": queries,
    }


def forwards(version: str, steps: int, eot: int, queries: int, classes: int) -> int:
    """Return the forward passes that AutoAttack in Linf spends on an image it never breaks."""
    return sum(_work(version, "linf", steps, eot, queries, classes - 1).values())


class _Program(AutoAttack):
    """The package's program; it tells its classifier when an attack begins, and writes nothing."""

    def __init__(self, f: "_Watched", norm: str, eps: float, version: str, **how: Any) -> None:
        how |= {"norm": SPELLING[norm], "version": version.removesuffix("-all")}
        super().__init__(f, eps=eps, **how)
        self.ball = NORMS[norm]()
        self.fab.__class__ = _Fab
        for part in (self, self.apgd, self.apgd_targeted):
            part.logger = _silent

    def try_so_hard(self, steps: int, eot: int, queries: int, others: int) -> None:
        """Set what users of the program set: attributes of its attacks."""
        for attack in (self.apgd, self.apgd_targeted, self.fab):
            attack.n_iter = attack.n_iter_orig = steps
        self.square.n_queries = queries
        for attack in (self.apgd_targeted, self.fab):
            attack.n_target_classes = min(attack.n_target_classes, others)
        if self.version == "rand":
            self.apgd.eot_iter = eot

    def get_seed(self) -> Any:
        """Return the seed of the attack that begins now."""
        self.model.begin()
        return super().get_seed()

    def break_every_draw(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Attack the images that are not yet wrong in every draw, and keep what is worse."""
        worst = Worst(self.model.f, x, y, self.apgd.eot_iter)
        for attack in self.attacks_to_run:
            rows = worst.standing()
            if not len(rows):
                break
            self.apgd.loss, self.apgd.seed = attack.removeprefix("apgd-"), self.get_seed()
            torch.manual_seed(self.apgd.seed)
            self.apgd.init_hyperparam(x[rows])
            highest, _, _, wrong = self.apgd.attack_single_run(x[rows], y[rows])
            for adv in (highest, wrong):  # projected: rounding may have left the ball by a bit
                worst.offer(self.ball.project(adv, x[rows], self.epsilon), rows)
        return worst.images, worst.errors == 1


class _Watched:
    """A classifier that returns float32 logits of its own and reports how much of the work is done.

    A pass with gradient counts as much as it costs, in forward passes.
    """

    def __init__(self, f: Classifier, work: dict[str, int], on_step: Callable[[float], None]):
        self.f, self.work, self.on_step = f, list(work.values()), on_step
        self.total, self.before, self.now, self.shown = sum(self.work), 0, 0, 0.0

    def __call__(self, x: Tensor) -> Tensor:
        differentiated = torch.is_grad_enabled() and x.requires_grad
        logits = self.f(x)
        if differentiated:
            check_gradient(logits)
        self.now += GRADIENT if differentiated else 1
        self.tell((self.before + self.now) / self.total)
        return logits.float().clone()  # Square writes into it

    def begin(self) -> None:
        """Count what came before an attack as done, which may have taken fewer passes."""
        self.before, self.now = self.total - sum(self.work), 0
        del self.work[:1]

    def tell(self, share: float) -> None:
        """Report the share done where it has grown enough."""
        share = min(1.0, share)
        if share >= self.shown + REPORT or share == 1.0 > self.shown:
            self.shown = share
            self.on_step(share)


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
