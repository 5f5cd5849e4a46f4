"""Render the facts of a scene to pixels."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cleaner.data.scenery.animals import ANIMAL_PAINTERS
from cleaner.data.scenery.facts import Scene, SceneObject
from cleaner.data.scenery.ground import crop
from cleaner.data.scenery.pen import Color, FloatArray, Part, Pen, lighten, union
from cleaner.data.scenery.plants import PLANT_PAINTERS
from cleaner.data.scenery.things import THING_PAINTERS
from cleaner.data.scenery.vehicles import VEHICLE_PAINTERS
from cleaner.seed import numpy_generator

OBJECT_PAINTERS = {**ANIMAL_PAINTERS, **PLANT_PAINTERS, **THING_PAINTERS, **VEHICLE_PAINTERS}
PALETTE: dict[str, Color] = {
    "red": (0.86, 0.16, 0.16),
    "orange": (0.98, 0.53, 0.10),
    "yellow": (0.99, 0.84, 0.18),
    "green": (0.26, 0.66, 0.24),
    "blue": (0.17, 0.40, 0.88),
    "purple": (0.52, 0.24, 0.74),
    "pink": (0.98, 0.56, 0.74),
    "brown": (0.50, 0.30, 0.16),
    "white": (0.96, 0.95, 0.92),
    "black": (0.14, 0.14, 0.17),
    "gray": (0.56, 0.57, 0.60),
    "": (0.6, 0.6, 0.6),
}
Light = tuple[float, float, float]


def render(scene: Scene, size: int = 64) -> NDArray[np.uint8]:
    """Return the image of a scene, (size, size, 3) uint8."""
    look = scene.appearance
    light = _light_direction(look)
    ground = crop(scene.ground, size, look[2], look[3])
    lit = 1 - (ground[3] * light[0] + ground[4] * light[1]) * 0.55
    image = ground[:3] * (lit * (0.92 + 0.16 * look[4]))
    for thing in reversed(scene.objects):
        if scene.variant == "sketch":
            _draw_sketch(image, thing, light, look)
        else:
            _draw_shaded(image, thing, light)
    x, y = _axes(size)
    if scene.variant == "night":
        image = _apply_night(image, scene, x, y)
    elif scene.variant != "sketch":
        falloff = 1.03 + 0.07 * (light[0] * x + light[1] * y) - 0.1 * (x * x + y * y)
        warm = 0.05 * (look[5] - 0.5)
        image *= falloff
        image *= np.array([1 + warm, 1, 1 - warm], np.float32)[:, None, None]
    pixels: NDArray[np.uint8] = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return pixels.transpose(1, 2, 0)


def _light_direction(appearance: tuple[float, ...]) -> Light:
    """Return the unit vector toward the light, which comes from above, left or right (y down)."""
    angle, height = math.radians(-90 + 130 * (appearance[0] - 0.5)), math.radians(48 + 12 * appearance[1])
    return (math.cos(angle) * math.cos(height), math.sin(angle) * math.cos(height), math.sin(height))


@lru_cache(maxsize=8)
def _axes(size: int) -> tuple[FloatArray, FloatArray]:
    axis = ((np.arange(size) + 0.5) * 2 / size - 1).astype(np.float32)
    return axis[None, :], axis[:, None]


def _draw_parts(thing: SceneObject, size: int) -> tuple[tuple[slice, slice], Pen, float]:
    """Return the object's window (rows, columns), its pen, and the pixel size in object units."""
    scale = thing.extent * 0.48  # a margin keeps rotated objects inside the image
    reach = scale * 1.5
    x0, x1 = max(int((thing.x - reach) * size), 0), min(int((thing.x + reach) * size) + 1, size)
    y0, y1 = max(int((thing.y - reach) * size), 0), min(int((thing.y + reach) * size) + 1, size)
    x = (((np.arange(x0, x1) + 0.5) / size - thing.x) / scale).astype(np.float32)[None, :]
    y = (((np.arange(y0, y1) + 0.5) / size - thing.y) / scale).astype(np.float32)[:, None]
    c, s = math.cos(math.radians(thing.rotation)), math.sin(math.radians(thing.rotation))
    gx, gy = c * x + s * y, c * y - s * x
    pen = Pen(-gx if thing.is_flipped else gx, gy, PALETTE[thing.color], thing.proportions)
    OBJECT_PAINTERS[thing.name](pen)
    return (slice(y0, y1), slice(x0, x1)), pen, 1 / (size * scale)


