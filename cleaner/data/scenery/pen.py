"""Signed distance fields: primitives on a grid, and the colored parts of an object."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[Any]  # float32 throughout
Color = tuple[float, float, float]
Points = Sequence[tuple[float, float]]


@dataclass
class Part:
    """One colored region of an object.

    `distance` (h, w) is negative inside, in object units. `solid` is the number, in `Pen.solids`, of the solid whose
    shading the part has: its own, or for paint that of the solid below. `shading_distance` rounds a solid in place of
    `distance`.
    """

    distance: FloatArray
    color: Color
    bevel: float = 0.3
    gloss: float = 0.3
    is_patterned: bool = False
    solid: int = 0
    shading_distance: FloatArray | None = None
    is_paint: bool = False


@dataclass
class Pen:
    """Draws one object on a grid of object coordinates x, y.

    The object fills about [-1, 1] x [-1, 1], y down. `color` is its main color, `u` six numbers in [0, 1) that vary its
    proportions, `parts` the result.
    """

    x: FloatArray
    y: FloatArray
    color: Color
    u: tuple[float, ...]
    parts: list[Part] = field(default_factory=list)

    def add_solid(
        self,
        distance: FloatArray,
        color: Color | None = None,
        bevel: float = 0.3,
        gloss: float = 0.3,
        *,
        is_patterned: bool = False,
        shading_distance: FloatArray | None = None,
    ) -> None:
        """Add a rounded solid; `bevel` is the width of its rounded edge in object units."""
        self.parts.append(
            Part(distance, color or self.color, bevel, gloss, is_patterned, len(self.solids), shading_distance)
        )

    def paint(self, distance: FloatArray, color: Color) -> None:
        """Paint a region onto the latest solid, clipped to it."""
        last = self.solids[-1]
        self.parts.append(Part(np.maximum(distance, last.distance), color, solid=last.solid, is_paint=True))

    @property
    def solids(self) -> list[Part]:
        """Return the parts that are not paint, in drawing order."""
        return [part for part in self.parts if not part.is_paint]

    def mirrored(self) -> Pen:
        """Return a pen that draws left and right at once (give x >= 0 only)."""
        return Pen(np.abs(self.x), self.y, self.color, self.u, self.parts)

    def moved(self, cx: float, cy: float, degrees: float = 0.0) -> Pen:
        """Return a pen whose origin is (cx, cy), turned clockwise."""
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        x, y = self.x - cx, self.y - cy
        return Pen(c * x + s * y, c * y - s * x, self.color, self.u, self.parts)

    def repeated_radially(self, n: int, phase: float = 0.0) -> Pen:
        """Return a pen that draws n copies around the origin (give the one on the +x axis only)."""
        step = 2 * math.pi / n
        angle: FloatArray = np.arctan2(self.y, self.x) - np.float32(phase)
        angle = angle - step * np.round(angle / step)
        radius = np.sqrt(self.x * self.x + self.y * self.y)
        return Pen(radius * np.cos(angle), radius * np.sin(angle), self.color, self.u, self.parts)

    def circle(self, cx: float, cy: float, r: float) -> FloatArray:
        x, y = self.x - cx, self.y - cy
        return np.sqrt(x * x + y * y) - r

    def ellipse(self, cx: float, cy: float, rx: float, ry: float) -> FloatArray:
        x, y = (self.x - cx) / rx, (self.y - cy) / ry
        k0 = np.sqrt(x * x + y * y) + 1e-4
        x, y = x / rx, y / ry
        d: FloatArray = k0 * (k0 - 1) / (np.sqrt(x * x + y * y) + 1e-4)
        return d

    def box(self, cx: float, cy: float, hx: float, hy: float, r: float = 0.0) -> FloatArray:
        """Return a box of half sides hx, hy with corners of radius r."""
        x, y = np.abs(self.x - cx) - (hx - r), np.abs(self.y - cy) - (hy - r)
        ox, oy = np.maximum(x, 0), np.maximum(y, 0)
        d: FloatArray = np.sqrt(ox * ox + oy * oy) + np.minimum(np.maximum(x, y), 0) - r
        return d

    def half_plane(self, nx: float, ny: float, offset: float) -> FloatArray:
        """Return the half plane n . (x, y) < offset, n a unit vector."""
        return nx * self.x + ny * self.y - offset

    def stroke(self, points: Points, *radii: float) -> FloatArray:
        """Return a line through `points` with one radius, or several spread along it."""
        p = np.asarray(points, np.float32)
        r = np.interp(np.linspace(0, 1, len(p)), np.linspace(0, 1, len(radii)), radii).astype(np.float32)
        best: Any = None
        for i in range(len(p) - 1):
            (ax, ay), (bx, by) = p[i].tolist(), p[i + 1].tolist()
            ex, ey = bx - ax, by - ay
            x, y = self.x - ax, self.y - ay
            h = np.clip((x * ex + y * ey) * (1 / (ex * ex + ey * ey + 1e-9)), 0, 1)
            x, y = x - h * ex, y - h * ey
            d = np.sqrt(x * x + y * y) - (float(r[i]) + float(r[i + 1] - r[i]) * h)
            best = d if best is None else np.minimum(best, d)
        return np.asarray(best, np.float32)

    def polygon(self, points: Points, r: float = 0.0) -> FloatArray:
        """Return a polygon, grown by a rounded margin r."""
        best: Any = np.float32(9)
        inside: Any = np.zeros(self.x.shape, bool)
        for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
            ex, ey = bx - ax, by - ay
            x, y = self.x - ax, self.y - ay
            h = np.clip((x * ex + y * ey) * (1 / (ex * ex + ey * ey + 1e-9)), 0, 1)
            dx, dy = x - h * ex, y - h * ey
            best = np.minimum(best, dx * dx + dy * dy)
            if ay != by:
                inside ^= ((y >= 0) != (self.y >= by)) & (x < y * (ex / ey))
        d = np.sqrt(best)
        signed: FloatArray = np.where(inside, -d, d) - np.float32(r)
        return signed


def union(*fields: FloatArray) -> FloatArray:
    return reduce(np.minimum, fields)


def intersection(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.maximum(a, b)


def difference(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return a without b."""
    return np.maximum(a, -b)


