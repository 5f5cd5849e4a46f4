"""Animals, one function each, drawn from back to front with a `Pen`; all face right or the viewer."""

from collections.abc import Callable

from cleaner.data.scenery.materials import GOLD, INK, PAPER
from cleaner.data.scenery.pen import Pen, arc, bezier_curve, intersection, lighten, smooth_union, union


def _eye(p: Pen, x: float, y: float, r: float) -> None:
    p.add_solid(p.circle(x, y, r), PAPER, 0.05, 0.0)
    p.add_solid(p.circle(x + 0.25 * r, y, 0.62 * r), INK, 0.08, 0.6)


def bird(p: Pen) -> None:
    for x in (-0.02, 0.2):
        p.add_solid(p.stroke([(x, 0.4), (x + 0.02, 0.88), (x + 0.17, 0.9)], 0.04), (0.85, 0.5, 0.15), 0.04, 0.1)
    p.add_solid(
        p.polygon([(-0.3, 0.05), (-0.98, -0.18), (-0.94, 0.12), (-0.3, 0.4)], 0.03), lighten(p.color, -0.25), 0.12, 0.1
    )
    p.add_solid(p.polygon([(0.6, -0.52), (0.97, -0.36), (0.6, -0.24)], 0.03), (0.97, 0.62, 0.15), 0.1, 0.3)
    fat = 0.42 + 0.07 * p.u[0]
    body = smooth_union(p.moved(0, 0.16, -18).ellipse(0, 0, 0.62, fat), p.circle(0.42, -0.4, 0.33), 0.3)
    p.add_solid(body, bevel=0.42, gloss=0.15)
    p.paint(p.moved(0.34, 0.3, -50).ellipse(0, 0, 0.5, 0.26), lighten(p.color, 0.55))
    wing = p.moved(-0.16, 0.1, -4 - 20 * p.u[1])
    p.add_solid(
        intersection(wing.ellipse(0, -0.04, 0.5, 0.27), wing.half_plane(0, -1, 0.16)),
        lighten(p.color, -0.2),
        0.15,
        0.15,
    )
    p.paint(wing.stroke([(-0.5, 0.06), (0.1, 0.1)], 0.025), lighten(p.color, -0.45))
    _eye(p, 0.5, -0.46, 0.1)


def butterfly(p: Pen) -> None:
    q = p.mirrored()
    q.add_solid(q.stroke(bezier_curve((0.02, -0.4), (0.1, -0.75), (0.32, -0.9), 4), 0.03), INK, 0.04, 0.1)
    low = q.moved(0.42, 0.42, 52)
    low.add_solid(low.ellipse(0, 0, 0.42, 0.3 + 0.05 * p.u[1]), lighten(p.color, -0.15), 0.2, 0.2)
    low.paint(low.circle(0.1, 0, 0.13), lighten(p.color, 0.6))
    top = q.moved(0.5, -0.26, -36)
    shape = top.ellipse(0, 0, 0.56, 0.36 + 0.06 * p.u[0])
    top.add_solid(shape, lighten(p.color, -0.7), 0.2, 0.2)
    top.add_solid(shape + 0.09, p.color, 0.2, 0.2, is_patterned=True)
    top.paint(top.circle(0.24, 0, 0.12), lighten(p.color, 0.65))
    p.add_solid(p.stroke([(0, -0.38), (0, 0.5)], 0.11, 0.07), INK, 0.1, 0.3)


def cat(p: Pen) -> None:
    tail = bezier_curve((0.35, 0.8), (1.15, 0.85), (0.82, 0.05 + 0.2 * p.u[0]), 7)
    p.add_solid(p.stroke(tail, 0.12, 0.1), lighten(p.color, -0.1), 0.12, 0.1)
    fat = 0.42 + 0.08 * p.u[1]
    body = smooth_union(p.ellipse(0, 0.5, fat + 0.06, 0.46), p.ellipse(0, 0.15, fat - 0.08, 0.4), 0.2)
    p.add_solid(body, bevel=0.4, gloss=0.1, is_patterned=True)
    p.paint(p.ellipse(0, 0.42, 0.18, 0.3), lighten(p.color, 0.55))
    q = p.mirrored()
    q.add_solid(q.ellipse(0.2, 0.84, 0.17, 0.12), lighten(p.color, 0.2), 0.12, 0.1)
    q.add_solid(q.polygon([(0.12, -0.62), (0.44, -0.93), (0.5, -0.35)], 0.05), bevel=0.15, gloss=0.1)
    q.paint(q.polygon([(0.24, -0.62), (0.4, -0.78), (0.42, -0.5)], 0.02), (0.93, 0.6, 0.62))
    p.add_solid(p.ellipse(0, -0.3, 0.54, 0.44), bevel=0.42, gloss=0.1, is_patterned=True)
    p.paint(union(p.ellipse(-0.1, -0.14, 0.16, 0.12), p.ellipse(0.1, -0.14, 0.16, 0.12)), lighten(p.color, 0.6))
    eye = (0.62, 0.82, 0.3) if p.color[1] < 0.6 or p.color[0] > 0.6 else GOLD
    q.add_solid(q.ellipse(0.23, -0.36, 0.115, 0.13), eye, 0.05, 0.0)
    q.add_solid(q.ellipse(0.23, -0.36, 0.055, 0.12), INK, 0.05, 0.5)
    p.add_solid(p.polygon([(-0.06, -0.22), (0.06, -0.22), (0, -0.15)], 0.02), (0.85, 0.4, 0.45), 0.05, 0.2)


