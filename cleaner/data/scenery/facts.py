"""Facts of an image, drawn from (split, seed, index) before any pixel is rendered."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from cleaner.config import DATA_VERSIONS
from cleaner.data.scenery.words import COLORS, GROUNDS, NATURAL_COLORS, PATTERNED, RELATIONS, SYNONYMS
from cleaner.seed import numpy_generator

SCENES_VERSION = DATA_VERSIONS["scenes"]
VARIANTS = ("plain", "sketch", "night", "crowd")
OBJECT_NAMES = tuple(sorted(SYNONYMS))
_COLORS = tuple(COLORS)
_GROUNDS = tuple(g for g in GROUNDS if g != "paper")
_RELATIONS = tuple(RELATIONS)
_MAX_ROTATION = {name: 38.0 if name in ("banana", "carrot", "key", "ball", "star") else 12.0 for name in SYNONYMS}
"""Degrees; most objects only make sense nearly upright."""


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One object of a scene.

    `x`, `y` (center) and `extent` (larger side) are fractions of the image's side; `size` is their word, from
    `classify_size`. `color` is "" where the image does not show it (sketches).
    """

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
    """Six numbers in [0, 1) that vary the object's shape."""


@dataclass(frozen=True)
class Scene:
    """The facts of one image; `objects[0]` is the main object."""

    objects: tuple[SceneObject, ...]
    relation: str | None
    """Side of the second object on which the main one is: "left", "right", "above", "below"; None without a pair."""
    ground: str
    variant: str
    """One of `VARIANTS`."""
    appearance: tuple[float, ...]
    """Twelve numbers in [0, 1) for light, ground and noise."""


UniformSampler = Callable[[], float]


def make_scene(split: str, seed: int, index: int, variant: str = "plain") -> Scene:
    """Return the facts of image `index`. "sketch" and "night" show the scenes of "plain", "crowd" its own."""
    layout = "crowd" if variant == "crowd" else "plain"
    u: UniformSampler = iter(
        numpy_generator("scenes", SCENES_VERSION, layout, split, seed, index).random(128).tolist()
    ).__next__
    appearance = tuple(u() for _ in range(12))
    ground = _pick(_GROUNDS, u())
    if variant == "sketch":
        ground = "paper"
    is_colored = variant != "sketch"
    if layout == "crowd":
        return Scene(_make_crowd(u), None, ground, variant, appearance)
    names = _draw_names(u, 2)
    if u() < 0.5:
        extent = _draw_extent(u, low=26, small=30, medium=39, high=48)
        main = _make_object(names[0], u, extent=extent, x=0.5, y=0.5, is_colored=is_colored)
        return Scene((_place_randomly(main, u),), None, ground, variant, appearance)
    relation = _pick(_RELATIONS, u())
    return Scene(_make_pair(names, relation, u, is_colored), relation, ground, variant, appearance)


def _make_pair(names: list[str], relation: str, u: UniformSampler, is_colored: bool) -> tuple[SceneObject, ...]:
    """Return a main object and a smaller one along the axis of `relation`, with a gap between them."""
    extent = _draw_extent(u, low=26, small=30, medium=38, high=43)
    other = (17 + u() * (min(25, 63 - extent * 64) - 17)) / 64
    if extent * 64 > 40:
        other = (17 + u() * 3) / 64
    gap = u() * max(0.98 - extent - other, 0)
    start = 0.5 - (extent + other + gap) / 2 + (u() - 0.5) * max(0.98 - extent - other - gap, 0)
    is_first = relation in ("left", "above")
    along = start + (extent / 2 if is_first else other + gap + extent / 2)
    along_other = start + (extent + gap + other / 2 if is_first else other / 2)
    across = 0.5 + (u() - 0.5) * max(0.98 - extent, 0)
    across_other = min(max(across + (u() - 0.5) * 0.3, other / 2 + 0.01), 0.99 - other / 2)
    is_horizontal = relation in ("left", "right")
    a = (along, across) if is_horizontal else (across, along)
    b = (along_other, across_other) if is_horizontal else (across_other, along_other)
    return (
        _make_object(names[0], u, extent=extent, x=a[0], y=a[1], is_colored=is_colored),
        _make_object(names[1], u, extent=other, x=b[0], y=b[1], is_colored=is_colored),
    )


def _pick(options: tuple[str, ...], t: float) -> str:
    """Return the option at `t` in [0, 1)."""
    return options[int(t * len(options))]


def _draw_names(u: UniformSampler, n: int) -> list[str]:
    """Return n different names."""
    names: list[str] = []
    for _ in range(n):
        unused = tuple(name for name in OBJECT_NAMES if name not in names)
        names.append(_pick(unused, u()))
    return names


def _draw_extent(u: UniformSampler, *, low: float, small: float, medium: float, high: float) -> float:
    """Return an extent, a third each small, medium, large, with gaps of 1 px; bounds in px of a 64 px image."""
    kind, t = u(), u()
    if kind < 1 / 3:
        px = low + t * (small - low)
    elif kind < 2 / 3:
        px = 32 + t * (medium - 32)
    else:
        px = 40 + t * (high - 40)
    return px / 64


def classify_size(extent: float) -> str:
    """Return "small" below 31/64, "large" from 39.5/64, else "medium"."""
    return "small" if extent * 64 < 31 else "large" if extent * 64 >= 39.5 else "medium"


def _make_object(
    name: str, u: UniformSampler, *, extent: float, x: float, y: float, is_colored: bool = True
) -> SceneObject:
    natural, choice, plain, stripes = u(), u(), u(), u()
    color = _pick(NATURAL_COLORS[name] if natural < 0.45 else _COLORS, choice)
    pattern = "plain"
    if name in PATTERNED and plain < 0.4 and extent * 64 >= 21:  # on smaller objects a pattern hides the shape
        pattern = "striped" if stripes < 0.5 else "dotted"
    return SceneObject(
        name=name,
        color=color if is_colored else "",
        size=classify_size(extent),
        pattern=pattern,
        x=x,
        y=y,
        extent=extent,
        rotation=(2 * u() - 1) * _MAX_ROTATION[name],
        is_flipped=u() < 0.5,
        proportions=tuple(u() for _ in range(6)),
    )


def _place_randomly(o: SceneObject, u: UniformSampler) -> SceneObject:
    """Return the object at a random position where all of it fits into the image."""
    room = max(0.97 - o.extent * (1 + 0.3 * abs(o.rotation) / 38), 0)
    return replace(o, x=0.5 + (u() - 0.5) * room, y=0.5 + (u() - 0.5) * room)


_PLACES = tuple((0.155 + 0.345 * i, 0.155 + 0.345 * j) for i in range(3) for j in range(3) if (i, j) != (1, 1))


def _make_crowd(u: UniformSampler) -> tuple[SceneObject, ...]:
    """Return three to five objects: the main one, clearly larger, near the middle, the others around it."""
    n = 3 + int(u() * 3)
    names = _draw_names(u, n)
    places = list(_PLACES)
    objects = [
        _make_object(names[0], u, extent=(25 + 4 * u()) / 64, x=0.5 + 0.06 * (u() - 0.5), y=0.5 + 0.06 * (u() - 0.5))
    ]
    for name in names[1:]:
        x, y = places.pop(int(u() * len(places)))
        extent, x, y = (16 + 3 * u()) / 64, x + 0.03 * (u() - 0.5), y + 0.03 * (u() - 0.5)
        objects.append(_make_object(name, u, extent=extent, x=x, y=y))
    return tuple(objects)
