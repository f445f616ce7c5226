"""Attacks on any callable that maps images in [0, 1] to logits."""

from lib.attacks.autoattack import autoattack
from lib.attacks.loss import input_gradient
from lib.attacks.norms import NORMS
from lib.attacks.projected import fgsm, pgd
from lib.attacks.trades import trades
from lib.attacks.union import msd, sparse

__all__ = ["NORMS", "autoattack", "fgsm", "input_gradient", "msd", "pgd", "sparse", "trades"]
