"""How much work a job is, and how large: for the order of jobs, the time left and a dry run."""

from collections.abc import Iterable
from functools import cache

from lib import cost, data, device, scoring
from lib.attacks.autoattack import forwards
from lib.attacks.loss import GRADIENT
from lib.models import create
from lib.protocol import Protocol
from lib.recipe import Recipe

# Share of the images that AutoAttack still finds right
STANDING = {"standard": 0.4, "rand": 0.6, "rand-all": 0.8}
# Multiply-accumulates a second of one thread, on images below 16 pixels and above, and of a GPU:
# first guesses, which measured times replace. Nine of ten recorded trainings on servers ran at 1.8
# to 8.6, and at 13 to 61 billion; on an H200 ResNet-34 at 4.5e13 (OAT, FLOAT, SMART) to 8.5e13
# (PGD-AT) in bf16, and under attack at 8e12 in float32.
SPEEDS = {"small": 4.5e9, "cpu": 35e9, "cuda": 4.5e13}
SCORING = SPEEDS | {"cuda": 8e12}

# Bytes, fitted to peaks measured on CPUs (see the commit that last changed them): of a process that
# has made its first step; of each parameter with gradient, momentum and copies, and more of it for
# weights with noise, in each pass, and with path masks; of each number that a layer puts out, with
# what batch norm and activation make of it and the gradients, in a step of both precisions, how
# much more of it there is with modulation, and in an attack.
PROCESS, PARAMETER, NOISY, MASKED = 0.85e9, 16.0, 24.0, 12.0
OUTPUT, MODULATED, SCORED = {"fp32": 10.6, "bf16": 5.3}, 1.65, 4.8
WIDEST = 4.0  # times as much as layers put out would be put out if none had a stride, at least
NOTEBOOK = 1.5 * PROCESS  # a process and its kernel


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
    return limit or data.spec(recipe.data.dataset).count(split) or 100_000


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
    place = place or device.device().type
    if place == "cpu" and data.spec(recipe.data.dataset).size < 16:
        place = "small"
    scored = sum(evaluation(recipe, p) for p in protocols)
    return 5 + scored / SCORING[place] + (training(recipe) / SPEEDS[place] if train else 0.0)


def memory(recipe: Recipe, train: bool, protocols: Iterable[Protocol]) -> float:
    """Return the most bytes that a job holds: in a step of the training or a batch of a score.

    A step holds what layers put out for every image of which it takes a loss, at every width; an
    attack holds it once.
    """
    _, parameters, outputs = _counted(recipe)
    spec, method = data.spec(recipe.data.dataset), recipe.method
    images, sizes = [0], [0.0]
    if train:
        images.append(_images(recipe, recipe.data.split, recipe.data.train_images))
        one = OUTPUT[device.used_precision(recipe.train.precision, spec.size)]
        one *= MODULATED if method.film else 1.0
        sizes.append(one * recipe.train.batch * sum(method.shares) * sum(method.widths))
    for protocol in protocols:
        images.append(_images(recipe, protocol.split, protocol.images))
        sizes.append(SCORED * min(images[-1], _together(recipe, protocol)))
    held = max(images) * spec.channels * spec.size**2
    weight = PARAMETER + NOISY * method.noise * sum(method.shares) + MASKED * method.masked
    return PROCESS + held + weight * parameters + outputs * max(sizes)


def _together(recipe: Recipe, protocol: Protocol) -> float:
    """Return how many images `scoring.batch_size` takes at a time, or a few more."""
    if recipe.method.noise or protocol.attack == "autoattack":
        return scoring.BATCH
    _, _, outputs = _counted(recipe)
    return max(scoring.BATCH, scoring.LIMITS[device.device().type] / (WIDEST * outputs))


def disk(recipe: Recipe) -> float:
    """Return a guess at the bytes that a run takes: weights, and masks or branches beside them."""
    _, parameters, _ = _counted(recipe)
    return 1e5 + 8.0 * parameters
