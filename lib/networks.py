"""The network that a training begins with: fresh, with another's weights, or made of another."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lib import data, device, scoring
from lib.conversions import Compact, Cut, Dense, Gdws, Seeing, Weighed
from lib.cost import mac_prices
from lib.errors import UserError, choose
from lib.models import BACKBONES, compact, create, freeze
from lib.models.depthwise import GeneralizedDepthwise, equivalents
from lib.models.gdws import Price, convert, convertible, error_weights
from lib.models.masks import largest
from lib.models.stored import shaped
from lib.protocol import Protocol
from lib.recipe import Recipe
from lib.sparsity import Snip

BETAS = [float(f"{10 ** (i / 4):.2g}") for i in range(-20, 9)]  # to choose from
TRIES = 1 + len(BETAS).bit_length()  # conversions that this takes
JUDGED = 1_000  # validation images that choose, at most


def _compacted(part: Compact, model: nn.Module) -> nn.Module:
    return compact(freeze(model, part.lam))


@torch.no_grad()
def _cut(part: Cut, model: nn.Module) -> nn.Module:
    plain = freeze(model, part.lam)
    found = ((name, m) for name, m in plain.named_modules() if isinstance(m, nn.Conv2d))
    layers: dict[str, nn.Conv2d] = dict(found)
    names = [choose("convolution", part.layer, layers)] if part.layer else list(layers)
    for weight in (layers[name].weight for name in names):
        weight.mul_(largest(weight.abs(), round(part.density * weight.numel())))
    return plain


def _dense(part: Dense, model: nn.Module) -> nn.Module:
    return equivalents(model)


def _weighed(part: Weighed, model: nn.Module) -> nn.Module:
    plain = freeze(model, part.lam).eval()
    images = data.load(part.dataset, "train", part.images, device.device()).float()
    for name, gain in error_weights(plain, images).items():
        plain.get_submodule(name).register_buffer("gain", gain)
    return plain


@torch.no_grad()
def _gdws(part: Gdws, model: nn.Module) -> nn.Module:
    plain = freeze(model, part.lam).eval()
    layers, prices = convertible(plain), None
    gains: dict[str, Any] = {n: c.gain for n, c in layers.items() if hasattr(c, "gain")}
    for layer in plain.modules():
        layer._buffers.pop("gain", None)
    if part.scope == "network":
        spec = data.spec(part.dataset)
        prices = {str(name): Price(*map(float, row)) for name, *row in part.prices}
        prices = prices or mac_prices(plain, spec.channels, spec.size)
    how: dict[str, Any] = {"alphas": gains or None, "prices": prices, "least": part.least}
    if not part.points:
        return convert(plain, part.beta, **how)
    shown, few = data.load(part.dataset, "val", device=device.device()), slice(JUDGED)
    x, labels = shown.float(few), shown.labels[few]

    def right(model: nn.Module) -> int:
        found = [equivalents(model)(part).argmax(1) for part in x.split(100)]
        return int((torch.cat(found) == labels).sum())

    goal = right(plain) - part.points / 100 * len(labels)
    best, low, high = convert(plain, 0.0, **how), 0, len(BETAS)
    while low < high:
        made = convert(plain, BETAS[middle := (low + high) // 2], **how)
        if right(made) >= goal:
            best, low = made, middle + 1
        else:
            high = middle
    return best


CONVERTERS: dict[str, Callable[[Any, nn.Module], nn.Module]] = {
    Compact.kind: _compacted,
    Cut.kind: _cut,
    Dense.kind: _dense,
    Gdws.kind: _gdws,
    Weighed.kind: _weighed,
}
LAYERS = {Gdws.kind: (GeneralizedDepthwise,)}  # that a converter makes


def check(recipe: Recipe, protocols: Iterable[Protocol] = ()) -> None:
    """Refuse what a recipe cannot check itself: names, numbers of images, masks, trade-offs."""
    spec = data.spec(recipe.data.dataset)
    choose("backbone", recipe.model.backbone, BACKBONES)
    spec.check_limit(recipe.data.split, recipe.data.train_images)
    scoring.narrow(recipe.model, recipe.method, recipe.sparsity is not None)
    if recipe.method.conditional and isinstance(recipe.sparsity, Snip):
        raise UserError(
            f"SNIP prunes by the loss of one network, and {recipe.method.kind} has one for each "
            "trade-off; take another sparsity, as momentum."
        )
    if isinstance(part := recipe.convert, Seeing):
        spec.check_limit("train", getattr(part, "images", 0))
        if part.dataset != recipe.data.dataset:
            raise UserError(
                f"convert.dataset is {part.dataset}, but data.dataset {recipe.data.dataset}; name "
                "the same."
            )
    if recipe.start:
        _check_start(recipe, recipe.start)
        check(recipe.start)
    for protocol in protocols:
        spec.check_limit(protocol.split, protocol.images)
        recipe.method.check_lam(protocol.lam)
        if protocol.slim not in recipe.method.widths:
            raise UserError(
                f"This {recipe.method.kind} network has no sub-network of slimming factor "
                f"{protocol.slim:g}; score one that method.slims names."
            )
        if protocol.weights == "best" and not recipe.train.validate_every:
            raise UserError("There are no best weights without validation; set validate_every.")


def _check_start(recipe: Recipe, start: Recipe) -> None:
    """Refuse to start from a network that is built otherwise."""
    ours, theirs = recipe.model.to_dict(), start.model.to_dict()
    if recipe.convert is None:
        ours, theirs = ours | recipe.method.options(), theirs | start.method.options()
    elif recipe.method.conditional or recipe.sparsity:
        raise UserError(
            f"What '{recipe.convert.kind}' makes is a plain network without masks; train it by the "
            "method plain, pgd_at or hybrid, without sparsity."
        )
    for name in ours.keys() & theirs.keys() - {"dropout"}:
        if ours[name] != theirs[name]:
            raise UserError(
                f"{name} is {ours[name]} but {theirs[name]} in the start of the recipe; give both "
                "the same network."
            )


def _taking(model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return a network with the weights of a start, all of which must fit.

    Buffers that only model has, as pruning masks, stay as they are.
    """
    own = model.state_dict()
    may_lack = {name for name, _ in model.named_buffers()}
    for name in sorted(weights.keys() | own.keys() - may_lack):
        if name not in weights:
            problem = "is not in the network that it starts from"
        elif name not in own:
            problem = "of the network that it starts from has no place in it"
        elif weights[name].shape != own[name].shape:
            problem = f"has the shape {(*own[name].shape,)}, there {(*weights[name].shape,)}"
        else:
            continue
        raise UserError(f"{name} {problem}; give both the same model, method and sparsity.")
    model.load_state_dict(dict(weights), strict=False)
    return model


