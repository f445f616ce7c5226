"""What is trained, on what and how: frozen dataclasses with canonical JSON and a content hash.

Two equal recipes have one key and share one run. The key is taken over the fields that differ from
their defaults, so that a field added later leaves the keys of older runs alone. A default therefore
never changes its value; `Recipe.to_dict` writes every field, and the store compares all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any

from lib.conversions import CONVERSIONS, Conversion
from lib.datasets import WHOLE, absolute
from lib.errors import UserError, check_radius, check_range, choose
from lib.method import Method
from lib.methods import METHODS
from lib.part import Amount, Count, Part, Share
from lib.schedules import SCHEDULES
from lib.sparsity import SPARSITIES, Sparsity

EPS_DEFAULT = 8 / 255


@dataclass(frozen=True)
class Data(Part):
    """Which images; 0 images means all of the split.

    augment crops each image out of itself with a border, black (padding 'zero') or mirrored
    ('reflect'), and flips it, as far as that is usual for the data set. The path of an image folder
    may be relative when a recipe is made and is absolute in it. split 'all' holds 'val', too.
    """

    dataset: str
    train_images: Count = 0
    augment: bool = True
    padding: Annotated[str, ("reflect", "zero")] = "zero"
    split: Annotated[str, ("train", WHOLE)] = "train"

    def check(self) -> None:
        object.__setattr__(self, "dataset", absolute(self.dataset))


@dataclass(frozen=True)
class Model(Part):
    """The backbone; width is its base number of channels, 0 the paper's.

    dropout is for wide ResNets, in the middle of each block.
    """

    backbone: str
    width: Count = 0
    dropout: Share = 0.0


@dataclass(frozen=True)
class Attack(Part):
    """The training attack: PGD inside an eps ball of pixels in [0, 1].

    step = 0 stands for `lib.step.default_step`, 1.25 eps / steps in Linf.
    """

    eps: float = EPS_DEFAULT
    steps: Count = 7
    step: Amount = 0.0
    norm: Annotated[str, ("linf", "l2", "l1")] = "linf"
    random_start: bool = True

    def check(self) -> None:
        check_radius("attack.eps", self.eps, self.norm)


@dataclass(frozen=True)
class Train(Part):
    """SGD and its schedule; the papers' CIFAR setting by default (FLOAT, section 4.1).

    milestones are the epochs after which the schedule of that name multiplies the rate by gamma.
    """

    epochs: Count = 200
    batch: Annotated[int, (2,)] = 128
    lr: Amount = 0.1
    momentum: Share = 0.9
    nesterov: bool = False
    weight_decay: Amount = 5e-4
    schedule: Annotated[str, SCHEDULES] = "cosine"
    precision: Annotated[str, ("auto", "fp32", "bf16")] = "auto"
    validate_every: Count = 0  # epochs between looks at the validation split; 0: last epoch counts
    milestones: tuple[int, ...] = ()
    gamma: Share = 0.1

    def check(self) -> None:
        """Refuse milestones that make no schedule."""
        if any(a >= b for a, b in zip((0, *self.milestones), self.milestones, strict=False)):
            raise UserError("train.milestones must be rising numbers of epochs, from 1.")
        if bool(self.milestones) != (self.schedule == "milestones"):
            raise UserError(
                "train.milestones go with the schedule 'milestones'; set both or neither of them."
            )


@dataclass(frozen=True)
class Recipe(Part):
    """Everything that decides the weights of a run, up to the machine.

    A recipe with a start takes the weights of that finished run, and convert says what is done to
    its network first. Such chains may be of any length; of zero epochs, a recipe converts only.
    """

    data: Data
    model: Model
    method: Method
    train: Train = field(default=Train())
    attack: Attack = field(default=Attack())
    sparsity: Sparsity | None = None
    seed: Count = 0
    start: Recipe | None = None
    convert: Conversion | None = None

    def check(self) -> None:
        """Refuse a batch of which a batch norm would see a single image."""
        method = self.method
        check_range(f"train.batch of {method.kind}", self.train.batch, method.least_batch)
        if self.data.split == WHOLE and self.train.validate_every:
            raise UserError("data.split 'all' leaves no images to validate on; use 'train'.")
        choose(f"attack.norm of {method.kind}", self.attack.norm, method.norms)
        part = self.sparsity
        needing = f"sparsity '{part.kind}'" if part and part.trained else ""
        needing = "convert" if self.convert else needing
        if needing and self.start is None:
            raise UserError(f"{needing} works on a trained network; name its recipe in start.")

    @property
    def ancestors(self) -> list[Recipe]:
        """Return the recipes that this one starts from, the first of the chain first."""
        return [*self.start.ancestors, self.start] if self.start else []

    @property
    def trained(self) -> Recipe:
        """Return the last recipe of the chain that trains a network, and does not convert one."""
        return self.start.trained if self.convert and self.start else self

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Recipe:
        """Return the recipe of a tree as `to_dict` makes it; unknown fields are refused."""
        return _build(cls, tree, "recipe")

    def lacks(self, path: str) -> bool:
        """Return whether a dotted field is one that only some recipes have, and not this one."""
        top, _, rest = path.partition(".")
        if top == "start":
            return self.start is None or self.start.lacks(rest)
        return top in ("method", "sparsity", "convert") and not hasattr(getattr(self, top), rest)

    def override(self, changes: Mapping[str, Any]) -> Recipe:
        """Return a copy with dotted fields replaced, as in {'train.epochs': 3}."""
        return replace_fields(self, changes)


def _build(cls: type, tree: Any, where: str) -> Any:
    if not isinstance(tree, dict):
        raise UserError(f"{where} must be a table of fields, not {tree!r}.")
    tree = {k: v for k, v in tree.items() if k != "kind"}
    names = {f.name: f for f in fields(cls)}
    for name in tree:
        choose(f"field of {where}", name, names)
    missing = [n for n, f in names.items() if n not in tree and f.default is MISSING]
    if missing:
        raise UserError(f"{where} lacks the field '{missing[0]}'; add it.")
    parts = {"data": Data, "model": Model, "train": Train, "attack": Attack, "start": Recipe}
    kinds: dict[str, dict[str, Any]] = {
        "method": METHODS,
        "sparsity": SPARSITIES,
        "convert": CONVERSIONS,
    }
    for name, value in tree.items():
        if cls is Recipe and name in parts and not (name == "start" and value is None):
            tree[name] = _build(parts[name], value, name)
        elif cls is Recipe and name in kinds and value is not None:
            kind = value.get("kind", "") if isinstance(value, dict) else ""
            tree[name] = _build(kinds[name][choose(name, kind, kinds[name])], value, name)
    return cls(**tree)


def replace_fields(part: Any, changes: Mapping[str, Any]) -> Any:
    """Return a copy of a tree of dataclasses with fields at dotted paths replaced, all at once.

    What is checked is the result, so that the order of the changes does not matter.
    """
    tree: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        choose(f"field of {type(part).__name__.lower()}", name, [f.name for f in fields(part)])
        old = getattr(part, name)
        if rest and not dataclasses.is_dataclass(old):
            raise UserError(f"'{path}' goes deeper than the field '{name}', which holds {old!r}.")
        if not rest and dataclasses.is_dataclass(old):
            raise UserError(f"'{name}' has fields of its own; set one of them, as '{name}.FIELD'.")
        tree.setdefault(name, {})[rest] = value
    new = {
        name: inner[""] if "" in inner else replace_fields(getattr(part, name), inner)
        for name, inner in tree.items()
    }
    return dataclasses.replace(part, **new)
