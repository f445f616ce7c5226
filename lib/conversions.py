"""Where a network comes from that starts from another run's: its weights, or what is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from lib.errors import UserError
from lib.models import compact, freeze
from lib.recipe import Compact, Recipe


def compacted(part: Compact, model: nn.Module) -> nn.Module:
    """Return the plain network at one trade-off without its dead channels."""
    return compact(freeze(model, part.lam))


CONVERTERS: dict[str, Callable[[Any, nn.Module], nn.Module]] = {Compact.kind: compacted}


def check_start(recipe: Recipe, start: Recipe) -> None:
    """Refuse to start from a network that is built otherwise."""
    ours, theirs = recipe.model.to_dict(), start.model.to_dict()
    ours, theirs = ours | recipe.method.options(), theirs | start.method.options()
    if recipe.convert:  # the network is plain by then
        if recipe.method.conditional or recipe.sparsity:
            raise UserError(
                f"What '{recipe.convert.kind}' makes is a plain network without masks; train it by "
                "the method plain or pgd_at, without sparsity."
            )
        ours, theirs = recipe.model.to_dict(), start.model.to_dict()
    for name in ours.keys() & theirs.keys() - {"dropout"}:
        if ours[name] != theirs[name]:
            raise UserError(
                f"{name} is {ours[name]} but {theirs[name]} in the start of the recipe; give both "
                "the same network."
            )


def take(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load the weights of a start, all of which must fit.

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
