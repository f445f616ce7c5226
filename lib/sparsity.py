"""How a network is pruned while it trains: the parts of a recipe that `lib.trainers.PRUNERS` does.

A density is the share of all convolution weights that stay non-zero, over the whole network.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from lib.errors import UserError
from lib.part import Amount, Count, Density, Number, Part, Share

Granularity = Annotated[str, ("weight", "channel")]  # single weights, or whole input channels


@dataclass(frozen=True)
class Sparsity(Part):
    """One way to prune; `trained` says whether it works on a network that is trained already."""

    kind: ClassVar[str]
    trained: ClassVar[bool] = False


@dataclass(frozen=True)
class Fixed(Sparsity):
    """Fine-tuning: what the network this training starts from has pruned stays zero."""

    kind: ClassVar[str] = "fixed"
    trained: ClassVar[bool] = True


@dataclass(frozen=True)
class FixedAll(Fixed):
    """Fine-tuning after HYDRA: zeros of linear layers stay, too."""

    kind: ClassVar[str] = "fixed_all"


@dataclass(frozen=True)
class FixedRanks(Sparsity):
    """Fine-tuning after GDWS: each channel keeps as many kernels as it has at the start."""

    kind: ClassVar[str] = "fixed_ranks"
    trained: ClassVar[bool] = True


@dataclass(frozen=True)
class Hydra(Sparsity):
    """HYDRA's score optimisation (Sehwag et al. 2020), between pre-training and `FixedAll`.

    density is the fraction of weights that stay in every layer, linear ones and the first among
    them. Of zero epochs it leaves the largest weights of each layer (LWM).
    """

    kind: ClassVar[str] = "hydra"
    trained: ClassVar[bool] = True
    density: Density = 0.1


@dataclass(frozen=True)
class HydraStill(Hydra):
    """HYDRA with batch norms that stand still, too, as its code does with --freeze-bn."""

    kind: ClassVar[str] = "hydra_still"


@dataclass(frozen=True)
class Momentum(Sparsity):
    """Sparse momentum learning: prune by magnitude, regrow by momentum after every epoch.

    density is the fraction of convolution weights that stay non-zero over the whole network,
    prune_rate the fraction of each layer's weights that is rewired at the start; it falls linearly
    to zero, after epoch i of E to 1 - i / E of it.
    granularity 'channel' keeps or removes whole input channels (FLOAT, section 3.2).
    """

    kind: ClassVar[str] = "momentum"
    density: Density = 0.1
    prune_rate: Share = 0.5
    granularity: Granularity = "weight"


@dataclass(frozen=True)
class Dnr(Momentum):
    """Dynamic network rewiring: sparse momentum learning with a dynamic L2 regulariser (DNR Eq. 4).

    pull / 2 sum |theta m - z|^2 is added to the loss once clean_epochs are over, where z is what
    the weights were after the last rewiring; pull is beta rho of Eq. 6.
    """

    kind: ClassVar[str] = "dnr"
    pull: Amount = 5e-5
    clean_epochs: Count = 5


@dataclass(frozen=True)
class Admm(Sparsity):
    """Pruning by ADMM (Ye et al. 2019): weights are drawn to their projection on the budgets.

    rho / 2 sum |W - Z + U|^2 is added to the loss; every `every` epochs rho grows, Z becomes the
    projection of W + U, and U grows by W - Z. The last epoch projects W itself. ratios 'magnitude'
    gives each layer what it holds of the largest weights of the network at the start, 'uniform' all
    but the first the same density.
    """

    kind: ClassVar[str] = "admm"
    trained: ClassVar[bool] = True
    density: Density = 0.1
    ratios: Annotated[str, ("magnitude", "uniform")] = "magnitude"
    granularity: Granularity = "weight"
    rho: Amount = 1e-3
    growth: Annotated[float, (1.0,)] = 1.3
    every: Number = 3


@dataclass(frozen=True)
class AdmmInner(Admm):
    """ADMM of the channels inside of blocks, all others stay; density is the share kept in each."""

    kind: ClassVar[str] = "admm_inner"
    density: Density = 0.5
    ratios: str = "uniform"
    granularity: Granularity = "channel"

    def check(self) -> None:
        """Refuse single weights and shares by magnitude."""
        if (self.ratios, self.granularity) != ("uniform", "channel"):
            raise UserError("admm_inner prunes the same share of channels everywhere; use 'admm'.")


@dataclass(frozen=True)
class Lasso(Sparsity):
    """The L1 lasso: coefficient sum |w| is added to the loss; how much goes, the training decides.

    After the last epoch weights below threshold times the largest of their layer are pruned.
    """

    kind: ClassVar[str] = "lasso"
    coefficient: Amount = 1e-4
    threshold: Share = 1e-3


@dataclass(frozen=True)
class Snip(Sparsity):
    """SNIP (Lee et al. 2019): before the first step, by |w dL/dw| on one batch; masks then stay."""

    kind: ClassVar[str] = "snip"
    density: Density = 0.1


_ALL = (Fixed, FixedAll, FixedRanks, Hydra, HydraStill, Momentum, Dnr, Admm, AdmmInner, Lasso, Snip)
SPARSITIES: dict[str, type[Sparsity]] = {s.kind: s for s in _ALL}
