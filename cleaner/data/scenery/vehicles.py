"""Vehicles, one function each, drawn from back to front with a `Pen`; all face right."""

from collections.abc import Callable

from cleaner.data.scenery.materials import BARK, CREAM, GLASS, INK, PAPER, STEEL
from cleaner.data.scenery.pen import Pen, intersection, lighten, union


def _wheel(p: Pen, x: float, y: float, r: float) -> None:
    p.add_solid(p.circle(x, y, r), INK, 0.1, 0.3)
    p.add_solid(p.circle(x, y, 0.48 * r), STEEL, 0.1, 0.6)


def boat(p: Pen) -> None:
    p.add_solid(p.stroke([(0.0, 0.3), (0.0, -0.92)], 0.045), BARK, 0.05, 0.2)
    reach = 0.66 + 0.14 * p.u[0]
    p.add_solid(p.polygon([(0.1, -0.82), (0.1, 0.24), (0.1 + reach, 0.24)], 0.03), PAPER, 0.25, 0.1)
    p.paint(p.box(0, -0.1, 2, 0.09), p.color)
    p.add_solid(p.polygon([(-0.1, -0.62), (-0.1, 0.24), (-0.62, 0.24)], 0.03), lighten(CREAM, -0.04), 0.2, 0.1)
    hull = [(-0.94, 0.4), (0.94, 0.4), (0.62, 0.82), (-0.56, 0.82)]
    p.add_solid(p.polygon(hull, 0.05), bevel=0.45, gloss=0.4, shading_distance=p.ellipse(0, 0.42, 1.15, 0.5))
    p.paint(p.box(0, 0.42, 1.2, 0.07), lighten(p.color, 0.45))


def bus(p: Pen) -> None:
    p.add_solid(p.box(0, -0.02, 0.97, 0.58, 0.14), bevel=0.2, gloss=0.45, is_patterned=True)
    p.paint(p.box(0, 0.12, 1.2, 0.045), PAPER if min(p.color) < 0.8 else STEEL)
    n = 3 + int(p.u[0] * 2)
    for i in range(n):
        x = -0.84 + 1.22 * (i + 0.5) / n
        p.add_solid(p.box(x, -0.24, 0.61 / n - 0.035, 0.2, 0.04), GLASS, 0.06, 0.6)
    p.add_solid(p.box(0.52, 0.04, 0.12, 0.46, 0.03), lighten(GLASS, -0.25), 0.05, 0.5)
    p.paint(p.box(0.52, 0.04, 0.012, 0.5), INK)
    p.add_solid(p.box(0.84, -0.22, 0.11, 0.22, 0.04), GLASS, 0.06, 0.6)
    p.add_solid(p.ellipse(0.93, 0.34, 0.06, 0.08), (1.0, 0.93, 0.6), 0.06, 0.4)
    for x in (-0.52, 0.2):
        _wheel(p, x, 0.56, 0.22)


def car(p: Pen) -> None:
    back = -0.62 - 0.1 * p.u[0]
    p.add_solid(p.polygon([(back, -0.02), (-0.42, -0.42), (0.22, -0.42), (0.56, -0.02)], 0.08), bevel=0.2, gloss=0.6)
    p.paint(p.polygon([(back + 0.17, -0.02), (-0.37, -0.36), (-0.14, -0.36), (-0.14, -0.02)], 0.02), GLASS)
    p.paint(p.polygon([(0.0, -0.02), (0.0, -0.36), (0.18, -0.36), (0.42, -0.02)], 0.02), GLASS)
    p.add_solid(
        p.polygon([(-0.9, 0.06), (0.56, 0.02), (0.9, 0.14), (0.92, 0.4), (-0.9, 0.4)], 0.07),
        bevel=0.25,
        gloss=0.6,
        is_patterned=True,
    )
    p.paint(p.box(-0.07, 0.2, 0.012, 0.2), lighten(p.color, -0.4))
    p.paint(p.box(0, 0.47, 1.2, 0.05), lighten(INK, 0.15))
    p.add_solid(p.ellipse(0.9, 0.18, 0.08, 0.09), (1.0, 0.93, 0.6), 0.06, 0.4)
    p.add_solid(p.box(-0.94, 0.18, 0.05, 0.08, 0.02), (0.8, 0.1, 0.1), 0.05, 0.4)
    for x in (-0.55, 0.55):
        _wheel(p, x, 0.46, 0.23)


def rocket(p: Pen) -> None:
    p.add_solid(p.polygon([(-0.16, 0.5), (0.16, 0.5), (0, 0.95)], 0.04), (0.98, 0.56, 0.12), 0.2, 0.0)
    p.paint(p.polygon([(-0.07, 0.5), (0.07, 0.5), (0, 0.76)], 0.03), (1.0, 0.9, 0.4))
    q = p.mirrored()
    fin = (0.82, 0.2, 0.18) if p.color[0] < 0.7 or min(p.color) > 0.5 else (0.25, 0.35, 0.6)
    q.add_solid(q.polygon([(0.2, 0.05), (0.56, 0.4), (0.56, 0.68), (0.2, 0.48)], 0.05), fin, 0.15, 0.3)
    wide = 0.74 + 0.08 * p.u[0]
    hull = intersection(
        intersection(p.circle(-0.4, 0.0, wide + 0.06), p.circle(0.4, 0.0, wide + 0.06)), p.half_plane(0, 1, 0.52)
    )
    hull = intersection(hull, p.box(0, -0.2, 0.5, 0.8))
    body = union(hull, p.stroke([(0, -0.3), (0, -0.9)], 0.3, 0.04))
    p.add_solid(body, bevel=0.38, gloss=0.6, is_patterned=True)
    p.paint(p.half_plane(0, 1, -0.5), fin)
    p.add_solid(p.circle(0, -0.16, 0.18), STEEL, 0.06, 0.5)
    p.add_solid(p.circle(0, -0.16, 0.12), (0.35, 0.62, 0.85), 0.1, 0.7)


VEHICLE_PAINTERS: dict[str, Callable[[Pen], None]] = {f.__name__: f for f in (boat, bus, car, rocket)}
