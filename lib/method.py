"""What every method answers for: the layers it asks for, the cost of a step, what it can be asked.

The methods themselves are in `lib.methods`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from lib.part import Part


@dataclass(frozen=True)
class Method(Part):
    """How a network is conditioned and trained. Fields are options, other attributes fixed.

    `training` names the options that do not shape the network, `loose` what `lib.models.create`
    takes for an option whose default belongs to one family of backbones. Without a colour or
    a marker of its own a method gets one in each figure.
    """

    kind: ClassVar[str]
    label: ClassVar[str]
    colour: ClassVar[str] = ""
    marker: ClassVar[str] = ""
    conditional: ClassVar[bool]  # whether a call of the network takes lam
    training: ClassVar[tuple[str, ...]] = ()
    loose: ClassVar[Mapping[str, Any]] = {}

    clean_lam: ClassVar[float] = 0.0  # of the clean path, and of a call without lam
    rescales: ClassVar[bool] = False  # whether a call takes a threshold (FLOAT Eq. 6)

    climb: ClassVar[int] = 2  # cost of a step of the attack, in forward passes of what it attacks
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")  # in which it can be attacked

    # What layers the network is of; an option of some methods, fixed in others
    noise = False  # in the weights of convolutions
    noise_fc = False  # in those of the classifier, too
    dual_bn = False  # a batch norm for each path
    film = False  # modulation by a code of lam
    masked = False  # path masks
    normalised = False  # images by mean and standard deviation, inside the network
    alpha_decay = True  # weight decay also on the scales of the noise

    @property
    def widths(self) -> tuple[float, ...]:
        """Return the shares of its channels at which the network is trained and can be called."""
        return (1.0,)

    @property
    def fixed_lam(self) -> float | None:
        """Return the one trade-off that every score of a network stands for, if there is one."""
        return None

    @property
    def warm_up(self) -> int:
        """Return how many epochs, from the first, train otherwise than the later ones."""
        return 0

    @property
    def least_batch(self) -> int:
        """Return the smallest batch of which no batch norm sees a single image."""
        return 2

    @property
    def shares(self) -> tuple[float, float]:
        """Return of which shares of a batch a step takes a clean and an adversarial loss.

        The second is also the share that is attacked.
        """
        raise NotImplementedError

    def passes(self, steps: int) -> float:
        """Return the cost of a training step in forward passes of a whole batch at full width.

        A forward pass counts 1, a gradient of images 1, one of weights 2; steps are the attack's.
        """
        clean, attacked = self.shares
        work = self.climb * steps * attacked + 3 * (clean + attacked)
        return sum(width**2 for width in self.widths) * work

    def decays(self, name: str) -> bool:
        """Return whether the parameter of this name gets weight decay."""
        return self.alpha_decay or not name.endswith("alpha")

    def check_lam(self, lam: float) -> None:
        """Refuse a trade-off at which the network cannot be called."""

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments for `lib.models.create`."""
        return {name: getattr(self, name) for name in self.arch()}

    @classmethod
    def arch(cls) -> list[str]:
        """Return the names of the options that shape the network."""
        return [f.name for f in fields(cls) if f.name not in cls.training]