def fish(p: Pen) -> None:
    fin = lighten(p.color, -0.18)
    p.add_solid(p.polygon([(-0.45, 0), (-0.94, -0.44), (-0.8, 0), (-0.94, 0.44)], 0.05), fin, 0.12, 0.2)
    p.add_solid(p.polygon([(-0.3, -0.3), (-0.1, -0.72), (0.35, -0.35)], 0.05), fin, 0.12, 0.2)
    p.add_solid(p.polygon([(-0.05, 0.3), (-0.15, 0.64), (0.2, 0.36)], 0.05), fin, 0.12, 0.2)
    tall = 0.44 + 0.1 * p.u[0]
    p.add_solid(p.ellipse(0.18, 0, 0.76, tall), bevel=0.45, gloss=0.5, is_patterned=True)
    p.paint(p.ellipse(0.2, tall, 0.6, 0.24), lighten(p.color, 0.5))
    p.paint(p.stroke(bezier_curve((0.42, -0.4), (0.22, 0.0), (0.42, 0.36), 5), 0.03), lighten(p.color, -0.4))
    p.add_solid(p.polygon([(0.18, 0.05), (-0.12, 0.02), (-0.08, 0.24)], 0.04), fin, 0.1, 0.2)
    _eye(p, 0.62, -0.12, 0.13)


def snail(p: Pen) -> None:
    skin = (0.86, 0.74, 0.55)
    q = p.moved(0.72, 0.0)
    for lean in (-0.1, 0.16):
        q.add_solid(q.stroke([(0.0, 0.1), (lean, -0.38)], 0.035), skin, 0.04, 0.1)
        q.add_solid(q.circle(lean, -0.4, 0.08), INK, 0.08, 0.4)
    body = smooth_union(
        p.stroke([(-0.95, 0.76), (-0.4, 0.68), (0.4, 0.66)], 0.05, 0.15, 0.18),
        p.stroke([(0.4, 0.66), (0.66, 0.4), (0.74, 0.12)], 0.18, 0.16),
        0.15,
    )
    p.add_solid(body, skin, 0.16, 0.3)
    r = 0.58 + 0.05 * p.u[0]
    p.add_solid(p.circle(-0.2, 0.08, r), bevel=0.5, gloss=0.4, is_patterned=True)
    p.paint(p.stroke(arc(-0.2, 0.08, r0=r, r1=0.05, start=80, end=80 + 660, n=22), 0.055, 0.04), lighten(p.color, -0.5))


def turtle(p: Pen) -> None:
    skin = (0.55, 0.68, 0.36) if p.color[1] < 0.55 else (0.70, 0.62, 0.40)
    p.add_solid(p.stroke([(0.45, 0.3), (0.72, 0.05)], 0.14), skin, 0.14, 0.2)
    p.add_solid(p.ellipse(0.8, -0.02, 0.22, 0.18), skin, 0.18, 0.2)
    for x in (-0.45, 0.4):
        p.add_solid(p.stroke([(x, 0.35), (x + 0.05, 0.64)], 0.16, 0.15), skin, 0.15, 0.2)
    p.add_solid(p.polygon([(-0.6, 0.32), (-0.95, 0.48), (-0.6, 0.45)], 0.03), skin, 0.08, 0.1)
    shell = intersection(p.ellipse(-0.08, 0.36, 0.72, 0.8 + 0.1 * p.u[0]), p.half_plane(0, 1, 0.36))
    p.add_solid(shell, bevel=0.5, gloss=0.35, is_patterned=True)
    dark = lighten(p.color, -0.4)
    p.paint(p.stroke([(-0.32, 0.4), (-0.28, 0.0), (-0.45, -0.3)], 0.03), dark)
    p.paint(p.stroke([(0.16, 0.4), (0.12, 0.0), (0.3, -0.3)], 0.03), dark)
    p.paint(p.stroke([(-0.9, 0.02), (0.75, 0.02)], 0.03), dark)
    p.add_solid(p.box(-0.08, 0.38, 0.74, 0.07, 0.07), lighten(p.color, 0.25), 0.07, 0.2)
    p.add_solid(p.circle(0.87, -0.07, 0.055), INK, 0.05, 0.5)


ANIMAL_PAINTERS: dict[str, Callable[[Pen], None]] = {f.__name__: f for f in (bird, butterfly, cat, fish, snail, turtle)}
