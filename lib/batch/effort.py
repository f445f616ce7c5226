"""How much work a job is, and how large: for the order of jobs, the time left and a dry run."""

from collections.abc import Iterable
from functools import cache

from lib import cost, data, device
from lib.attacks.autoattack import forwards
from lib.attacks.loss import GRADIENT
from lib.models import create
from lib.protocol import Protocol
from lib.recipe import Recipe

# Share of the images that AutoAttack still finds right
STANDING = {"standard": 0.4, "rand": 0.6, "rand-all": 0.8}
# Multiply-accumulates a second of one thread, on images below 16 pixels and above, and of a GPU:
# first guesses, which measured times replace. Nine of ten recorded trainings on servers ran at 1.2
# to 6, and at 12 to 70 billion. None has been recorded on a GPU: that is an H100 or H200 at 4 % of
# its peak in bf16, about what kernels for images this small reach.
SPEEDS = {"small": 3e9, "cpu": 35e9, "cuda": 2e13}
PROCESS = 0.8e9  # bytes of a process that has imported everything
NOTEBOOK = 2 * PROCESS  # and its kernel


@cache
def _counts(backbone: str, width: int, dataset: str) -> tuple[int, int, int]:
    """Return multiply-accumulates, parameters and numbers that layers put out for one image."""
    spec = data.spec(dataset)
    model = create("plain", backbone, spec.num_classes, spec.channels, width or None)
    rows = cost.layer_costs(model, spec.channels, spec.size)
    outputs = sum(row.positions * row.out_channels for row in rows)
    return sum(row.macs for row in rows), sum(p.numel() for p in model.parameters()), outputs


def _counted(recipe: Recipe) -> tuple[int, int, int]:
    return _counts(recipe.model.backbone, recipe.model.width, recipe.data.dataset)


def _images(recipe: Recipe, split: str, limit: int) -> int:
    """Return the number of images; folders of images are counted only on loading."""
    spec = data.spec(recipe.data.dataset)
    return limit or spec.count(split) or 100_000


def training(recipe: Recipe) -> float:
    """Return the multiply-accumulates of a training."""
    macs, _, _ = _counted(recipe)
    images = _images(recipe, recipe.data.split, recipe.data.train_images) * recipe.train.epochs
    return float(macs * images * recipe.method.passes(recipe.attack.steps))


def _attack_passes(protocol: Protocol, classes: int) -> float:
    """Return how many forward passes an attack takes for each image."""
    match protocol.attack:
        case "fgsm":
            return float(GRADIENT * protocol.eot)
        case "pgd":
            return float(GRADIENT * protocol.steps * protocol.restarts * protocol.eot)
        case "autoattack":
            share = STANDING[protocol.version]
            work = (protocol.steps, protocol.eot, protocol.queries)
            return share * forwards(protocol.version, *work, classes)
    return 0.0


def evaluation(recipe: Recipe, protocol: Protocol) -> float:
    """Return the multiply-accumulates of one evaluation."""
    macs, _, _ = _counted(recipe)
    passes = _attack_passes(protocol, data.spec(recipe.data.dataset).num_classes)
    passes += protocol.draws(recipe.method)
    images = _images(recipe, protocol.split, protocol.images)
    return float(protocol.slim**2 * macs * images * passes)


def seconds(recipe: Recipe, train: bool, protocols: Iterable[Protocol], place: str = "") -> float:
    """Return a first guess at the seconds of a job, its start included, here or at a place."""
    macs = sum(evaluation(recipe, p) for p in protocols) + (training(recipe) if train else 0.0)
    small = data.spec(recipe.data.dataset).size < 16
    place = place or device.device().type
    return 5 + macs / SPEEDS["small" if small and place == "cpu" else place]


def memory(recipe: Recipe) -> float:
    """Return a guess at the most bytes a job holds; every recorded one is within a factor of two.

    Of each parameter there is the gradient, the momentum and a copy, too; of what layers put out,
    what batch norm and activation make of it and the gradients of both.
    """
    _, parameters, outputs = _counted(recipe)
    spec = data.spec(recipe.data.dataset)
    images = (
        _images(recipe, recipe.data.split, recipe.data.train_images) * spec.channels * spec.size**2
    )
    return PROCESS + images + 16.0 * (parameters + recipe.train.batch * outputs)


def disk(recipe: Recipe) -> float:
    """Return a guess at the bytes that a run takes: weights, and masks or branches beside them."""
    _, parameters, _ = _counted(recipe)
    return 1e5 + 8.0 * parameters
