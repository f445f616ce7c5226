"""How one number is measured: which trade-off, which attack, on which images."""

import math
from dataclasses import dataclass
from typing import Annotated

from lib.datasets import SPLITS
from lib.errors import UserError, check_radius
from lib.method import Method
from lib.part import Amount, Count, Density, Number, Part, Share
from lib.recipe import EPS_DEFAULT
from lib.step import default_step

DRAWS = 10  # of weight noise


@dataclass(frozen=True)
class Protocol(Part):
    """One evaluation of one network; the attack differentiates exactly the function scored.

    lam is the trade-off asked of a conditional network (others ignore it). step = 0 stands for
    `used_step`. images = 0 means the whole split. noise 'fresh' draws weight noise in every forward
    pass, of attack and scoring alike; 'frozen' draws once and keeps it. slim is the slimming factor
    of the sub-network that is attacked and scored. Of AutoAttack, version, steps (of APGD and FAB),
    eot (of 'rand') and queries (of Square) count; it takes no step and chooses its own starts.
    """

    lam: Share = 0.0
    attack: Annotated[str, ("none", "fgsm", "pgd", "autoattack")] = "none"
    eps: float = EPS_DEFAULT
    steps: Number = 7
    step: Amount = 0.0
    norm: Annotated[str, ("linf", "l2", "l1", "l1-sparse")] = "linf"
    random_start: bool = True
    restarts: Number = 1
    eot: Number = 1
    images: Count = 0
    split: Annotated[str, SPLITS] = "test"
    seed: int = 0
    noise: Annotated[str, ("fresh", "frozen")] = "fresh"
    threshold: Share = 0.0
    weights: Annotated[str, ("last", "best")] = "last"
    slim: Density = 1.0
    version: Annotated[str, ("standard", "rand", "rand-all")] = "standard"
    queries: Number = 5_000

    def check(self) -> None:
        """Refuse what an attack cannot do, and a radius outside the image range."""
        if self.attack == "fgsm" and self.norm != "linf":
            raise UserError("FGSM is an attack in linf; leave the norm, or choose PGD.")
        if self.attack == "autoattack" and self.norm == "l1-sparse":
            raise UserError("'l1-sparse' is for PGD, whose steps it spreads over few pixels.")
        check_radius("eps", self.eps, self.norm)

    def draws(self, method: Method | None) -> int:
        """Return how often an image is scored: DRAWS times by a network that draws weight noise.

        AutoAttack's program judges each image itself, but for 'rand-all'.
        """
        judged = self.attack == "autoattack" and self.version != "rand-all"
        noisy = method is not None and method.noise and self.lam > 0 and self.noise == "fresh"
        return DRAWS if noisy and not judged else 1

    @property
    def default_step(self) -> float:
        """Return the default step of an attack; in Linf that of seven steps, however many it takes.

        FLOAT section 4.5 changes the number of steps alone.
        """
        steps = 7 if self.norm == "linf" else self.steps
        return default_step(self.eps, steps, self.norm.removesuffix("-sparse"))

    @property
    def used_step(self) -> float:
        """Return the step of PGD in pixels of [0, 1]: the one asked for, or the default."""
        return self.step or self.default_step

    @property
    def name(self) -> str:
        """Return the attack's short name, as in the column `attack` of metrics.csv.

        A step of PGD other than the default shows, in linf in units of 1/255: 'pgd20-step0.5'.
        """
        if self.attack == "autoattack":
            return "aa" if self.version == "standard" else f"aa-{self.version}"
        if self.attack != "pgd":
            return self.attack
        norm = "" if self.norm == "linf" else f"-{self.norm}"
        eot = f"-eot{self.eot}" if self.eot > 1 else ""
        restarts = f"x{self.restarts}" if self.restarts > 1 else ""
        usual = math.isclose(self.used_step, self.default_step)
        unit = 255 if self.norm == "linf" else 1
        step = "" if usual else f"-step{unit * self.used_step:.2g}"
        return f"pgd{self.steps}{restarts}{norm}{step}{eot}"
