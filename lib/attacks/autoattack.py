"""AutoAttack (Croce and Hein 2020): its attacks come from pyautoattack, the order of them is here.

An image that one attack breaks is spared by the following ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor

from lib.attacks.loss import Classifier
from lib.attacks.norms import NORMS
from lib.errors import UserError, check_range, choose

VERSIONS = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "rand": ("apgd-ce", "apgd-dlr"),
}
TARGETS = 9  # classes that a targeted attack tries, the likeliest first
LEAST = {"standard": 4, "rand": 3}  # classes that the DLR losses need
SPELLING = {"linf": "Linf", "l2": "L2", "l1": "L1"}

_silent = logging.getLogger("lib.attacks.autoattack")
_silent.disabled = (
    True  # the package's advice on gradients, which it would write to the root logger
)


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
    """Return images within eps of x in norm, inside [0, 1], that f gets wrong where it can.

    Images that no attack breaks come back as they are. f maps images (N, C, H, W) to logits;
    nothing of it is changed. 'standard' is APGD-CE, targeted APGD and FAB with up to nine targets,
    and Square; 'rand', for functions that draw noise, is APGD-CE and APGD-DLR with gradients
    averaged over eot draws. steps are the iterations of APGD and FAB, queries those of Square. The
    same seed gives the same images, as far as f does not draw from a generator of its own; torch's
    global one is seeded for the attack and put back. on_step gets a rising estimate of the share
    done.
    """
    choose("version of AutoAttack", version, VERSIONS)
    choose("norm", norm, NORMS)
    check_range("eps", eps, 0)
    for name, count in (("steps", steps), ("eot", eot), ("queries", queries)):
        check_range(name, count, 1)
    devices = [x.device] if x.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.no_grad():
        x, y = x.detach().float().contiguous(), y.detach()
        if not len(x) or eps == 0:
            return x.clone()
        torch.manual_seed(seed)
        scores = f(x)
        classes = scores.shape[1]
        if classes < LEAST[version]:
            raise UserError(
                f"AutoAttack's version '{version}' needs {LEAST[version]} classes or more, the "
                f"classifier has {classes}; use PGD."
            )
        out, robust = x.clone(), scores.argmax(1) == y
        names = VERSIONS[version]
        for index, name in enumerate(names):

            def within(done: float, index: int = index) -> None:
                on_step((index + done) / len(names))

            watch = _Watched(f, within)
            attack = _attack(name, watch, norm, eps, steps, eot, queries, classes)
            attack.seed = seed
            watch.expected = _calls(name, steps, eot if version == "rand" else 1, queries, classes)
            if robust.any():
                _break(attack, f, x, y, out, robust, norm, eps)
            on_step((index + 1) / len(names))
        return out


def _break(
    attack: Any,
    f: Classifier,
    x: Tensor,
    y: Tensor,
    out: Tensor,
    robust: Tensor,
    norm: str,
    eps: float,
) -> None:
    """Attack the images that still stand; where one falls, write it to out and robust. In place."""
    standing = robust.nonzero().flatten()
    adv = attack.perturb(x[standing].clone(), y[standing].clone())
    # rounding may have left the ball by a bit
    adv = NORMS[norm]().project(adv, x[standing], eps)
    fallen = f(adv).argmax(1) != y[standing]
    out[standing[fallen]] = adv[fallen]
    robust[standing[fallen]] = False


class _Watched:
    """A classifier that counts its calls, returns float32 and a gradient of plain layout."""

    def __init__(self, f: Classifier, report: Callable[[float], None]) -> None:
        self.f, self.report = f, report
        self.calls, self.expected = 0, 1

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.report(min(1.0, self.calls / self.expected))
        if x.requires_grad and torch.is_grad_enabled():
            x = x.view_as(x)
            x.register_hook(lambda grad: grad.contiguous())  # the package flattens it
        return self.f(x).float().clone()  # Square writes into it


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


def _attack(
    name: str,
    f: Classifier,
    norm: str,
    eps: float,
    steps: int,
    eot: int,
    queries: int,
    classes: int,
) -> Any:
    """Return the package's attack as AutoAttack sets it up for its versions."""
    common = {"norm": SPELLING[norm], "eps": eps}
    targets = min(TARGETS, classes - 1)
    apgd = {"n_iter": steps, "use_largereps": norm == "l1", "logger": _silent}
    if name == "apgd-t":
        targeted = APGDAttack_targeted(f, **common, **apgd, n_target_classes=targets)
        return targeted
    if name == "fab-t":
        return _Fab(f, **common, n_iter=steps, targeted=True, n_target_classes=targets)
    if name == "square":
        return SquareAttack(f, **common, n_queries=queries, resc_schedule=False)
    restarts = 5 if norm == "l1" else 1
    return APGDAttack(
        f, **common, **apgd, n_restarts=restarts, loss=name.removeprefix("apgd-"), eot_iter=eot
    )


def _calls(name: str, steps: int, eot: int, queries: int, classes: int) -> int:
    """Return about how often an attack calls the classifier, if no image falls early."""
    targets = min(TARGETS, classes - 1)
    return {
        "apgd-ce": (steps + 1) * eot,
        "apgd-dlr": (steps + 1) * eot,
        "apgd-t": (steps + 2) * targets,
        "fab-t": 2 * steps * targets,
        "square": queries,
    }[name]