def started(recipe: Recipe, parent: nn.Module) -> nn.Module:
    """Return the network of a recipe with its parent's weights, or what `convert` makes of that."""
    if recipe.convert is None:
        return _taking(fresh(recipe), parent.state_dict())
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)  # for a draw of weight noise
        model = CONVERTERS[recipe.convert.kind](recipe.convert, parent)
    return _placed(model)


def stored(recipe: Recipe, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return the network of a finished recipe with its tensors, without what it starts from."""
    lam, link = 0.0, recipe
    while link.convert and link.start:
        lam, link = getattr(link.convert, "lam", 0.0), link.start
    model = fresh(link)
    if recipe.convert:
        with torch.random.fork_rng():  # for a draw of weight noise, which the tensors replace
            model = _placed(shaped(freeze(model, lam), tensors))
    model.load_state_dict(dict(tensors))
    return model


def fresh(recipe: Recipe) -> nn.Module:
    """Return the network of a recipe, initialised from its seed."""
    spec = data.spec(recipe.data.dataset)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = create(
            recipe.method.kind,
            recipe.model.backbone,
            num_classes=spec.num_classes,
            in_channels=spec.channels,
            width=recipe.model.width or None,
            prunable=recipe.sparsity is not None,
            dropout=recipe.model.dropout,
            normalise=(spec.mean, spec.std) if recipe.method.normalised else None,
            **recipe.method.options(),
        )
    return _placed(model)


def _placed(model: nn.Module) -> nn.Module:
    return model.to(device.device()).to(memory_format=torch.channels_last)