def smooth_union(a: FloatArray, b: FloatArray, k: float) -> FloatArray:
    """Return the union with a smooth joint of width k."""
    h = np.maximum(k - np.abs(a - b), 0)
    joint: FloatArray = np.minimum(a, b) - h * h * (0.25 / k)
    return joint


def bezier_curve(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], n: int = 8) -> Points:
    """Return points of the quadratic Bezier curve from a to c with control point b."""
    points = []
    for i in range(n + 1):
        t = i / n
        w = ((1 - t) ** 2, 2 * t * (1 - t), t * t)
        points.append((w[0] * a[0] + w[1] * b[0] + w[2] * c[0], w[0] * a[1] + w[1] * b[1] + w[2] * c[1]))
    return points


def arc(cx: float, cy: float, *, r0: float, r1: float, start: float, end: float, n: int = 10) -> Points:
    """Return points of an arc or spiral: radius r0 -> r1, angle start -> end in degrees (y down)."""
    points = []
    for i in range(n + 1):
        t = i / n
        a, r = math.radians(start + (end - start) * t), r0 + (r1 - r0) * t
        points.append((cx + r * math.cos(a), cy + r * math.sin(a)))
    return points


def lighten(color: Color, amount: float) -> Color:
    """Return a lighter color (amount > 0, white at 1) or a darker one (amount < 0, black at -1)."""
    target, k = (0.0, abs(amount)) if amount < 0 else (1.0, amount)
    r, g, b = color
    return (r + (target - r) * k, g + (target - g) * k, b + (target - b) * k)
