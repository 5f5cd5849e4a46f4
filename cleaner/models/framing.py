"""Framing: from the bytes of a picture file to the square that a model sees, in [0, 255] and before normalisation."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cleaner.types import CleanerError

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA", "ICO")
"""What is decoded, whatever a file's name says: PIL hands PostScript (EPS) to Ghostscript, which runs it."""
DECODE_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    RuntimeError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    struct.error,
    zlib.error,
)
"""What PIL's decoders end in on a damaged file."""


@dataclass(frozen=True)
class ImageTransform:
    """How a picture becomes a square of `size` px.

    `mode` as open_clip names it: "shortest" (resize the short side, keep the middle square), "squash" (both sides),
    "longest" (resize the long side, fill up with black). `interpolation` is "bicubic" or "bilinear".
    """

    size: int
    mode: str = "shortest"
    interpolation: str = "bicubic"

    def __call__(self, image: Image.Image) -> Tensor:
        """Return a picture as (3, size, size) uint8."""
        square, method = (self.size, self.size), FILTERS.get(self.interpolation, Image.Resampling.BICUBIC)
        image = image.convert("RGB")
        if image.size != square:
            if self.mode == "squash":
                image = image.resize(square, method)
            elif self.mode == "longest":
                image = ImageOps.pad(image, square, method)
            else:
                image = ImageOps.fit(image, square, method)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@contextmanager
def _translate_decode_errors(name: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise CleanerError(f"{name} has too many pixels: make it smaller than 80 megapixels.") from error
    except DECODE_ERRORS as error:
        raise CleanerError(f"{name} cannot be read as a picture: save it as PNG or JPEG and try again.") from error


def read_image_header(content: bytes, name: str) -> Image.Image:
    """Return the picture in a file, of which only the header was read; raises as `decode_image`."""
    with _translate_decode_errors(name):
        picture = Image.open(io.BytesIO(content))
        if picture.format not in FORMATS:
            raise ValueError(f"{picture.format} is not decoded")
    return picture


def decode_image(content: bytes, name: str, side: int | None = None) -> Image.Image:
    """Return the decoded picture in a PNG, JPEG, WebP ... file, upright.

    With `side` a JPEG may be decoded at a fraction of its size, never below `side`: much quicker. Raises
    `CleanerError` if it is not a picture, is cut off, or has more than 80 megapixels or 16 bits of grey.
    """
    picture = read_image_header(content, name)
    with _translate_decode_errors(name):
        if side is not None:
            picture.draft("RGB", (side, side))
        picture.load()
        upright = ImageOps.exif_transpose(picture)
    return _to_8_bit(upright, name) if upright.mode[0] in "IF" else upright


def _to_8_bit(image: Image.Image, name: str) -> Image.Image:
    """Return a grey picture of 16 bits with 8, which `convert` would clip to white."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise CleanerError(f"{name} has more than 16 bits per pixel: save it as PNG with 8 or 16 and try again.")
    return Image.fromarray((values / 257).round().astype(np.uint8))
