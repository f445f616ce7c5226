"""What a recipe can do to the network it starts from; `lib.networks` does it."""

from dataclasses import dataclass
from typing import ClassVar

from lib.datasets import absolute
from lib.errors import UserError, check_range, choose
from lib.part import Part


@dataclass(frozen=True)
class Conversion(Part):
    """Makes a plain network of the one that a recipe starts from, which it takes at one lam."""

    kind: ClassVar[str]

    def check(self) -> None:
        """Refuse a trade-off outside [0, 1]."""
        check_range("convert.lam", getattr(self, "lam", 0.0), 0, 1)


@dataclass(frozen=True)
class Cut(Conversion):
    """The plain network at one trade-off, of its layers only the largest weights.

    density is the share of weights that stay in each convolution; of one layer, as 'layer1.0.conv',
    where it is named, with the others whole.
    """

    kind: ClassVar[str] = "cut"
    density: float = 0.05
    layer: str = ""
    lam: float = 0.0

    def check(self) -> None:
        """Refuse a density outside [0, 1]."""
        super().check()
        check_range("convert.density", self.density, 0, 1)


@dataclass(frozen=True)
class Compact(Conversion):
    """The plain network at one trade-off, without the channels that pruning has emptied."""

    kind: ClassVar[str] = "compact"
    lam: float = 0.0


@dataclass(frozen=True)
class Seeing(Conversion):
    """A conversion that looks at so many training images."""

    dataset: str  # that of the recipe, for what is done does not know it
    images: int = 0
    lam: float = 0.0

    def check(self) -> None:
        """Refuse a negative number of images; make the path of a folder absolute."""
        super().check()
        object.__setattr__(self, "dataset", absolute(self.dataset))
        check_range("convert.images", self.images, 0)


@dataclass(frozen=True)
class Weighed(Seeing):
    """The plain network and, in each layer, what errors of its weights do to decisions.

    These are GDWS's error weights (Eq. 8) for a later conversion; the network computes the same.
    """

    kind: ClassVar[str] = "weighed"
    images: int = 1_000

    def check(self) -> None:
        """Refuse to look at nothing."""
        super().check()
        check_range("convert.images", self.images, 1)


@dataclass(frozen=True)
class Gdws(Seeing):
    """Generalised depthwise-separable layers for the convolutions of the plain network.

    beta bounds the squared error of every layer (GDWS, Algorithm 3), or with scope 'network' that
    of all together, which goes where it saves most multiply-accumulates, or most by prices: rows of
    a layer, its price when dense, that beside kernels and that of a kernel. Layers without a price
    stay dense. Errors are weighed as in a `Weighed` network, in any other alike. least=1 leaves
    every channel a kernel. With images, batch norms are fitted to them anew.
    """

    kind: ClassVar[str] = "gdws"
    beta: float = 0.0
    scope: str = "layer"
    prices: tuple[tuple[str | float, ...], ...] = ()
    least: int = 0

    def check(self) -> None:
        """Refuse values outside their range, and prices that nothing asks for."""
        super().check()
        check_range("convert.beta", self.beta, 0)
        check_range("convert.least", self.least, 0, 1)
        whole = choose("scope", self.scope, ("layer", "network")) == "network"
        if (not whole and self.prices) or (whole and self.least):
            raise UserError("Prices go with the scope 'network', convert.least with 'layer'.")
        for row in self.prices:
            if [type(value) for value in row] != [str, float, float, float]:
                raise UserError("A row of convert.prices is a layer's name and three numbers.")


CONVERSIONS: dict[str, type[Conversion]] = {c.kind: c for c in (Compact, Cut, Gdws, Weighed)}
