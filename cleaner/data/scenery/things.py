"""Household things, toys, house, moon and star, one function each, drawn from back to front."""

import math
from collections.abc import Callable

import numpy as np

from cleaner.data.scenery.materials import BARK, CREAM, GLASS, GOLD, INK, PAPER, STEEL
from cleaner.data.scenery.pen import Pen, arc, bezier_curve, difference, intersection, lighten, smooth_union, union


def ball(p: Pen) -> None:
    p.add_solid(p.circle(0, 0, 0.92), bevel=0.92, gloss=0.7)
    q = p.moved(-0.22, -0.3, 60 * p.u[0])
    white = PAPER if min(p.color) < 0.8 else (0.72, 0.74, 0.78)
    wedge = q.repeated_radially(3)
    p.paint(intersection(wedge.half_plane(-0.5, 0.866, 0), wedge.half_plane(-0.5, -0.866, 0)), white)
    p.paint(q.circle(0, 0, 0.16), lighten(p.color, -0.2))


def book(p: Pen) -> None:
    w = 0.64 + 0.06 * p.u[0]
    p.add_solid(p.box(0.03, 0.08, w + 0.02, 0.9, 0.06), lighten(p.color, -0.4), 0.08, 0.1)
    p.add_solid(p.box(0.06, 0.06, w - 0.04, 0.86, 0.02), PAPER, 0.03, 0.0)
    for y in (0.82, 0.87):
        p.paint(p.box(0.06, y, w, 0.01), (0.72, 0.69, 0.62))
    p.add_solid(p.box(-0.02, -0.07, w, 0.82, 0.06), bevel=0.09, gloss=0.25, is_patterned=True)
    p.paint(p.box(-w + 0.06, -0.07, 0.11, 1.0), lighten(p.color, -0.3))
    p.paint(p.box(0.1, -0.38, 0.36, 0.18, 0.03), CREAM)
    p.paint(p.box(0.1, -0.43, 0.25, 0.03), lighten(INK, 0.2))
    p.paint(p.box(0.1, -0.32, 0.18, 0.025), lighten(INK, 0.2))


def bottle(p: Pen) -> None:
    w = 0.34 + 0.06 * p.u[0]
    body = smooth_union(p.box(0, 0.32, w, 0.66, 0.14), p.box(0, -0.55, 0.14, 0.35, 0.04), 0.3)
    p.add_solid(body, bevel=0.32, gloss=0.8, is_patterned=True)
    p.paint(p.box(0, 0.38, 0.6, 0.25), PAPER)
    p.paint(p.circle(0, 0.38, 0.14), lighten(p.color, -0.2))
    p.add_solid(p.box(0, -0.87, 0.18, 0.11, 0.04), BARK, 0.08, 0.3)


def chair(p: Pen) -> None:
    dark = lighten(p.color, -0.22)
    for x in (-0.36, 0.4):
        p.add_solid(p.stroke([(x, 0.2), (x, 0.78)], 0.06), lighten(dark, -0.2), 0.06, 0.2)
    for x in (-0.4, 0.4):
        p.add_solid(p.stroke([(x, 0.2), (x * 1.02, -0.9)], 0.075), dark, 0.08, 0.3)
    for y in (-0.78, -0.46, -0.14) if p.u[0] < 0.5 else (-0.74, -0.3):
        p.add_solid(p.box(0, y, 0.42, 0.11, 0.05), p.color, 0.1, 0.3)
    p.add_solid(
        p.polygon([(-0.44, 0.1), (0.44, 0.1), (0.56, 0.36), (-0.56, 0.36)], 0.07), lighten(p.color, 0.08), 0.12, 0.3
    )
    for x in (-0.5, 0.5):
        p.add_solid(p.stroke([(x, 0.42), (x * 1.04, 0.92)], 0.075), dark, 0.08, 0.3)


def clock(p: Pen) -> None:
    q = p.mirrored()
    q.add_solid(q.stroke([(0.4, 0.7), (0.58, 0.92)], 0.09), lighten(p.color, -0.3), 0.09, 0.3)
    q.add_solid(q.moved(0.5, -0.64, 38).ellipse(0, 0, 0.3, 0.2), STEEL, 0.2, 0.8)
    p.add_solid(p.box(0, -0.8, 0.07, 0.16, 0.03), STEEL, 0.07, 0.5)
    p.add_solid(p.circle(0, 0.08, 0.78), bevel=0.2, gloss=0.5)
    p.add_solid(p.circle(0, 0.08, 0.58), PAPER, 0.05, 0.0)
    ticks = p.moved(0, 0.08).repeated_radially(12 if p.u[2] < 0.5 else 4)
    p.paint(ticks.box(0.49, 0, 0.05, 0.028), INK)
    for fraction, length, width in ((p.u[0], 0.3, 0.055), (p.u[1], 0.44, 0.04)):
        a = 2 * math.pi * fraction
        p.paint(p.stroke([(0, 0.08), (length * math.sin(a), 0.08 - length * math.cos(a))], width), INK)
    p.paint(p.circle(0, 0.08, 0.08), (0.8, 0.2, 0.2))