def _shade(solids: list[Part], light: Light, px: float) -> tuple[FloatArray, FloatArray]:
    """Return brightness and highlight (n, h, w) of softly rounded solids."""
    d = np.stack([part.distance if part.shading_distance is None else part.shading_distance for part in solids])
    edge = np.array([1 / part.bevel for part in solids], np.float32)[:, None, None]
    q = 1 - np.clip(d * -edge, 0, 1)  # 0 on the flat top, 1 at the rim
    nx, ny = np.zeros_like(d), np.zeros_like(d)
    nx[:, :, 1:-1] = d[:, :, 2:] - d[:, :, :-2]
    ny[:, 1:-1] = d[:, 2:] - d[:, :-2]
    slope = q * np.float32(0.5 / px)
    nx *= slope
    ny *= slope
    nz = np.sqrt(np.maximum(1 - q * q, 0))
    lambert = np.maximum(nx * light[0] + ny * light[1] + nz * light[2], 0)
    rim = q * q
    rim *= rim
    bright = (0.46 + 0.66 * lambert) * (1 - 0.2 * rim * rim)
    k = 1 / math.sqrt(2 + 2 * light[2])
    shine = np.maximum((lambert + nz) * np.float32(k), 0)
    for _ in range(4):
        shine *= shine
    shine *= shine
    shine *= np.array([0.75 * part.gloss for part in solids], np.float32)[:, None, None]
    return bright, shine


def _pattern_mask(pen: Pen, thing: SceneObject, px: float) -> FloatArray:
    """Return the coverage (h, w) of stripes or dots in [0, 1]."""
    cell = 0.4 if thing.extent > 0.45 else 0.5
    if thing.pattern == "striped":
        angle = 0.9 if thing.proportions[5] < 0.5 else 0.35
        t = (pen.x * math.cos(angle) + pen.y * math.sin(angle)) / cell
        return np.asarray(np.clip(0.5 + (0.25 - np.abs(t - np.round(t))) * cell / px, 0, 1))
    row = np.round(pen.y / (cell * 0.87))
    x = pen.x / cell + 0.5 * (row % 2)
    x = (x - np.round(x)) * cell
    y = pen.y - row * (cell * 0.87)
    return np.asarray(np.clip(0.5 + (0.32 * cell - np.sqrt(x * x + y * y)) / px, 0, 1))


def _contrast(color: Color) -> Color:
    """Return a color for patterns: much darker than a light color, much lighter than a dark one."""
    luma = 0.3 * color[0] + 0.6 * color[1] + 0.1 * color[2]
    return lighten(color, -0.62) if luma > 0.62 else lighten(color, 0.72)


def _draw_shaded(image: FloatArray, thing: SceneObject, light: Light) -> None:
    """Draw an object and its soft shadow onto the image (3, H, W), in place."""
    size = image.shape[1]
    window, pen, px = _draw_parts(thing, size)
    solids = pen.solids
    bright, shine = _shade(solids, light, px)
    view = image[:, window[0], window[1]]

    _shadow(view, union(*(part.distance for part in solids)), light, px)

    pattern = None if thing.pattern == "plain" else _pattern_mask(pen, thing, px)
    second = np.array(_contrast(pen.color), np.float32)[:, None, None]
    for part in pen.parts:
        cover = np.clip(0.5 - part.distance * (1 / px), 0, 1)
        color = np.array(part.color, np.float32)[:, None, None]
        if part.is_patterned and pattern is not None:
            color = color + (second - color) * pattern
        rgb = color * bright[part.solid]
        rgb += shine[part.solid]
        rgb -= view
        rgb *= cover
        view += rgb


