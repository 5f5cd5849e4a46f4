"""Framing: from the bytes of an image file to the square that a model sees, in [0, 255], not normalized."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from cleaner.types import CleanerError

RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff"),
    *(".jp2", ".ppm", ".pgm"),
)
TOO_MANY_PIXELS = "{} has too many pixels: make it smaller than 80 megapixels."
IMAGE_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA", "ICO")
"""Formats to decode, whatever the suffix. Not PostScript (EPS): PIL hands it to Ghostscript, which runs it."""


@dataclass(frozen=True)
class ImageTransform:
    """How an image becomes a square of `size` px.

    `mode` as in open_clip: "shortest" (resize the short side, crop the center), "squash" (resize both sides), "longest"
    (resize the long side, pad with black). `interpolation` is "bicubic" or "bilinear".
    """

    size: int
    mode: str = "shortest"
    interpolation: str = "bicubic"

    def __call__(self, image: Image.Image) -> Tensor:
        """Return an image as (3, size, size) uint8, rotated as its EXIF data says."""
        square, method = (self.size, self.size), RESAMPLING.get(self.interpolation, Image.Resampling.BICUBIC)
        image = _to_8_bit(_turn_upright(image), "the image").convert("RGB")
        if image.size != square:
            if self.mode == "squash":
                image = image.resize(square, method)
            elif self.mode == "longest":
                image = ImageOps.pad(image, square, method)
            else:
                image = ImageOps.fit(image, square, method)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def resize_square(images: Tensor, side: int) -> Tensor:
    """Return images (N, 3, H, W) in [0, 1] resized to `side` px; a copy only if the size changes."""
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, side, mode="bicubic", antialias=True).clamp(0, 1)


@contextmanager
def _translate_decode_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:  # a warning if they are errors
        raise CleanerError(TOO_MANY_PIXELS.format(name)) from error
    except MemoryError:
        raise
    except Exception as error:  # what PIL's decoders raise shares no base class
        raise CleanerError(f"{name} cannot be read as an image: save it as PNG or JPEG and try again.") from error


def read_image_header(content: bytes, name: str) -> Image.Image:
    """Return the image in a file after reading its header only. Raises as `decode_image`."""
    with _translate_decode_errors(name):
        image = Image.open(io.BytesIO(content))
        if image.format not in IMAGE_FORMATS:
            raise ValueError(f"{image.format} is not decoded")
    # Pillow only warns up to twice its limit, and filters of warnings are shared by all threads.
    if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise CleanerError(TOO_MANY_PIXELS.format(name))
    return image


def decode_image(content: bytes, name: str, side: int | None = None) -> Image.Image:
    """Return the decoded image in a PNG, JPEG, WebP ... file, rotated as its EXIF data says.

    With `side` a JPEG may be decoded at a fraction of its size, but not below `side`, which is much faster. Raises
    `CleanerError` if it is not an image, is truncated, or has more than 80 megapixels or 16 bits of gray.
    """
    image = read_image_header(content, name)
    with _translate_decode_errors(name):
        if side is not None:
            image.draft("RGB", (side, side))
        image.load()
        upright = _turn_upright(image)
    return _to_8_bit(upright, name)


def _turn_upright(image: Image.Image) -> Image.Image:
    """Return an image rotated as its EXIF data says: itself, if it is upright, where Pillow would copy all pixels."""
    is_upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    return image if is_upright else ImageOps.exif_transpose(image)


def _to_8_bit(image: Image.Image, name: str) -> Image.Image:
    """Return an image, gray of 16 bits with 8, which `convert` would clip to white."""
    if image.mode[0] not in "IF":
        return image
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise CleanerError(f"{name} has more than 16 bits per pixel: save it as PNG with 8 or 16 and try again.")
    return Image.fromarray((values / 257).round().astype(np.uint8))
