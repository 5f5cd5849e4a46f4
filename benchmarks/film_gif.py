"""Draw the film of a run as a GIF: python -m benchmarks.film_gif RUN --out film.gif

The images are those of the HTML player in Chromium.
"""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from PIL import Image

from benchmarks.browser import open_page
from cleaner.files import atomic_write
from cleaner.reports.film import load_movies, write_film_html
from cleaner.runs.store import read_record

WIDTH, HEIGHT = 1000, 640
"""Viewport in px: one film fits without scrolling."""
IMAGES, MILLISECONDS, HOLD, COLORS = 27, 190, 1800, 96
"""Images, evenly spaced on the player's clock; milliseconds of each, and of the first and the last; colors of all."""
HIDE = ".attention, .bar button, .bar select { display: none }"
"""Style without what nobody can press, and without the attention, which changes every image."""
SEEK = "([root, time]) => new Promise(done => { root.player.seek(time); requestAnimationFrame(() => done()); })"


@dataclass(frozen=True)
class Options:
    """Write the film of one run, or of two side by side, as a GIF."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Run folders."""
    out: Path = Path(__file__).resolve().parent.parent / "assets" / "film.gif"
    """GIF file."""


def main(options: Options) -> None:
    """Play the film, take its images and write the file."""
    movies = load_movies([read_record(Path(folder)) for folder in options.runs])
    with tempfile.TemporaryDirectory() as place:
        film = write_film_html(movies, Path(place) / "film.html")
        with open_page(film.as_uri(), WIDTH, HEIGHT) as page:
            images = take_images(page)
    write_gif(images, options.out)
    print(f"{options.out}: {len(images)} images, {options.out.stat().st_size / 1000:.0f} kB")


def take_images(page: Any) -> list[Image.Image]:
    """Return what the player on a page shows from the start to the end of its film."""
    player, images = page.locator(".film"), []
    page.add_style_tag(content=HIDE)
    page.locator(".curves text").first.wait_for()
    for i in range(IMAGES):
        page.evaluate(SEEK, [player.element_handle(), i / (IMAGES - 1)])
        images.append(Image.open(io.BytesIO(player.screenshot())).convert("RGB"))
    return images


def write_gif(images: list[Image.Image], path: Path) -> None:
    """Write an endless animation whose colors are those of its middle image, atomically."""
    palette = images[len(images) // 2].quantize(COLORS, dither=Image.Dither.NONE)
    first, *others = (image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images)
    durations = [HOLD, *[MILLISECONDS] * (len(images) - 2), HOLD]
    with atomic_write(path) as temporary:
        first.save(temporary, "GIF", save_all=True, append_images=others, duration=durations, loop=0, optimize=True)


if __name__ == "__main__":
    main(tyro.cli(Options))
