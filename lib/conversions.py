"""What a recipe can do to the network it starts from; `lib.networks` does it."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from lib.datasets import absolute
from lib.errors import UserError
from lib.part import Amount, Number, Part, Share


@dataclass(frozen=True)
class Conversion(Part):
    """Makes a plain network of the one that a recipe starts from, which it takes at one lam."""

    kind: ClassVar[str]


@dataclass(frozen=True)
class Cut(Conversion):
    """The plain network at one trade-off, of its layers only the largest weights.

    density is the share of weights that stay in each convolution; of one layer, as 'layer1.0.conv',
    where it is named, with the others whole.
    """

    kind: ClassVar[str] = "cut"
    density: Share = 0.05
    layer: str = ""
    lam: Share = 0.0


@dataclass(frozen=True)
class Compact(Conversion):
    """The plain network at one trade-off, without the channels that pruning has emptied."""

    kind: ClassVar[str] = "compact"
    lam: Share = 0.0


@dataclass(frozen=True)
class Dense(Conversion):
    """The convolutions that the layers of a GDWS network equal, to be trained on."""

    kind: ClassVar[str] = "dense"


@dataclass(frozen=True)
class Seeing(Conversion):
    """A conversion that depends on images, or on their size."""

    dataset: str  # that of the recipe, for what is done does not know it
    lam: Share = 0.0

    def check(self) -> None:
        object.__setattr__(self, "dataset", absolute(self.dataset))


@dataclass(frozen=True)
class Weighed(Seeing):
    """The plain network and, in each layer, what errors of its weights do to decisions.

    These are GDWS's error weights (Eq. 8) over so many training images, for a later conversion; the
    network computes the same.
    """

    kind: ClassVar[str] = "weighed"
    images: Number = 1_000


@dataclass(frozen=True)
class Gdws(Seeing):
    """Generalised depthwise-separable layers for the convolutions of the plain network.

    beta bounds the squared error of every layer (GDWS, Algorithm 3), or with scope 'network' that
    of all together, which goes where it saves most multiply-accumulates, or most by prices: rows of
    a layer, its price when dense, that beside kernels and that of a kernel. Layers without a price
    stay dense. Errors are weighed as in a `Weighed` network, in any other alike. With points, beta
    is instead the largest that costs at most so many of clean accuracy on validation images.
    least=1 leaves every channel that has weights a kernel.
    """

    kind: ClassVar[str] = "gdws"
    beta: Amount = 0.0
    points: Amount = 0.0
    scope: Annotated[str, ("layer", "network")] = "layer"
    prices: tuple[tuple[str | float, ...], ...] = ()
    least: Annotated[int, (0, 1)] = 0

    def check(self) -> None:
        """Refuse prices that nothing asks for or nothing can read."""
        super().check()
        if self.beta and self.points:
            raise UserError("Give convert.beta or convert.points, which chooses it; not both.")
        whole = self.scope == "network"
        if (not whole and self.prices) or (whole and self.least):
            raise UserError("Prices go with the scope 'network', convert.least with 'layer'.")
        for row in self.prices:
            if [type(value) for value in row] != [str, float, float, float]:
                raise UserError("A row of convert.prices is a layer's name and three numbers.")


CONVERSIONS: dict[str, type[Conversion]] = {c.kind: c for c in (Compact, Cut, Dense, Gdws, Weighed)}
