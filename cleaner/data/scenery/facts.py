"""What is in a picture: facts drawn from (split, seed, index), before any pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cleaner.config import DATA_VERSIONS
from cleaner.data.scenery.words import COLORS, GROUNDS, NATURAL_COLORS, PATTERNED, SYNONYMS
from cleaner.seed import numpy_generator

SCENES_VERSION = DATA_VERSIONS["scenes"]
VARIANTS = ("plain", "sketch", "night", "crowd")
OBJECT_NAMES = tuple(sorted(SYNONYMS))
_COLORS = tuple(COLORS)
_GROUNDS = tuple(g for g in GROUNDS if g != "paper")
_RELATIONS = ("left", "right", "above", "below")
# Objects that only make sense upright are turned a little, lying ones a lot.
_MAX_ROTATION = {name: 38.0 if name in ("banana", "carrot", "key", "ball", "star") else 12.0 for name in SYNONYMS}


@dataclass(frozen=True)
class SceneObject:
    """One object. `x`, `y` centre and `extent` larger side, in sides of the picture; `size` names the extent:
    "small" below 31/64, "large" from 40/64. `color` is "" where the picture does not show it (sketches)."""

    name: str
    color: str
    size: str
    pattern: str
    x: float
    y: float
    extent: float
    rotation: float
    """Degrees, clockwise."""
    is_flipped: bool
    proportions: tuple[float, ...]
    """Six numbers in [0, 1) that vary the proportions."""


@dataclass(frozen=True)
class Scene:
    """The facts of one picture; `objects[0]` is the main one."""

    objects: tuple[SceneObject, ...]
    relation: str | None
    """Where the main object is, seen from the second: "left", "right", "above", "below"; None without a pair."""
    ground: str
    variant: str
    """One of `VARIANTS`."""
    appearance: tuple[float, ...]
    """Twelve numbers in [0, 1) for light, ground and noise."""


UniformSampler = Callable[[], float]


def make_scene(split: str, seed: int, index: int, variant: str = "plain") -> Scene:
    """Return the facts of picture `index`: a function of its arguments alone. Sketch and night show the same scenes
    as plain; a crowd has scenes of its own."""
    layout = "crowd" if variant == "crowd" else "plain"
    u: UniformSampler = iter(
        numpy_generator("scenes", SCENES_VERSION, layout, split, seed, index).random(128).tolist()
    ).__next__
    look = tuple(u() for _ in range(12))
    ground = _pick(_GROUNDS, u())
    if variant == "sketch":
        ground = "paper"
    colored = variant != "sketch"
    if layout == "crowd":
        return Scene(_make_crowd(u), None, ground, variant, look)
    names = _draw_names(u, 2)
    if u() < 0.5:
        extent = _draw_extent(u, 26, 30, 39, 48)
        objects = (_make_object(names[0], u, extent, 0.5, 0.5, colored),)
        return Scene((_place_randomly(objects[0], u),), None, ground, variant, look)
    relation = _pick(_RELATIONS, u())
    extent = _draw_extent(u, 26, 30, 38, 43)
    other = (17 + u() * (min(25, 63 - extent * 64) - 17)) / 64
    if extent * 64 > 40:
        other = (17 + u() * 3) / 64
    gap = u() * max(0.98 - extent - other, 0)
    start = 0.5 - (extent + other + gap) / 2 + (u() - 0.5) * max(0.98 - extent - other - gap, 0)
    first = relation in ("left", "above")
    main = start + (extent / 2 if first else other + gap + extent / 2)
    second = start + (extent + gap + other / 2 if first else other / 2)
    across = 0.5 + (u() - 0.5) * max(0.98 - extent, 0)
    across_second = min(max(across + (u() - 0.5) * 0.3, other / 2 + 0.01), 0.99 - other / 2)
    level = relation in ("left", "right")
    a = (main, across) if level else (across, main)
    b = (second, across_second) if level else (across_second, second)
    pair = (_make_object(names[0], u, extent, *a, colored), _make_object(names[1], u, other, *b, colored))
    return Scene(pair, relation, ground, variant, look)


def _pick(options: tuple[str, ...], t: float) -> str:
    return options[int(t * len(options))]


def _draw_names(u: UniformSampler, n: int) -> list[str]:
    """n different names."""
    names: list[str] = []
    for _ in range(n):
        left = tuple(name for name in OBJECT_NAMES if name not in names)
        names.append(_pick(left, u()))
    return names


def _draw_extent(u: UniformSampler, low: float, small: float, medium: float, high: float) -> float:
    """A third small, a third medium, a third large, with a gap of 1 px so that the words are no hair-splitting."""
    kind, t = u(), u()
    if kind < 1 / 3:
        px = low + t * (small - low)
    elif kind < 2 / 3:
        px = 32 + t * (medium - 32)
    else:
        px = 40 + t * (high - 40)
    return px / 64


def classify_size(extent: float) -> str:
    return "small" if extent * 64 < 31 else "large" if extent * 64 >= 39.5 else "medium"


def _make_object(
    name: str, u: UniformSampler, extent: float, x: float, y: float, is_colored: bool = True
) -> SceneObject:
    natural, choice, plain, stripes = u(), u(), u(), u()
    color = _pick(NATURAL_COLORS[name] if natural < 0.45 else _COLORS, choice)
    pattern = "plain"
    if name in PATTERNED and plain < 0.4 and extent * 64 >= 21:  # below that a pattern hides the object
        pattern = "striped" if stripes < 0.5 else "dotted"
    turn = (2 * u() - 1) * _MAX_ROTATION[name]
    flip = u() < 0.5
    shape = tuple(u() for _ in range(6))
    return SceneObject(
        name, color if is_colored else "", classify_size(extent), pattern, x, y, extent, turn, flip, shape
    )


def _place_randomly(o: SceneObject, u: UniformSampler) -> SceneObject:
    """The same object anywhere in the picture where all of it fits."""
    room = max(0.97 - o.extent * (1 + 0.3 * abs(o.rotation) / 38), 0)
    x, y = 0.5 + (u() - 0.5) * room, 0.5 + (u() - 0.5) * room
    return SceneObject(o.name, o.color, o.size, o.pattern, x, y, o.extent, o.rotation, o.is_flipped, o.proportions)


_PLACES = tuple((0.155 + 0.345 * i, 0.155 + 0.345 * j) for i in range(3) for j in range(3) if (i, j) != (1, 1))


def _make_crowd(u: UniformSampler) -> tuple[SceneObject, ...]:
    """Three to five objects: the main one, clearly larger, near the middle, the others around it."""
    n = 3 + int(u() * 3)
    names = _draw_names(u, n)
    places = list(_PLACES)
    objects = [_make_object(names[0], u, (25 + 4 * u()) / 64, 0.5 + 0.06 * (u() - 0.5), 0.5 + 0.06 * (u() - 0.5))]
    for name in names[1:]:
        x, y = places.pop(int(u() * len(places)))
        objects.append(_make_object(name, u, (16 + 3 * u()) / 64, x + 0.03 * (u() - 0.5), y + 0.03 * (u() - 0.5)))
    return tuple(objects)
