"""Figures from tidy frames: one style, one colour per method; needs neither torch nor the runs."""

from lib.plots.channels import channel_heatmap
from lib.plots.layers import bn_statistics, layer_density
from lib.plots.memory import memory_accuracy
from lib.plots.pareto import pareto
from lib.plots.style import COLOURS
from lib.plots.tradeoff import trade_off

__all__ = [
    "COLOURS",
    "bn_statistics",
    "channel_heatmap",
    "layer_density",
    "memory_accuracy",
    "pareto",
    "trade_off",
]
