"""The robustness of any classifier: one call that attacks it, and says what makes that doubtful.

The attack asked for stands beside a single step, variants of itself, random noise, larger radii and
AutoAttack. Every image that an attack returns is asserted to be in its ball and in [0, 1].
"""

import logging
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from logging.handlers import BufferingHandler
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lib import evaluate, flags
from lib.attacks import NORMS, autoattack, input_gradient, pgd
from lib.attacks.loss import Classifier, Worst, check_attack, check_logits
from lib.errors import UserError
from lib.flags import MASKED, Check, Score, above
from lib.intervals import wilson
from lib.presets import Strong
from lib.protocol import DRAWS, Protocol
from lib.scoring import ATTACKS, BATCH, stream

NOISES = 100  # draws of random noise for an image
SQUARE = 0.2  # points that a black box may find more (Croce and Hein 2020)
SAID = re.compile(r"robust accuracy after ([\w-]+): ([\d.]+)%")
ASKED, STRONG, LARGEST = "as asked", "AutoAttack", "largest radius"
Attacker = Callable[[Tensor, Tensor, int], Tensor]  # images or hits from images, labels, a seed

CHECKS = (
    Check("P", "answers are probabilities, not logits", lambda a: a.facts["probabilities"]),
    Check("B", "an answer depends on other images", lambda a: a.facts["together"]),
    Check("A", "answers are others after the attacks", lambda a: a.facts["changed"]),
    Check("O", "gradients are taken while it answers", lambda a: a.facts["optimises"]),
    Check("Z", "no gradient reaches some images", lambda a: a.facts["flat"]),
    Check("Q", "Square finds more without gradients", lambda a: a.facts["square"]),
    Check("G", "above chance where all images can be made alike", lambda a: a.facts["standing"]),
    Check("W", "random noise finds more", lambda a: a.finds("random noise")),
    Check("T", "images made on the surrogate find more", lambda a: a.finds("transfer")),
    Check("L", "a loss of margins finds far more", lambda a: a.finds("margins", MASKED)),
    Check("F", "frozen noise withstands more", lambda a: a.finds(ASKED, than="frozen noise")),
    Check("u", f"answers differ; {DRAWS} draws score an image", lambda a: a.facts["noisy"]),
)


@dataclass(frozen=True)
class Assessment:
    """What attacks leave of a classifier's accuracy, and the checks that found something.

    rows are named by the attack and hold what those of metrics.csv do; log is the accuracy that
    AutoAttack leaves after each of its attacks, in percent.
    """

    rows: pd.DataFrame
    log: dict[str, float]
    flags: list[Check]

    @property
    def unreliable(self) -> bool:
        return any(check.mark.isupper() for check in self.flags)

    def __str__(self) -> str:
        shown = self.rows.drop(columns="bits").round(4).to_string()
        log = [f"{STRONG} after {name}: {left:.2f}" for name, left in self.log.items()]
        state = "unreliable" if self.unreliable else "nothing makes it unreliable"
        return "\n".join([shown, *log, f"{state}:", *(f"{c.mark}, {c.says}" for c in self.flags)])


def assess(
    f: Classifier,
    images: Tensor,
    labels: Tensor,
    protocol: Protocol,
    surrogate: Classifier | None = None,
    strong: Strong | None = Strong(),  # noqa: B008
) -> Assessment:
    """Return how robust a function from images (N, C, H, W) in [0, 1] to logits is.

    The protocol is one of PGD; strong says how hard AutoAttack tries, None leaves it out. Images
    attacked on a surrogate are tried as well. What draws noise from torch's generator is scored in
    several draws, and meets AutoAttack's version 'rand'.
    """
    if protocol.attack != "pgd":
        raise UserError("An assessment varies PGD; give it Protocol(attack='pgd', ...).")
    check_attack(images, labels, protocol.eps, protocol.norm)
    if not len(images) or labels.dtype != torch.int64 or (strong and images.dtype != torch.float32):
        raise UserError(
            f"{len(images)} {images.dtype} images with {labels.dtype} labels; an assessment needs "
            "one or more, labels that are int64 and, for AutoAttack, images that are float32."
        )
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        torch.manual_seed(protocol.seed)
        case = _Case(f, images, labels, protocol)
        if strong:  # first, as it refuses most
            case.autoattack(strong)
        case.attack(surrogate)
        return case.judged()


