"""Small images as pixel arrays for st.image, enlarged without blur."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cleaner.files import MAX_PATCH_SIDE

Pixels = NDArray[np.uint8]


def enlarge(pixels: Pixels, side: int = 256) -> Pixels:
    """Repeat every pixel of an image (H, W, 3) until its height is at least `side`."""
    factor = max(1, -(-side // pixels.shape[0]))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def decode_png(text: str) -> Pixels:
    """Decode a base64 PNG and enlarge it. Raises `ValueError` or `OSError` for what no patch is."""
    try:
        image = Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"])
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    if max(image.size) > MAX_PATCH_SIDE or image.width > 2 * image.height:  # it is enlarged by its height
        raise ValueError("too large for a patch")
    return enlarge(np.asarray(image.convert("RGB")))
