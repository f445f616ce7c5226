"""How much work a job is, in multiply-accumulates: for the order of jobs and the time left."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from lib import cost, data
from lib.attacks.autoattack import forwards
from lib.attacks.loss import BACKWARD
from lib.protocol import Protocol
from lib.recipe import Oat, PgdAt, Plain, Pni, Recipe

STANDING = {"standard": 0.4, "rand": 0.8}  # share of the images that AutoAttack still finds right
FORWARD_SPEED = 5e9  # multiply-accumulates a second, a first guess that measured times replace


@cache
def _macs(backbone: str, width: int, dataset: str) -> int:
    spec = data.spec(dataset)
    built = cost.report(
        "plain", backbone, width or None, spec.num_classes, spec.size, None, spec.channels
    )
    return built["macs"]


def _passes(recipe: Recipe) -> float:
    """Return how often an image goes forward and backward in one epoch, in full widths."""
    slims: tuple[float, ...] = getattr(recipe.method, "slims", (1.0,))
    return _passes_at_width(recipe) * sum(slim**2 for slim in slims)


def _passes_at_width(recipe: Recipe) -> float:
    attacked = recipe.attack.steps + 1.0
    match recipe.method:
        case Plain():
            return 1.0
        case PgdAt(lam=lam):
            return (lam > 0) * attacked + (lam < 1)
        case Pni():
            return attacked + 1
        case Oat():
            return 1.5 * (attacked + 1)  # FiLM layers on top
    return 0.5 * attacked + 0.5  # FLOAT and SMART attack half of each batch


def _images(recipe: Recipe, split: str, limit: int) -> int:
    """Return the number of images; folders of images are counted only on loading."""
    spec = data.spec(recipe.data.dataset)
    return limit or spec.images[data.SPLITS.index(split)] or 100_000


def training(recipe: Recipe) -> float:
    """Return the multiply-accumulates of a training."""
    macs = _macs(recipe.model.backbone, recipe.model.width, recipe.data.dataset)
    images = _images(recipe, "train", recipe.data.train_images) * recipe.train.epochs
    return float(BACKWARD * macs * images * _passes(recipe))


def _attack_passes(protocol: Protocol, classes: int) -> float:
    """Return how many forward passes an attack takes for each image."""
    match protocol.attack:
        case "fgsm":
            return float(BACKWARD * protocol.eot)
        case "pgd":
            return float(BACKWARD * protocol.steps * protocol.restarts * protocol.eot)
        case "autoattack":
            share = STANDING[protocol.version]
            work = (protocol.steps, protocol.eot, protocol.queries)
            return share * forwards(protocol.version, *work, classes)
    return 0.0


def evaluation(recipe: Recipe, protocol: Protocol) -> float:
    """Return the multiply-accumulates of one evaluation."""
    macs = _macs(recipe.model.backbone, recipe.model.width, recipe.data.dataset)
    passes = 1.0 + _attack_passes(protocol, data.spec(recipe.data.dataset).num_classes)
    images = _images(recipe, protocol.split, protocol.images)
    return float(protocol.slim**2 * macs * images * passes)


def seconds(recipe: Recipe, train: bool, protocols: Iterable[Protocol]) -> float:
    """Return a first guess at the seconds of a job, its start included."""
    macs = sum(evaluation(recipe, p) for p in protocols) + (training(recipe) if train else 0.0)
    return 5 + macs / FORWARD_SPEED
