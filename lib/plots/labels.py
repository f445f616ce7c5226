"""Short labels beside points, placed so that they cover neither each other nor the data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

POINT = 1 / 72  # inches
RADII = (6.5, 9.0, 12.0, 16.0, 21.0, 27.0)  # points from marker to label
ANGLES = 24


@dataclass
class Labels:
    """Labels of one panel; the limits of the axes and the layout must be final.

    What is to be kept free is given in display coordinates: small boxes around markers, bars and
    lines. Each label takes the nearest place that covers least.
    """

    axes: Axes
    taken: list[Bbox] = field(default_factory=list)

    @property
    def scale(self) -> float:
        """Return pixels in a point."""
        return self.axes.figure.dpi * POINT

    def pixel(self, x: float, y: float) -> np.ndarray:
        """Return a point of the data in display coordinates."""
        return self.axes.transData.transform((x, y))

    def keep_free(self, x: float, y: float, size: float = 6.0) -> None:
        """Reserve a square of so many points around a point of the data."""
        half = size * self.scale / 2
        px, py = self.pixel(x, y)
        self.taken.append(Bbox.from_extents(px - half, py - half, px + half, py + half))

    def keep_line_free(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Reserve a narrow band along a line between two points of the data."""
        a, b = self.pixel(*start), self.pixel(*end)
        steps = max(1, int(np.hypot(*(b - a)) / (3 * self.scale)))
        half = 0.8 * self.scale
        for share in np.linspace(0, 1, steps + 1):
            px, py = a + share * (b - a)
            self.taken.append(Bbox.from_extents(px - half, py - half, px + half, py + half))

    def add(self, x: float, y: float, text: str, colour: str) -> None:
        """Write text beside a point of the data; far labels get a thin line to their point."""
        note = self.axes.annotate(
            text,
            (x, y),
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            size=6.5,
            color=colour,
            zorder=5,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.4, "shrinkB": 2.5},
        )
        note.set_in_layout(False)
        note.set_path_effects([withStroke(linewidth=1.2, foreground="white")])
        note.arrow_patch.set_visible(False)
        box = note.get_window_extent()
        width, height = box.width, box.height
        px, py = self.pixel(x, y)
        frame = self.axes.get_window_extent()
        best, best_cost = (0.0, 0.0, 0.0), math.inf
        for radius in RADII:
            for turn in range(ANGLES):
                angle = math.pi / 4 + 2 * math.pi * turn / ANGLES
                reach = radius * self.scale
                dx = math.cos(angle) * (reach + width / 2 - 2 * self.scale)
                dy = math.sin(angle) * (reach + height / 2 - 3 * self.scale)
                cost = radius + 0.1 * turn / ANGLES
                cost += self.covered(px + dx, py + dy, width, height, frame)
                if cost < best_cost:
                    best, best_cost = (dx, dy, radius), cost
        dx, dy, radius = best
        note.set_position((dx / self.scale, dy / self.scale))
        note.arrow_patch.set_visible(radius > RADII[2])
        self.taken.append(self.box(px + dx, py + dy, width, height))

    @staticmethod
    def box(x: float, y: float, width: float, height: float) -> Bbox:
        """Return the box of a label around its centre."""
        return Bbox.from_bounds(x - width / 2, y - height / 2, width, height)

    def covered(self, x: float, y: float, width: float, height: float, frame: Bbox) -> float:
        """Return a price for what a label would cover, or for leaving the panel."""
        place = self.box(x, y, width, height)
        price = 0.0
        if place.x0 < frame.x0 or place.x1 > frame.x1 or place.y0 < frame.y0:
            price += 200.0
        if place.y1 > frame.y1:
            price += 60.0
        for other in self.taken:
            both = Bbox.intersection(place, other)
            if both is not None:
                price += 4.0 + both.width * both.height / self.scale**2
        return price
