"""Figures from tidy frames: one style, one colour per method; needs neither torch nor the runs."""

from lib.plots.channels import channel_heatmap
from lib.plots.memory import memory_accuracy
from lib.plots.style import COLOURS
from lib.plots.tradeoff import trade_off

__all__ = [
    "COLOURS",
    "channel_heatmap",
    "memory_accuracy",
    "trade_off",
]
