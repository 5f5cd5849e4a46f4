"""Plants and food, one function each, drawn from back to front with a `Pen`."""

from collections.abc import Callable

from cleaner.data.scenery.materials import BARK, CREAM, GOLD, LEAF
from cleaner.data.scenery.pen import Pen, bezier_curve, intersection, lighten, smooth_union, union


def apple(p: Pen) -> None:
    w = 0.2 + 0.05 * p.u[0]
    body = smooth_union(p.circle(-w, 0.1, 0.62), p.circle(w, 0.1, 0.62), 0.7)
    body = smooth_union(body, p.ellipse(0, 0.42, 0.46, 0.44), 0.3)
    body = -smooth_union(-body, p.circle(0, -0.74, 0.2), 0.3)
    p.add_solid(body, bevel=0.8, gloss=0.55, shading_distance=p.ellipse(0, 0.16, 0.88, 0.8))
    p.paint(p.ellipse(0, -0.46, 0.16, 0.05), lighten(p.color, -0.45))
    p.add_solid(p.stroke(bezier_curve((0, -0.4), (0.0, -0.75), (0.12, -0.95), 4), 0.07, 0.08), BARK, 0.08, 0.1)
    p.add_solid(p.moved(0.4, -0.72, -25).ellipse(0, 0, 0.3, 0.15), LEAF, 0.15, 0.2)


def banana(p: Pen) -> None:
    sag = 0.95 + 0.35 * p.u[0]
    line = bezier_curve((-0.92, -0.42), (0.0, sag), (0.9, -0.34), 10)
    fat = 0.27 + 0.05 * p.u[1]
    body = p.stroke(line, 0.06, 0.17, fat, fat + 0.02, fat, 0.2, 0.06)
    p.add_solid(body, bevel=0.27, gloss=0.35)
    p.paint(p.stroke([(x * 0.93, y - 0.05) for x, y in line[1:-1]], 0.025), lighten(p.color, -0.25))
    p.paint(p.circle(0.94, -0.4, 0.15), lighten(BARK, -0.2))
    p.add_solid(p.stroke([(-0.86, -0.34), (-0.96, -0.58)], 0.08, 0.09), lighten(BARK, 0.05), 0.09, 0.1)


def cactus(p: Pen) -> None:
    arm = 0.1 * p.u[0]
    limbs = union(
        p.stroke([(0, 0.5), (0, -0.72)], 0.25, 0.23),
        p.stroke([(0.0, 0.15), (0.5, 0.1), (0.58, -0.05), (0.58, -0.35 - arm)], 0.14),
        p.stroke([(0.0, 0.3), (-0.5, 0.26), (-0.6, 0.1), (-0.6, -0.1 - arm)], 0.13),
    )
    p.add_solid(limbs, bevel=0.22, gloss=0.2)
    for x in (-0.09, 0.09):
        p.paint(p.stroke([(x, 0.5), (x, -0.85)], 0.022), lighten(p.color, -0.3))
    p.add_solid(p.polygon([(-0.36, 0.5), (0.36, 0.5), (0.26, 0.9), (-0.26, 0.9)], 0.06), (0.76, 0.42, 0.28), 0.25, 0.15)
    p.add_solid(p.box(0, 0.5, 0.46, 0.09, 0.05), (0.82, 0.48, 0.33), 0.1, 0.15)


def carrot(p: Pen) -> None:
    for dx in (-0.3, 0.3, 0.0):
        p.add_solid(p.stroke(bezier_curve((0, -0.4), (dx * 0.4, -0.75), (dx, -0.98), 4), 0.05, 0.12), LEAF, 0.12, 0.15)
    fat = 0.28 + 0.07 * p.u[0]
    p.add_solid(p.stroke([(0, -0.2), (0, 0.4), (0.02, 0.93)], fat, fat * 0.66, 0.03), bevel=fat, gloss=0.3)
    for i, y in enumerate((-0.2, 0.08, 0.36)):
        side = -1 if i % 2 else 1
        p.paint(p.stroke([(side * 0.4, y), (side * 0.08, y + 0.03)], 0.035), lighten(p.color, -0.3))


def flower(p: Pen) -> None:
    p.add_solid(p.stroke(bezier_curve((0, -0.2), (0.1, 0.4), (-0.02, 0.95), 5), 0.06, 0.065), LEAF, 0.06, 0.1)
    p.add_solid(p.moved(0.3, 0.58, -35).ellipse(0, 0, 0.3, 0.12), LEAF, 0.12, 0.2)
    p.add_solid(p.moved(-0.25, 0.72, 215).ellipse(0, 0, 0.26, 0.11), LEAF, 0.12, 0.2)
    n = 6 + int(p.u[0] * 3)
    petals = p.moved(0, -0.34).repeated_radially(n, p.u[1])
    p.add_solid(petals.ellipse(0.4, 0, 0.27, 0.75 / n + 0.06), bevel=0.17, gloss=0.2)
    heart = (0.42, 0.25, 0.13) if p.color[1] > 0.5 and p.color[2] < 0.4 else GOLD
    p.add_solid(p.circle(0, -0.34, 0.21), heart, 0.2, 0.2)


def mushroom(p: Pen) -> None:
    p.add_solid(p.stroke([(0, 0.0), (0, 0.7)], 0.22, 0.25 + 0.08 * p.u[0]), CREAM, 0.3, 0.15)
    cap = intersection(p.ellipse(0, 0.12, 0.95, 0.85 + 0.15 * p.u[1]), p.half_plane(0, 1, 0.12))
    p.add_solid(intersection(p.ellipse(0, 0.12, 0.9, 0.14), p.half_plane(0, -1, -0.04)), lighten(CREAM, -0.2), 0.1, 0.0)
    p.add_solid(cap, bevel=0.7, gloss=0.45, is_patterned=True, shading_distance=p.ellipse(0, 0.2, 1.0, 0.95))


def pear(p: Pen) -> None:
    low = 0.56 + 0.05 * p.u[0]
    body = smooth_union(p.circle(0, 0.38, low), p.circle(0.03, -0.3, 0.3 + 0.05 * p.u[1]), 0.55)
    p.add_solid(body, bevel=0.7, gloss=0.45)
    p.add_solid(p.stroke(bezier_curve((0.03, -0.55), (0.02, -0.8), (0.16, -1.0), 4), 0.06, 0.07), BARK, 0.07, 0.1)
    p.add_solid(p.moved(-0.22, -0.82, 20).ellipse(0, 0, 0.26, 0.12), LEAF, 0.12, 0.2)


def tree(p: Pen) -> None:
    p.add_solid(p.stroke([(0, 0.2), (0, 0.9)], 0.11, 0.18), BARK, 0.16, 0.1)
    p.add_solid(p.stroke([(0, 0.45), (0.3, 0.1)], 0.07, 0.05), BARK, 0.08, 0.1)
    s = 0.06 * p.u[0]
    for cx, cy, r in ((-0.45, 0.0, 0.42), (0.47, -0.02, 0.42), (0.0, 0.08, 0.42)):
        p.add_solid(p.circle(cx, cy, r + s), lighten(p.color, -0.14), 0.4, 0.1)
    for cx, cy, r in ((-0.27, -0.38, 0.42), (0.3, -0.36, 0.41), (0.02, -0.56, 0.38)):
        p.add_solid(p.circle(cx, cy, r + s), p.color, 0.42, 0.15)


PLANT_PAINTERS: dict[str, Callable[[Pen], None]] = {
    f.__name__: f for f in (apple, banana, cactus, carrot, flower, mushroom, pear, tree)
}