def _shadow(view: FloatArray, outline: FloatArray, light: Light, px: float) -> None:
    """Darken the ground by the object's shadow, shifted away from the light and blurred, in place."""
    h, w = outline.shape
    dx, dy = round(-light[0] * 0.26 / px), round(-light[1] * 0.26 / px)
    far = np.full((h, w), 9, np.float32)
    far[max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = outline[
        max(-dy, 0) : h - max(dy, 0), max(-dx, 0) : w - max(dx, 0)
    ]
    cast = np.clip(0.5 - far * (1 / 0.3), 0, 1)
    contact = np.clip(0.6 - outline * (1 / 0.16), 0, 1)
    dark = 1 - 0.5 * cast * cast * (3 - 2 * cast)
    dark *= 1 - 0.35 * contact
    view *= dark


def _draw_sketch(image: FloatArray, thing: SceneObject, light: Light, appearance: tuple[float, ...]) -> None:
    """Draw an object as ink lines with some hatching on its dark side, in place."""
    size = image.shape[1]
    window, pen, px = _draw_parts(thing, size)
    view = image[:, window[0], window[1]]
    bright, _ = _shade(pen.solids, light, px)
    ink = np.array([(0.16, 0.17, 0.22), (0.13, 0.2, 0.42), (0.34, 0.2, 0.12)][int(appearance[6] * 3)], np.float32)
    line = max(0.9 / 64 / (thing.extent * 0.48), 0.9 * px) * (0.55 + 0.2 * appearance[7])
    x, y = np.broadcast_to(pen.x, pen.y.shape), pen.y
    t = (x + y) / 0.17
    hatch = np.clip(0.5 + (0.2 - np.abs(t - np.round(t))) * (0.17 / px), 0, 1)
    pattern = None if thing.pattern == "plain" else _pattern_mask(pen, thing, px)
    paper = np.array([0.975, 0.97, 0.945], np.float32)[:, None, None]
    tint = ink[:, None, None]
    for part in pen.parts:
        inside = np.clip(0.5 - part.distance * (1 / px), 0, 1)
        if not part.is_paint:
            view += (paper - view) * inside
            dark = np.clip((0.86 - bright[part.solid]) * 4, 0, 0.6) * hatch
            if part.is_patterned and pattern is not None:
                dark = np.maximum(dark, 0.6 * pattern)
            if sum(part.color) < 0.75:
                dark = np.maximum(dark, 0.85)
            view += (tint - view) * (dark * inside)
        stroke = np.clip(0.5 + (line * (0.5 if part.is_paint else 1) - np.abs(part.distance)) * (1 / px), 0, 1)
        view += (tint - view) * (stroke * (0.45 if part.is_paint else 0.92))


def _apply_night(image: FloatArray, scene: Scene, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the image at night: dark blue air, one colored lamp, sensor noise."""
    look = scene.appearance
    hues = [(1.0, 0.72, 0.38), (0.45, 0.75, 1.0), (1.0, 0.45, 0.72), (0.55, 1.0, 0.62), (0.78, 0.55, 1.0)]
    hue = np.array(hues[int(look[8] * 5)], np.float32)[:, None, None]
    cx, cy = scene.objects[0].x * 2 - 1 + 0.5 * (look[9] - 0.5), scene.objects[0].y * 2 - 1 + 0.5 * (look[10] - 0.5)
    glow = 1 / (1 + 1.6 * ((x - cx) ** 2 + (y - cy) ** 2))
    air = np.array([0.13, 0.16, 0.27], np.float32)[:, None, None]
    image = np.clip(image, 0, 1) ** 1.25 * (air + hue * (0.86 * glow))
    rng = numpy_generator("scenes-noise", int(look[11] * 2**40), image.shape[1])
    return np.asarray(image + rng.standard_normal(image.shape, np.float32) * 0.03 + 0.012, np.float32)
