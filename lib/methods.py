"""The methods: one frozen dataclass each, asked for everything in which they differ.

A new method is its class here and in METHODS, its objective (`lib.trainers.objectives`) and, where
no present one serves, its layers (`lib.models.variants`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from lib.errors import UserError, check_range, check_set
from lib.method import Method
from lib.part import Amount, Count, Share

Granularity = Annotated[str, ("layer", "channel", "element")]
TOLERANCE = 1e-6  # between lambdas asked for and trained; float32 has 0.2 + 3e-9


@dataclass(frozen=True)
class Plain(Method):
    """Standard training on clean images."""

    kind, label = "plain", "plain"
    conditional = False
    shares = 1.0, 0.0


@dataclass(frozen=True)
class PgdAt(Method):
    """PGD adversarial training with a fixed trade-off (SMART Eq. 2, FLOAT Eq. 3).

    loop 'paper' leaves out a term of zero weight; 'released' runs the clean images through the
    network in training mode even at lam = 1, so that they feed the batch-norm statistics.
    """

    kind, label, colour, marker = "pgd_at", "PGD-AT", "#1A1A1A", "D"
    conditional = False
    training: ClassVar[tuple[str, ...]] = ("lam", "loop")

    lam: Share = 1.0
    loop: Annotated[str, ("paper", "released")] = "paper"

    @property
    def fixed_lam(self) -> float:
        return self.lam

    @property
    def shares(self) -> tuple[float, float]:
        return float(self.lam < 1 or self.loop == "released"), float(self.lam > 0)


@dataclass(frozen=True)
class Hybrid(PgdAt):
    """PGD-AT after epochs of clean images alone, as DNR trains (Eq. 6, where lam is 1 - beta)."""

    kind, label, colour, marker = "hybrid", "hybrid AT", "#8C6D31", "P"
    training = (*PgdAt.training, "clean_epochs")

    lam: Share = 0.5
    clean_epochs: Count = 5

    @property
    def warm_up(self) -> int:
        return self.clean_epochs


@dataclass(frozen=True)
class Trades(Method):
    """TRADES (Zhang et al. 2019): clean images right, attacked ones like the clean ones.

    The attack climbs the divergence that beta weighs, from a start of its own.
    """

    kind, label = "trades", "TRADES"
    fixed_lam = 1.0
    conditional = False
    training = ("beta",)
    shares = 1.0, 1.0

    beta: Amount = 6.0


@dataclass(frozen=True)
class Msd(Method):
    """Adversarial training against Linf, L2 and L1 at once (Maini et al. 2020).

    The recipe's attack is the part in Linf and says how many steps there are; radii and steps of
    the other balls are here. In L1 a step is spread over 5 to 20 pixels.
    """

    kind, label = "msd", "MSD"
    fixed_lam = 1.0
    conditional = False
    training = ("l2", "l2_step", "l1", "l1_step")
    shares = 0.0, 1.0
    climb = 5  # a gradient, then a loss in each ball
    norms = ("linf",)

    l2: Amount = 0.3
    l2_step: Amount = 0.05
    l1: Amount = 12.0
    l1_step: Amount = 1.0

    def balls(self, linf: float, step: float) -> tuple[dict[str, float], dict[str, float]]:
        """Return the radii of all balls and the lengths of their steps, by norm."""
        radii = {"linf": linf, "l2": self.l2, "l1-sparse": self.l1}
        return radii, {"linf": step, "l2": self.l2_step, "l1-sparse": self.l1_step}


@dataclass(frozen=True)
class Pni(Method):
    """Parametric noise injection (He et al. 2019): weight noise everywhere, one batch norm.

    As the released code has it: images are normalised, the first epochs are clean alone, and the
    attack, after the clean pass, leads away from the label that this pass predicts. Here the last
    epoch counts, there the one of best accuracy on the clean test images.
    """

    kind, label, colour, marker = "pni", "PNI", "#E69F00", "v"
    conditional = True
    training = ("alpha_decay", "clean_epochs")
    clean_lam = 1.0  # always noisy
    noise = normalised = True
    shares = 1.0, 1.0

    alpha: float = 0.25
    granularity: Granularity = "layer"
    noise_fc: bool = True
    alpha_decay: bool = False
    clean_epochs: Count = 5  # at the start, without the adversarial half of the loss

    @property
    def warm_up(self) -> int:
        return self.clean_epochs


@dataclass(frozen=True)
class Oat(Method):
    """Once-for-all adversarial training: FiLM layers driven by lam, dual batch norm."""

    kind, label, colour, marker = "oat", "OAT", "#009E73", "^"
    conditional = True
    film = True

    lambdas: tuple[float, ...] = (0.0, 0.2, 0.7, 1.0)
    encoding: Annotated[str, ("orthogonal", "dct", "onehot", "none")] = "orthogonal"
    code_dim: int = 128
    dual_bn: bool = True

    def check(self) -> None:
        check_set("method.lambdas", self.lambdas, 0, 1, needed=0)
        least = 1 if self.encoding == "none" else len(self.lambdas)  # a dimension for each
        check_range("method.code_dim", self.code_dim, least)

    @property
    def least_batch(self) -> int:  # two of its images are not clean
        return len(self.lambdas) + 1

    @property
    def shares(self) -> tuple[float, float]:
        return 1.0, 1 - 1 / len(self.lambdas)

    def check_lam(self, lam: float) -> None:
        if self.encoding != "none" and all(abs(lam - known) > TOLERANCE for known in self.lambdas):
            known = ", ".join(f"{value:g}" for value in self.lambdas)
            raise UserError(f"OAT has no code for lam {lam:g}; it is trained for {known}.")


@dataclass(frozen=True)
class Float(Method):
    """FLOAT: weight noise switched by lam, dual batch norm (FLOAT Eq. 4 and Algorithm 1).

    loop 'alg1' is the paper's: the first half of a batch clean, the second adversarial.
    'released' sends all images clean through the clean weights as well, the second half of them
    through the adversarial batch norm. Pruned weights have no noise; in the released code they do.
    """

    kind, label, colour, marker = "float", "FLOAT", "#0072B2", "s"
    conditional = True
    training = ("alpha_decay", "loop")
    rescales = True
    least_batch = 4  # each half has two images

    alpha: float = 0.25
    granularity: Granularity = "layer"
    noise: bool = True
    noise_fc: bool = False
    dual_bn: bool = True
    alpha_decay: bool = True
    loop: Annotated[str, ("alg1", "released")] = "alg1"

    @property
    def shares(self) -> tuple[float, float]:
        return (1.0 if self.loop == "released" else 0.5), 0.5


@dataclass(frozen=True)
class Smart(Float):
    """SMART: FLOAT with one frozen random mask per path in the later stages (SMART Eqs. 3, 4).

    pattern has a letter for each stage, D for dense and S for sparse; None: the last two are S.
    """

    kind, label, colour, marker = "smart", "SMART", "#D55E00", "o"
    rescales = False
    masked = True
    loose: ClassVar[Mapping[str, Any]] = {"pattern": None}

    pattern: str | None = "DDSS"
    density: Share = 0.5
    overlap: float = 0.25
    exact: bool = False
    mask_shortcuts: bool = False
    noise_in_masked: bool = True
    mask_seed: int | None = None

    def check(self) -> None:
        low = round(max(0.0, 2 * self.density - 1), 12)  # two masks cannot overlap less
        check_range("method.overlap", self.overlap, low, self.density)


@dataclass(frozen=True)
class Slim(Method):
    """Several widths that share the weights: each of `slims` is a share of the channels.

    All are trained in every step; the loss is the sum over the widths.
    """

    slims: tuple[float, ...] = (0.5, 1.0)

    def check(self) -> None:
        super().check()
        check_set("method.slims", self.slims, 1e-6, 1, needed=1)

    @property
    def widths(self) -> tuple[float, ...]:
        return self.slims


@dataclass(frozen=True)
class FloatSlim(Slim, Float):
    """FLOAT of several widths."""

    kind, label, colour, marker = "float_slim", "FLOAT slim", "#56B4E9", "p"


@dataclass(frozen=True)
class OatSlim(Slim, Oat):
    """OAT of several widths."""

    kind, label, colour, marker = "oat_slim", "OAT slim", "#8BBF3D", "<"


METHODS: dict[str, type[Method]] = {
    m.kind: m
    for m in (Plain, PgdAt, Hybrid, Trades, Msd, Pni, Oat, OatSlim, Float, FloatSlim, Smart)
}
