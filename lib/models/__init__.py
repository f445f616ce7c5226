"""Networks: create one by method and backbone, or use the parts."""

from lib.models.compaction import channels, compact
from lib.models.conditional import Conditional
from lib.models.freezing import classifier, effective_weights, freeze
from lib.models.variants import BACKBONES, create

__all__ = [
    "BACKBONES",
    "Conditional",
    "channels",
    "classifier",
    "compact",
    "create",
    "effective_weights",
    "freeze",
]
