"""Everything that prunes while it trains, by the kind of the recipe's `sparsity`."""

from torch import nn

from lib.recipe import Recipe
from lib.trainers.pruners.base import Pruner
from lib.trainers.pruners.fixed import Fixed
from lib.trainers.pruners.momentum import SparseMomentum

PRUNERS: dict[str, type[Pruner]] = {"": Pruner, "fixed": Fixed, "momentum": SparseMomentum}


def pruner(model: nn.Module, recipe: Recipe) -> Pruner:
    """Return what prunes a network while a recipe trains it; without sparsity nothing does."""
    part = recipe.sparsity
    return PRUNERS[part.kind if part else ""](model, part, recipe.train.epochs, recipe.seed)
