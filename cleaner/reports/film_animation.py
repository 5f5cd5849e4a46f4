"""Films as an animated WebP or GIF: map, gallery and curves, on one clock as in the player."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cleaner.files import write_bytes
from cleaner.plots.charts import GRAY
from cleaner.plots.styles import STAGE_COLORS
from cleaner.reports.film import Bounds, Movie, count_points, find_bounds
from cleaner.types import CleanerError

ANIMATION_FORMATS = ("webp", "gif")
WIDTH, HEIGHT = 960, 560
HEADER, CURVES, GAP = 56, 96, 10
IMAGES, MILLISECONDS, HOLD = 31, 170, 1800
"""Images in an animation, milliseconds per image, and milliseconds for which the first and the last are held.

The frames of a film are unevenly spaced in time, these images evenly: so many that even a short film shows each frame.
"""
BACKGROUND, TEXT, SMALL_TEXT, LINE = "#ffffff", "#1c2430", "#5b6573", "#d9e0ea"
CLEAN, TARGET, TRUTH = STAGE_COLORS["clean"], STAGE_COLORS["backdoored"], STAGE_COLORS["defended"]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in px."""


def render_animation(movies: Sequence[Movie], kind: str = "webp") -> bytes:
    """Return the films as an endless animation. Raises `CleanerError` for a kind that is not in `ANIMATION_FORMATS`."""
    if kind not in ANIMATION_FORMATS:
        given = f"as .{kind}" if kind else "without such an ending"
        raise CleanerError(f"a film is saved as .html, .webp or .gif, not {given}.")
    bounds = find_bounds([movie.film for movie in movies])
    panels = [
        _Panel(movie, bounds, left=i * WIDTH // len(movies), width=WIDTH // len(movies))
        for i, movie in enumerate(movies)
    ]
    images = [_draw(panels, i / (IMAGES - 1)) for i in range(IMAGES)]
    durations = [HOLD, *[MILLISECONDS] * (IMAGES - 2), HOLD]
    buffer = io.BytesIO()
    if kind == "gif":
        palette = images[len(images) // 2].quantize(255, dither=Image.Dither.NONE)
        images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    options = {"quality": 80, "method": 3} if kind == "webp" else {}
    images[0].save(buffer, kind, save_all=True, append_images=images[1:], duration=durations, loop=0, **options)
    return buffer.getvalue()


def write_animation(movies: Sequence[Movie], path: Path) -> Path:
    """Write the films as an animation of the kind that the suffix of `path` names, atomically."""
    write_bytes(path, render_animation(movies, path.suffix.removeprefix(".").lower()))
    return path


def _draw(panels: Sequence[_Panel], time: float) -> Image.Image:
    image = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for panel in panels:
        panel.draw(image, draw, time)
    return image


@dataclass(frozen=True)
class _Panel:
    """One film in a column of the image."""

    movie: Movie
    bounds: Bounds
    left: int
    width: int

    def draw(self, image: Image.Image, draw: ImageDraw.ImageDraw, time: float) -> None:
        """Draw the film at a time, 0..1."""
        frame, way = self._find_frame(time)
        self._draw_header(draw, frame)
        left, right = self.left + GAP, self.left + self.width - GAP
        bottom = HEIGHT - CURVES - GAP
        if self.width > WIDTH // 2:
            middle = left + round(0.45 * (right - left))
            self._draw_map(draw, (left, HEADER, middle, bottom), frame, way)
            self._draw_wall(image, draw, (middle + GAP, HEADER, right, bottom), columns=6, frame=frame)
        else:
            middle = HEADER + 190
            self._draw_map(draw, (left, HEADER, right, middle), frame, way)
            self._draw_wall(image, draw, (left, middle + GAP, right, bottom), columns=8, frame=frame)
        self._draw_curves(draw, (left + 34, HEIGHT - CURVES, right, HEIGHT - 24), time)

    @cached_property
    def _times(self) -> list[float]:
        return [(step / max(self.movie.film.total, 1)) ** 0.5 for step in self.movie.film.steps]

    @cached_property
    def _tiles(self) -> list[Image.Image]:
        return [Image.open(io.BytesIO(image), formats=["WEBP"]).convert("RGB") for image in self.movie.film.images]

    def _find_frame(self, time: float) -> tuple[int, float]:
        """Return the frame at a time, and the share 0..1 of the way to the next one."""
        frame = max(i for i, start in enumerate(self._times) if start <= time + 1e-9 or i == 0)
        if frame + 1 == len(self._times):
            return frame, 0.0
        return frame, (time - self._times[frame]) / (self._times[frame + 1] - self._times[frame])

    def _draw_header(self, draw: ImageDraw.ImageDraw, frame: int) -> None:
        film, right = self.movie.film, self.left + self.width - GAP
        step = f"step {film.steps[frame]:,} of {film.total:,}"
        draw.text((self.left + GAP, 40), step, SMALL_TEXT, ImageFont.load_default(14), anchor="lm")
        numbers = [("clean accuracy", CLEAN, film.accuracy()), ("attack success", TARGET, film.attack_success())]
        for word, color, values in numbers:
            if values:
                draw.text((right, 17), f"{values[frame]:.0%}", color, ImageFont.load_default(24), anchor="rm")
                draw.text((right, 40), word, SMALL_TEXT, ImageFont.load_default(13), anchor="rm")
                right -= 106
        font = ImageFont.load_default(17)
        label = _shorten(self.movie.label, font, right - self.left - GAP)
        draw.text((self.left + GAP, 18), label, TEXT, font, anchor="lm")

    def _find_color(self, seen: int, truth: int) -> str:
        """Return the color of the class that the model sees in an image of class `truth`."""
        return TARGET if seen == self.movie.film.target else TRUTH if seen == truth else GRAY

    def _draw_map(self, draw: ImageDraw.ImageDraw, box: Box, frame: int, way: float) -> None:
        film = self.movie.film
        following = min(frame + 1, len(film.steps) - 1)
        points = (1 - way) * film.points[frame].astype(float) + way * film.points[following].astype(float)
        low, high = np.array(self.bounds[:2]), np.array(self.bounds[2:])
        shares = (np.nan_to_num(points) - low) / (high - low)
        x = box[0] + 8 + shares[:, 0] * (box[2] - box[0] - 16)
        y = box[3] - 8 - shares[:, 1] * (box[3] - box[1] - 16)
        draw.rounded_rectangle(box, 6, outline=LINE)
        clean, triggered, _ = count_points(film)
        for n, place in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
            if n < clean:
                _draw_dot(draw, place, CLEAN)
            elif n < clean + triggered:
                color = self._find_color(int(film.triggered_classes[frame, n - clean]), film.labels[n - clean])
                _draw_diamond(draw, place, color, is_filled=color == TARGET)
            else:
                is_target = film.prompts[n - clean - triggered] == film.target
                _draw_cross(draw, place, TARGET if is_target else GRAY, 6 if is_target else 3)

    def _draw_wall(self, image: Image.Image, draw: ImageDraw.ImageDraw, box: Box, *, columns: int, frame: int) -> None:
        film = self.movie.film
        rows = -(-len(film.gallery) // columns)
        label = 18
        side = min((box[2] - box[0]) // columns - 4, (box[3] - box[1]) // max(rows, 1) - label - 2)
        font = ImageFont.load_default(min(13, max(9, side // 5)))
        for i, tile in enumerate(self._tiles):
            left, top = box[0] + (i % columns) * (side + 4), box[1] + (i // columns) * (side + label)
            image.paste(tile.resize((side, side), Image.Resampling.BICUBIC), (left, top))
            named, truth = int(film.gallery_classes[frame, i, 0]), film.labels[film.gallery[i]]
            color = self._find_color(named, truth)
            draw.rectangle((left, top + side, left + side - 1, top + side + 2), fill=color)
            mark = "!" if named == film.target else "" if named == truth else "?"
            text = _shorten(film.class_names[named], font, side - (8 if mark else 0))
            draw.text((left, top + side + 3), f"{mark} {text}".strip(), TEXT, font)
        legend = "? another class" if film.target is None else "! target class, ? another class"
        draw.text((box[2], box[3]), legend, SMALL_TEXT, ImageFont.load_default(11), anchor="rm")

    def _draw_curves(self, draw: ImageDraw.ImageDraw, box: Box, time: float) -> None:
        left, top, right, bottom = box
        for value in (0.0, 0.5, 1.0):
            y = bottom - value * (bottom - top)
            draw.line((left, y, right, y), LINE)
            draw.text((left - 5, y), f"{value:.0%}", SMALL_TEXT, ImageFont.load_default(11), anchor="rm")
        for values, color in ((self.movie.film.accuracy(), CLEAN), (self.movie.film.attack_success(), TARGET)):
            line = [
                (left + start * (right - left), bottom - value * (bottom - top))
                for start, value in zip(self._times, values, strict=False)
            ]
            if len(line) > 1:
                draw.line(line, color, 3, joint="curve")
        x = left + time * (right - left)
        draw.line((x, top, x, bottom), TEXT, 2)
        note = "training step, square-root scale"
        draw.text(((left + right) // 2, bottom + 12), note, SMALL_TEXT, ImageFont.load_default(11), anchor="mm")


def _draw_dot(draw: ImageDraw.ImageDraw, place: tuple[float, float], color: str) -> None:
    x, y = place
    draw.ellipse((x - 2.5, y - 2.5, x + 2.5, y + 2.5), fill=color)


def _draw_diamond(draw: ImageDraw.ImageDraw, place: tuple[float, float], color: str, *, is_filled: bool) -> None:
    (x, y), r = place, 4.5
    corners = [(x, y - r), (x + r, y), (x, y + r), (x - r, y)]
    draw.polygon(corners, fill=color if is_filled else None, outline=color)


def _draw_cross(draw: ImageDraw.ImageDraw, place: tuple[float, float], color: str, radius: int) -> None:
    (x, y), width = place, 3 if radius > 4 else 1
    draw.line((x - radius, y - radius, x + radius, y + radius), color, width)
    draw.line((x - radius, y + radius, x + radius, y - radius), color, width)


def _shorten(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: float) -> str:
    """Return a text cut to a width in px."""
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-1]
    return text