class _Case:
    """A classifier with images, its accuracies so far by name, and the facts that probes tell."""

    def __init__(self, f: Classifier, x: Tensor, y: Tensor, asked: Protocol) -> None:
        self.f, self.x, self.y, self.asked = f, x, y, asked
        self.ways: dict[str, Protocol] = {}
        self.hits: dict[str, Tensor] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.left: Counter[str] = Counter()  # images that AutoAttack leaves after each attack
        some, labels = x[:BATCH], y[:BATCH]
        with torch.no_grad(), _Gradients() as gradients:
            self.first = out = f(some)
        check_logits(out, labels)
        if not out.isfinite().all() or not ((y >= 0) & (y < out.shape[1])).all():
            raise UserError(
                f"Logits must be finite and labels below {out.shape[1]}, the number of classes; "
                "correct the classifier or the labels."
            )
        noisy = any(self.differs(some) for _ in range(5))
        halves = self.differs(some[: (len(some) + 1) // 2])
        slopes = input_gradient(f, some, labels).flatten(1)[out.argmax(1) == labels]
        dead = (slopes == 0).all(1) | ~slopes.isfinite().all(1)
        self.facts = {"noisy": noisy, "together": halves and not noisy, "changed": False}
        self.facts |= {"optimises": gradients.taken, "flat": int(dead.sum()) > 0.01 * len(some)}
        one = bool((out >= 0).all() and (out.sum(1) - 1).abs().max() < 1e-4)
        self.facts |= {"probabilities": one, "square": False, "standing": False}

    @torch.no_grad()
    def differs(self, x: Tensor) -> bool:
        """Return whether the first images get other answers than at first."""
        first = self.first[: len(x)]
        return not torch.allclose(self.f(x), first, 1e-3, 1e-4 * first.abs().max().item())

    def finds(self, name: str, margin: float = 0.0, than: str = ASKED) -> bool:
        """Return whether an attack leaves less than another one, beyond chance."""
        return above(self.rows.get(than), self.rows.get(name), margin)

    def score(self, name: str, p: Protocol, attack: Attacker, f: Classifier | None = None) -> None:
        """Attack and score all images, in several draws of noise."""
        f, times, found = f or self.f, DRAWS if self.facts["noisy"] else 1, []
        for number, (x, y) in enumerate(zip(self.x.split(BATCH), self.y.split(BATCH), strict=True)):
            hits = attack(x, y, stream("attack", p.seed, number))
            if hits.dtype != torch.bool:
                _check_inside(hits, x, p)
                with torch.no_grad():
                    hits = torch.stack([f(hits).argmax(1) == y for _ in range(times)])
            found.append(hits.view(-1, len(x)))
        self.keep(name, p, torch.cat(found, 1))

    def keep(self, name: str, p: Protocol, hits: Tensor) -> None:
        self.hits[name], share, n = hits, float(hits.double().mean()), hits.shape[1]
        row = dict(zip(("ci_low", "ci_high"), wilson(share, n), strict=True))
        row = {"eps": p.eps, "value": 100 * share, **row, "n": n}
        self.rows[name] = row | {"bits": evaluate.pack(hits)}

    def attack(self, surrogate: Classifier | None) -> None:
        """Score the attack asked for, what it is compared with, and larger radii."""
        p, size = self.asked, self.x[0].numel()
        grey = 0.5 * {"linf": 1.0, "l2": size**0.5}.get(p.norm, size)  # makes all images alike
        ways = {
            "clean": replace(p, attack="none"),
            "a single step": replace(p, steps=1, step=p.eps, random_start=False, restarts=1),
            ASKED: p,
            "twice the steps": replace(p, steps=2 * p.steps),
            "twice the restarts": replace(p, restarts=2 * p.restarts),
            "half the step": replace(p, step=p.used_step / 2),
            "twice the radius": replace(p, eps=min(2 * p.eps, grey), step=0.0),
            LARGEST: replace(p, eps=grey, step=0.0),
        }
        for name, way in ways.items():
            self.score(name, way, self.by(way))
        self.ways = ways | self.ways
        self.facts["standing"] = self.rows[LARGEST]["ci_low"] > 100 / self.first.shape[1]
        self.score("random noise", p, self.noise)
        self.score("margins", p, self.margins)
        if surrogate:
            self.score("transfer", p, self.by(p, surrogate))
        if self.facts["noisy"]:
            self.score("frozen noise", p, self.by(p, self.frozen), self.frozen)

    def by(self, p: Protocol, f: Classifier | None = None) -> Attacker:
        return lambda x, y, seed: ATTACKS[p.attack](f or self.f, x, y, p, seed, lambda done: None)

    def noise(self, x: Tensor, y: Tensor, seed: int) -> Tensor:
        """Return the worst of many draws from the ball."""
        generator, ball = torch.Generator(x.device).manual_seed(seed), NORMS[self.asked.norm]()
        worst = Worst(self.f, x, y, self.asked.eot)
        for _ in range(NOISES):
            worst.offer(ball.start(x, self.asked.eps, generator), torch.arange(len(x)))
        return worst.images

    def margins(self, x: Tensor, y: Tensor, seed: int) -> Tensor:
        """Return images of PGD on a loss that the scale of logits does not saturate."""

        def loss(logits: Tensor, y: Tensor) -> Tensor:
            own = y[:, None]
            return logits.scatter(1, own, -torch.inf).amax(1) - logits.gather(1, own)[:, 0]

        p, generator = self.asked, torch.Generator(x.device).manual_seed(seed)
        how: dict[str, Any] = {"norm": p.norm, "restarts": p.restarts, "eot": p.eot, "loss": loss}
        return pgd(self.f, x, y, p.eps, p.used_step, p.steps, generator=generator, **how)

    def frozen(self, x: Tensor) -> Tensor:
        """Return the answers under one draw of noise."""
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            torch.manual_seed(self.asked.seed)
            return self.f(x)

    def autoattack(self, strong: Strong) -> None:
        """Score AutoAttack by what its program says of each image, and count what it logs."""
        how: dict[str, Any] = {n: getattr(strong, n) for n in ("steps", "eot", "queries")}
        how |= {"version": "rand" if self.facts["noisy"] else "standard"}
        self.ways[STRONG] = p = replace(self.asked, attack="autoattack", **how)
        logger, heard = logging.getLogger("lib.attacks.autoattack"), BufferingHandler(10**6)
        logger.setLevel(logging.DEBUG)
        logger.addHandler(heard)

        def attack(x: Tensor, y: Tensor, seed: int) -> Tensor:
            adv, broken = autoattack(self.f, x, y, p.eps, norm=p.norm, seed=seed, **how)
            _check_inside(adv, x, p)
            for name, percent in SAID.findall("\n".join(r.getMessage() for r in heard.buffer)):
                self.left[name.lower()] += round(float(percent) / 100 * len(x))
            heard.flush()
            return ~broken

        try:
            logger.disabled = logger.propagate = False
            self.score(STRONG, p, attack)
        finally:
            logger.disabled = True
            logger.removeHandler(heard)
        whites = [number for name, number in self.left.items() if name != "square"]
        taken = min(whites, default=0) - self.left.get("square", min(whites, default=0))
        self.facts["square"] = 100 * taken > SQUARE * len(self.x)

    def judged(self) -> Assessment:
        """Return all of it, with the worst case of each image over the attacks in the ball."""
        self.facts["changed"] = not self.facts["noisy"] and self.differs(self.x[:BATCH])
        near = (name for name, row in self.rows.items() if row["eps"] == self.asked.eps)
        alike = [h for n in near if (h := self.hits[n]).shape == self.hits[ASKED].shape]
        self.keep("worst case of all", self.asked, torch.stack(alike).all(0))
        rows = {way: self.rows[name] for name, way in self.ways.items()}
        found = {n: flags.found(Score(p, rows, self.facts["noisy"])) for n, p in self.ways.items()}
        del found["half the step"]  # which may not reach as far
        marks = {m for n, own in found.items() for m in own if m.isupper() or n in (ASKED, STRONG)}
        told = [check for check in flags.CHECKS if check.mark in marks]
        told += [check for check in CHECKS if check.holds(self)]
        self.rows |= {STRONG: self.rows.pop(STRONG)} if STRONG in self.rows else {}  # at the end
        log = {name: 100 * number / len(self.x) for name, number in self.left.items()}
        return Assessment(pd.DataFrame.from_dict(self.rows, orient="index"), log, told)


def _check_inside(adv: Tensor, x: Tensor, protocol: Protocol) -> None:
    """Assert that attacked images are in the ball around x and in [0, 1]."""
    order = {"linf": torch.inf, "l2": 2}.get(protocol.norm, 1)
    farthest = (adv - x).flatten(1).norm(order, dim=1).max().item()
    if not (farthest <= protocol.eps * (1 + 1e-5) + 1e-6 and adv.min() >= 0 and adv.max() <= 1):
        raise UserError(
            f"{protocol.name} returned images outside of [0, 1], or {farthest:.4g} away where "
            f"{protocol.eps:.4g} is allowed; do not trust what it found."
        )


class _Gradients(TorchFunctionMode):
    """Notices whether gradients are taken within a block."""

    taken = False

    def __torch_function__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.taken |= f in (torch.autograd.grad, torch.autograd.backward, Tensor.backward)
        return f(*args, **(kwargs or {}))