def cup(p: Pen) -> None:
    p.add_solid(
        difference(p.ellipse(0.6, 0.1, 0.36, 0.38), p.ellipse(0.6, 0.1, 0.2, 0.22)), lighten(p.color, -0.08), 0.1, 0.4
    )
    w = 0.5 + 0.06 * p.u[0]
    body = p.polygon([(-0.64, -0.5), (0.64, -0.5), (w - 0.04, 0.7), (-w + 0.04, 0.7)], 0.12)
    p.add_solid(body, bevel=0.6, gloss=0.5, is_patterned=True, shading_distance=np.abs(p.x) - 0.72 + 0 * p.y)
    p.add_solid(p.ellipse(0, -0.55, 0.78, 0.2), lighten(p.color, 0.25), 0.05, 0.2)
    p.add_solid(p.ellipse(0, -0.53, 0.66, 0.14), (0.33, 0.19, 0.11), 0.03, 0.1)


def hat(p: Pen) -> None:
    crown = p.polygon([(-0.44, 0.2), (-0.38, -0.36), (0.38, -0.36), (0.44, 0.2)], 0.16 + 0.03 * p.u[0])
    p.add_solid(p.ellipse(0, 0.34, 0.98, 0.28 + 0.05 * p.u[1]), bevel=0.2, gloss=0.2)
    p.add_solid(
        smooth_union(crown, p.circle(0, -0.3, 0.42), 0.2),
        bevel=0.5,
        gloss=0.2,
        is_patterned=True,
        shading_distance=p.ellipse(0, 0.05, 0.64, 0.95),
    )
    band = lighten(p.color, 0.65) if sum(p.color) < 1.6 else (0.72, 0.16, 0.18)
    if p.color[0] > 0.7 and p.color[1] < 0.65:
        band = PAPER
    p.paint(p.stroke(bezier_curve((-0.75, 0.12), (0, 0.3), (0.75, 0.12), 4), 0.09), band)


def house(p: Pen) -> None:
    roof = (0.66, 0.27, 0.2) if p.color[0] < 0.8 or p.color[1] > 0.5 else (0.36, 0.32, 0.36)
    p.add_solid(p.box(0.45, -0.6, 0.12, 0.28, 0.02), lighten(roof, -0.25), 0.08, 0.1)
    p.add_solid(p.box(0, 0.42, 0.72, 0.5, 0.03), bevel=0.1, gloss=0.1, is_patterned=True)
    tip = -0.84 - 0.08 * p.u[0]
    p.add_solid(p.polygon([(-0.9, -0.06), (0, tip), (0.9, -0.06)], 0.06), roof, 0.2, 0.15)
    p.add_solid(p.box(-0.02, 0.56, 0.17, 0.36, 0.04), BARK, 0.06, 0.2)
    p.paint(p.circle(0.08, 0.58, 0.035), GOLD)
    for x in (-0.45, 0.43):
        p.add_solid(p.box(x, 0.36, 0.17, 0.17, 0.02), PAPER, 0.04, 0.0)
        p.add_solid(p.box(x, 0.36, 0.12, 0.12, 0.01), GLASS, 0.04, 0.5)
        p.paint(union(p.box(x, 0.36, 0.02, 0.3), p.box(x, 0.36, 0.3, 0.02)), PAPER)
    p.add_solid(p.circle(0, -0.36, 0.13), PAPER, 0.04, 0.0)
    p.paint(p.circle(0, -0.36, 0.085), GLASS)


def key(p: Pen) -> None:
    tooth = 0.16 + 0.08 * p.u[0]
    blade = union(
        p.box(0.25, 0, 0.68, 0.1, 0.03), p.box(0.82, 0.18, 0.09, tooth, 0.02), p.box(0.55, 0.16, 0.08, tooth, 0.02)
    )
    bow = difference(p.circle(-0.56, 0, 0.42), p.circle(-0.6, 0, 0.2))
    p.add_solid(union(blade, bow), bevel=0.11, gloss=0.8)


