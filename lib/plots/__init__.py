"""Figures from tidy frames: one style, one colour per method; needs neither torch nor the runs."""

from lib.plots.tradeoff import trade_off

__all__ = ["trade_off"]
