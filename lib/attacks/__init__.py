"""Attacks on any callable that maps images in [0, 1] to logits."""

from lib.attacks.autoattack import autoattack
from lib.attacks.loss import input_gradient
from lib.attacks.msd import msd
from lib.attacks.norms import NORMS
from lib.attacks.projected import fgsm, pgd
from lib.attacks.trades import trades

__all__ = ["NORMS", "autoattack", "fgsm", "input_gradient", "msd", "pgd", "trades"]