def kite(p: Pen) -> None:
    tail = [(0, 0.38), (0.16, 0.52), (-0.08, 0.68), (0.1, 0.82), (-0.02, 0.97)]
    p.add_solid(p.stroke(tail, 0.03), INK, 0.04, 0.0)
    for x, y in ((0.06, 0.58), (0.02, 0.82)):
        bow = union(
            p.moved(x - 0.11, y, 25).ellipse(0, 0, 0.13, 0.08), p.moved(x + 0.11, y, -25).ellipse(0, 0, 0.13, 0.08)
        )
        p.add_solid(bow, lighten(p.color, 0.3), 0.08, 0.1)
    w = 0.62 + 0.1 * p.u[0]
    p.add_solid(
        p.polygon([(0, -0.92), (w, -0.38), (0, 0.38), (-w, -0.38)], 0.04), bevel=0.1, gloss=0.2, is_patterned=True
    )
    light = lighten(p.color, 0.5) if sum(p.color) < 2.4 else (0.75, 0.77, 0.82)
    p.paint(intersection(p.half_plane(-1, 0, 0), p.half_plane(0, 1, -0.38)), light)
    p.paint(intersection(p.half_plane(1, 0, 0), p.half_plane(0, -1, 0.38)), light)
    p.paint(union(p.box(0, 0, 0.025, 1), p.box(0, -0.38, 1, 0.025)), lighten(BARK, -0.2))


def lamp(p: Pen) -> None:
    p.add_solid(p.box(0, 0.45, 0.07, 0.5, 0.05), STEEL, 0.07, 0.6)
    p.add_solid(p.circle(0, 0.42, 0.14), STEEL, 0.14, 0.6)
    p.add_solid(intersection(p.ellipse(0, 0.94, 0.46, 0.26), p.half_plane(0, 1, 0.94)), lighten(STEEL, -0.3), 0.15, 0.5)
    p.add_solid(p.ellipse(0, 0.05, 0.2, 0.16), (1.0, 0.93, 0.62), 0.15, 0.2)
    top = 0.3 + 0.08 * p.u[0]
    shade = p.polygon([(-top, -0.9), (top, -0.9), (0.76, 0.0), (-0.76, 0.0)], 0.05)
    p.add_solid(shade, bevel=0.6, gloss=0.15, is_patterned=True, shading_distance=np.abs(p.x) - 0.5 * p.y - 0.84)
    p.paint(p.box(0, 0.0, 0.9, 0.06), lighten(p.color, -0.3))


def moon(p: Pen) -> None:
    bite = 0.42 + 0.14 * p.u[0]
    p.add_solid(difference(p.circle(0.08, 0, 0.94), p.circle(0.08 + bite, -0.12, 0.74)), bevel=0.5, gloss=0.15)
    for cx, cy, r in ((-0.52, 0.12, 0.13), (-0.24, 0.6, 0.1), (-0.45, -0.42, 0.08)):
        p.paint(p.circle(cx, cy, r), lighten(p.color, -0.18))


def star(p: Pen) -> None:
    inner = 0.44 + 0.08 * p.u[0]
    points = [
        (r * math.sin(i * math.pi / 5), 0.05 - r * math.cos(i * math.pi / 5))
        for i, r in enumerate([0.9, inner * 0.9] * 5)
    ]
    p.add_solid(p.polygon(points, 0.07), bevel=0.4, gloss=0.4, is_patterned=True)


def umbrella(p: Pen) -> None:
    p.add_solid(
        p.stroke([(0, -0.9), (0, 0.68), *arc(0.17, 0.68, r0=0.17, r1=0.17, start=180, end=0, n=5)], 0.05),
        BARK,
        0.06,
        0.3,
    )
    dome = p.circle(0, 0.08, 0.97)
    for cx in (-0.72, -0.24, 0.24, 0.72):
        dome = difference(dome, p.ellipse(cx, 0.1, 0.26, 0.14))
    p.add_solid(
        intersection(dome, p.half_plane(0, 1, 0.1)),
        bevel=0.8,
        gloss=0.3,
        is_patterned=True,
        shading_distance=p.circle(0, 0.08, 1.02),
    )
    for end in (-0.48, 0.0, 0.48):
        p.paint(p.stroke(bezier_curve((0, -0.9), (end * 0.9, -0.6), (end, 0.1), 4), 0.022), lighten(p.color, -0.35))


THING_PAINTERS: dict[str, Callable[[Pen], None]] = {
    f.__name__: f for f in (ball, book, bottle, chair, clock, cup, hat, house, key, kite, lamp, moon, star, umbrella)
}
