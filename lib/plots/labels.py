"""Short labels beside points, placed so that they cover neither each other nor the data."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

POINT = 1 / 72  # inches
RADII = np.array([6.5, 9.0, 12.0, 16.0, 21.0, 27.0])  # points from marker to label
ANGLES = np.pi / 4 + np.linspace(0, 2 * np.pi, 24, endpoint=False)
FAR = 12.0  # beyond so many points a thin line leads to the label


class Labels:
    """Labels of one panel; the limits of the axes and the layout must be final.

    Boxes (x0, y0, x1, y1, price) in display coordinates are to be kept free: around markers, bars,
    lines and labels. Each label takes the nearest place that covers least.
    """

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.scale = axes.figure.dpi * POINT  # pixels in a point
        self.taken: list[tuple[float, ...]] = []

    def pixel(self, x: float, y: float) -> np.ndarray:
        """Return a point of the data in display coordinates."""
        return self.axes.transData.transform((x, y))

    def keep_free(self, x: float, y: float, size: float = 6.0) -> None:
        """Reserve a square of so many points around a point of the data."""
        px, py = self.pixel(x, y)
        self._take(px, py, size * self.scale, size * self.scale)

    def keep_line_free(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Reserve a narrow band along a line between two points of the data."""
        a, b = self.pixel(*start), self.pixel(*end)
        steps = max(1, int(np.hypot(*(b - a)) / (3 * self.scale)))
        for share in np.linspace(0, 1, steps + 1):
            px, py = a + share * (b - a)
            self._take(px, py, 1.6 * self.scale, 1.6 * self.scale)

    def _take(self, x: float, y: float, width: float, height: float, price: float = 4.0) -> None:
        self.taken.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2, price))

    def add(self, x: float, y: float, text: str, colour: str) -> None:
        """Write text beside a point of the data."""
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
        box = note.get_window_extent()
        radius, angle = (grid.ravel() for grid in np.meshgrid(RADII, ANGLES, indexing="ij"))
        reach = radius * self.scale
        dx = np.cos(angle) * (reach + box.width / 2 - 2 * self.scale)
        dy = np.sin(angle) * (reach + box.height / 2 - 3 * self.scale)
        px, py = self.pixel(x, y)
        cost = radius + 0.1 * np.tile(np.arange(len(ANGLES)), len(RADII)) / len(ANGLES)
        best = int(np.argmin(cost + self._covered(px + dx, py + dy, box.width, box.height)))
        note.set_position((dx[best] / self.scale, dy[best] / self.scale))
        if note.arrow_patch is not None:
            note.arrow_patch.set_visible(radius[best] > FAR)
        self._take(px + dx[best], py + dy[best], box.width, box.height, price=40.0)

    def _covered(self, x: np.ndarray, y: np.ndarray, width: float, height: float) -> np.ndarray:
        """Return prices for what labels centred at x, y would cover, or for leaving the panel."""
        left, right = x - width / 2, x + width / 2
        low, high = y - height / 2, y + height / 2
        frame = self.axes.get_window_extent()
        out = (left < frame.x0) | (right > frame.x1) | (low < frame.y0)
        price = 200.0 * out + 60.0 * (high > frame.y1)
        if not self.taken:
            return price
        x0, y0, x1, y1, each = np.array(self.taken).T[:, None, :]
        wide = np.minimum(right[:, None], x1) - np.maximum(left[:, None], x0)
        tall = np.minimum(high[:, None], y1) - np.maximum(low[:, None], y0)
        hit = (wide > 0) & (tall > 0)
        area = np.where(hit, wide * tall, 0.0) / self.scale**2
        return price + (each * hit + area).sum(axis=1)
