"""Everything that prunes while it trains, by the kind of the recipe's `sparsity`."""

from torch import nn

from lib.recipe import Recipe
from lib.trainers.pruners.admm import AdmmStage
from lib.trainers.pruners.base import Pruner
from lib.trainers.pruners.dnr import Rewiring
from lib.trainers.pruners.fixed import Fixed
from lib.trainers.pruners.hydra import FixedEverywhere, Scores, StillScores
from lib.trainers.pruners.inner import InnerStage
from lib.trainers.pruners.kernels import FixedRanks
from lib.trainers.pruners.lasso import L1
from lib.trainers.pruners.momentum import SparseMomentum
from lib.trainers.pruners.snip import Sensitivity

PRUNERS: dict[str, type[Pruner]] = {
    "": Pruner,
    "fixed": Fixed,
    "fixed_all": FixedEverywhere,
    "fixed_ranks": FixedRanks,
    "momentum": SparseMomentum,
    "dnr": Rewiring,
    "admm": AdmmStage,
    "admm_inner": InnerStage,
    "lasso": L1,
    "hydra": Scores,
    "hydra_still": StillScores,
    "snip": Sensitivity,
}


def pruner(model: nn.Module, recipe: Recipe) -> Pruner:
    """Return what prunes a network while a recipe trains it; without sparsity nothing does."""
    part = recipe.sparsity
    return PRUNERS[part.kind if part else ""](model, part, recipe.train.epochs, recipe.seed)
