"""Textured grounds from above: one texture of 3 x 3 images per ground and size, then cropped."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cleaner.data.scenery.pen import Color, FloatArray

SPAN = 3
"""Images along the side of a texture."""
Texture = tuple[FloatArray, FloatArray]
"""Color (3, S, S) and height (S, S), S = SPAN * size."""


def value_noise(x: FloatArray, y: FloatArray, seed: int) -> FloatArray:
    """Return smooth noise in [-1, 1] with one lattice point per unit."""
    table = np.random.default_rng(seed).uniform(-1, 1, (256, 256)).astype(np.float32)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = x - x0, y - y0
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    x0, y0, x1, y1 = x0 % 256, y0 % 256, (x0 + 1) % 256, (y0 + 1) % 256
    top = table[y0, x0] * (1 - fx) + table[y0, x1] * fx
    low = table[y1, x0] * (1 - fx) + table[y1, x1] * fx
    return np.asarray(top * (1 - fy) + low * fy, np.float32)


def fractal_noise(x: FloatArray, y: FloatArray, seed: int, octaves: int = 3) -> FloatArray:
    """Return the sum of octaves of `value_noise`, each at half the scale and weight of the last."""
    total = sum(value_noise(x * 2**i, y * 2**i, seed + i) * 0.5**i for i in range(octaves))
    return np.asarray(total, np.float32)


def lerp_colors(a: Color, b: Color, t: FloatArray) -> FloatArray:
    """Return the colors (3, *t.shape) between a (t = 0) and b (t = 1)."""
    t = np.clip(t, 0, 1)
    return np.stack([u + (v - u) * t for u, v in zip(a, b, strict=True)]).astype(np.float32)


def _stamp(
    color: FloatArray,
    height: FloatArray,
    *,
    cx: float,
    cy: float,
    rx: float,
    ry: float,
    angle: float,
    rgb: Color,
    bump_height: float,
) -> None:
    """Add one ellipse (a blade, a pebble) to the texture, in place; lengths in images, `angle` in radians."""
    side = height.shape[0]
    px, reach = SPAN / side, max(rx, ry)
    x0, x1 = max(int((cx - reach) / px), 0), min(int((cx + reach) / px) + 2, side)
    y0, y1 = max(int((cy - reach) / px), 0), min(int((cy + reach) / px) + 2, side)
    if x0 >= x1 or y0 >= y1:
        return
    x = ((np.arange(x0, x1) + 0.5) * px - cx)[None].astype(np.float32)
    y = ((np.arange(y0, y1) + 0.5) * px - cy)[:, None].astype(np.float32)
    c, s = math.cos(angle), math.sin(angle)
    k = np.sqrt(((c * x + s * y) / rx) ** 2 + ((c * y - s * x) / ry) ** 2)
    cover = np.clip(0.5 - (k - 1) * min(rx, ry) / px, 0, 1)
    dome = np.sqrt(np.maximum(1 - k * k, 0))
    lit = 0.72 + 0.28 * dome
    patch = color[:, y0:y1, x0:x1]
    patch += (np.array(rgb, np.float32)[:, None, None] * lit - patch) * cover
    bump = height[y0:y1, x0:x1]
    bump += (bump_height * dome - bump) * cover


def _grass(x: FloatArray, y: FloatArray) -> Texture:
    color = lerp_colors((0.22, 0.42, 0.16), (0.33, 0.52, 0.2), 0.5 + fractal_noise(x * 5, y * 5, 1))
    height = np.zeros_like(x)
    rng = np.random.default_rng(11)
    for _ in range(3400):
        u = rng.random(6)
        g = 0.7 + 0.5 * u[5]
        _stamp(
            color,
            height,
            cx=u[0] * SPAN,
            cy=u[1] * SPAN,
            rx=0.05 + 0.04 * u[3],
            ry=0.009 + 0.006 * u[4],
            angle=math.pi / 2 + (u[2] - 0.5) * 1.5,
            rgb=(0.36 * g, 0.6 * g, 0.22 * g),
            bump_height=0.01,
        )
    return color, height


def _sand(x: FloatArray, y: FloatArray) -> Texture:
    warp = fractal_noise(x * 3, y * 3, 21)
    ripple = np.sin((y * 7 + x * 1.5 + warp * 0.55) * 2 * np.pi)
    grain = value_noise(x * 90, y * 90, 24)
    color = lerp_colors((0.80, 0.68, 0.48), (0.93, 0.83, 0.62), 0.5 + 0.22 * ripple + 0.22 * grain + 0.2 * warp)
    return color, np.asarray(0.004 * ripple + 0.0012 * grain, np.float32)


def _wood(x: FloatArray, y: FloatArray) -> Texture:
    row = np.floor(y * 4)
    along = x + value_noise(row * 7.3, row * 0 + 3, 31) * 2
    piece = np.floor(along / 1.1)
    tint = value_noise(piece * 5.7 + row * 3.1, row * 9.7, 32)
    rings = np.sin((y * 26 + 2.2 * value_noise(along * 1.6, y * 5 + row * 11, 33) + tint * 4) * 2.6)
    fiber = value_noise(along * 9, y * 110, 34)
    color = lerp_colors((0.52, 0.34, 0.19), (0.80, 0.59, 0.37), 0.55 + 0.3 * tint + 0.14 * rings + 0.16 * fiber)
    seam = np.minimum(np.abs(y * 4 - np.round(y * 4)) / 4, np.abs(along / 1.1 - np.round(along / 1.1)) * 1.1)
    gap = np.clip(1 - seam / 0.011, 0, 1)
    return color * (1 - 0.55 * gap), np.asarray(-0.008 * gap + 0.0008 * fiber, np.float32)


def _snow(x: FloatArray, y: FloatArray) -> Texture:
    drift = fractal_noise(x * 2.2, y * 3.2, 41, 2)
    grain = value_noise(x * 70, y * 70, 44)
    color = lerp_colors((0.78, 0.85, 0.94), (0.97, 0.98, 1.0), 0.62 + 0.3 * drift + 0.12 * grain)
    return color, np.asarray(0.03 * drift + 0.001 * grain, np.float32)


def _tiles(x: FloatArray, y: FloatArray) -> Texture:
    n = 3.5
    i, j = np.floor(x * n), np.floor(y * n)
    tint = value_noise(i * 5.3, j * 7.9, 51)
    edge = np.minimum(np.abs(x * n - np.round(x * n)), np.abs(y * n - np.round(y * n))) / n
    grout = np.clip(1.5 - edge / 0.008, 0, 1)
    vein = np.abs(value_noise(x * 5 + i * 3, y * 5 + j * 5, 52) + 0.5 * value_noise(x * 11, y * 11, 53))
    tile = lerp_colors((0.58, 0.66, 0.70), (0.76, 0.82, 0.84), 0.55 + 0.4 * tint + 0.35 * np.minimum(vein * 3, 1) - 0.2)
    color = tile + (np.array([0.42, 0.44, 0.45], np.float32)[:, None, None] - tile) * grout
    return color, np.asarray(-0.012 * np.clip(1 - edge / 0.02, 0, 1), np.float32)


def _carpet(x: FloatArray, y: FloatArray) -> Texture:
    n = 3.0
    dx, dy = np.abs(x * n - np.round(x * n)), np.abs(y * n - np.round(y * n))
    diamond = dx + dy
    base = lerp_colors((0.50, 0.20, 0.24), (0.62, 0.28, 0.30), 0.5 + 0.5 * value_noise(x * 20, y * 20, 61))
    for radius, width, rgb in (
        (0.5, 0.05, (0.80, 0.66, 0.44)),
        (0.28, 0.05, (0.24, 0.28, 0.42)),
        (0.0, 0.1, (0.80, 0.66, 0.44)),
    ):
        band = np.clip((width - np.abs(diamond - radius)) * 16, 0, 1)
        base = base + (np.array(rgb, np.float32)[:, None, None] - base) * band * 0.75
    weave = np.sin(x * 2 * np.pi * 22) * np.sin(y * 2 * np.pi * 22)
    return base * (1 + 0.09 * weave), np.asarray(0.002 * weave, np.float32)


def _water(x: FloatArray, y: FloatArray) -> Texture:
    wx = x * 4 + 0.6 * value_noise(x * 3, y * 3, 71)
    wy = y * 7 + 0.6 * value_noise(x * 3, y * 3, 72)
    a = 1 - np.abs(value_noise(wx, wy, 73))
    b = 1 - np.abs(value_noise(wx * 1.9 + 9, wy * 1.9, 74))
    light = np.clip(a**5 * 0.75 + b**6 * 0.35, 0, 1)
    deep = lerp_colors((0.10, 0.38, 0.52), (0.16, 0.52, 0.63), 0.5 + 0.6 * value_noise(x * 2, y * 2.5, 75))
    color = deep + (np.array([0.66, 0.88, 0.90], np.float32)[:, None, None] - deep) * light * 0.6
    return color, np.asarray(0.012 * (a + 0.4 * b), np.float32)


def _gravel(x: FloatArray, y: FloatArray) -> Texture:
    color = lerp_colors((0.38, 0.36, 0.34), (0.46, 0.44, 0.41), 0.5 + value_noise(x * 40, y * 40, 81))
    height = np.zeros_like(x)
    rng = np.random.default_rng(82)
    for _ in range(4200):
        u = rng.random(8)
        g, warm = 0.55 + 0.26 * u[5], 0.05 * (u[6] - 0.35)
        r = 0.018 + 0.022 * u[3] ** 2
        _stamp(
            color,
            height,
            cx=u[0] * SPAN,
            cy=u[1] * SPAN,
            rx=r * (1 + 0.5 * u[4]),
            ry=r,
            angle=u[2] * math.pi,
            rgb=(g + warm, g, g - warm),
            bump_height=0.018,
        )
    return color, height


def _paper(x: FloatArray, y: FloatArray) -> Texture:
    fiber = fractal_noise(x * 30, y * 30, 91, 2)
    color = lerp_colors(
        (0.93, 0.92, 0.88), (0.985, 0.98, 0.955), 0.6 + 0.3 * fiber + 0.2 * value_noise(x * 2, y * 2, 93)
    )
    return color, np.asarray(0.0008 * fiber, np.float32)


TEXTURE_FUNCTIONS: dict[str, Callable[[FloatArray, FloatArray], Texture]] = {
    "grass": _grass,
    "sand": _sand,
    "wood": _wood,
    "snow": _snow,
    "tiles": _tiles,
    "carpet": _carpet,
    "water": _water,
    "gravel": _gravel,
    "paper": _paper,
}


@lru_cache(maxsize=32)
def make_texture(name: str, size: int) -> NDArray[np.float32]:
    """Return (5, S, S) float32 for images of `size` px: color (3), slope along x and along y."""
    axis = ((np.arange(SPAN * size) + 0.5) / size).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    color, height = TEXTURE_FUNCTIONS[name](x, y)
    slope_y, slope_x = np.gradient(height.astype(np.float32), 1 / size)
    slopes = np.clip(np.stack([slope_x, slope_y]), -1.2, 1.2)
    return np.concatenate([np.clip(color, 0, 1), slopes]).astype(np.float32)


def crop(name: str, size: int, u: float, v: float) -> NDArray[np.float32]:
    """Return the (5, size, size) piece of the ground at (u, v) in [0, 1)."""
    x, y = int(u * (SPAN - 1) * size), int(v * (SPAN - 1) * size)
    return make_texture(name, size)[:, y : y + size, x : x + size]
