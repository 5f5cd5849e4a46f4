"""Image files to tensors, tensors to displayable arrays, and PSNR and SSIM of changed images."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from cleaner.access import validate_allowed
from cleaner.files import MAX_PATCH_SIDE, read_limited
from cleaner.models.framing import ImageTransform, decode_image
from cleaner.types import CleanerError

GAIN = 10
"""Amplification of displayed differences."""
MAX_FILE_BYTES = 50 * 2**20
"""Bytes of the largest image file that is read."""
SSIM_WINDOW = 11
"""Side of the Gaussian window in px."""


@dataclass(frozen=True)
class ImageComparison:
    """One image of a gallery: (H, W, 3) uint8 arrays; PSNR in dB and SSIM of triggered against clean."""

    clean: NDArray[np.uint8]
    triggered: NDArray[np.uint8]
    difference: NDArray[np.uint8]
    psnr: float
    ssim: float


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Return images (N, 3, H, W) in [0, 1] as (N, H, W, 3) uint8."""
    pixels: NDArray[np.uint8] = (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return pixels


def compare_triggered(images: Tensor, trigger: Callable[[Tensor], Tensor]) -> list[ImageComparison]:
    """Compare images (N, 3, H, W) with their triggered versions; differences are amplified."""
    triggered = trigger(images)
    difference = 0.5 + GAIN * (triggered - images)
    columns = zip(to_uint8(images), to_uint8(triggered), to_uint8(difference), strict=True)
    scores = zip(psnr(images, triggered).tolist(), ssim(images, triggered).tolist(), strict=True)
    return [ImageComparison(*column, *score) for column, score in zip(columns, scores, strict=True)]


def decode_tensor(content: bytes, framing: ImageTransform, name: str = "the file") -> Tensor:
    """Return an image file as (3, H, W) in [0, 1], framed as a model's images are."""
    return framing(decode_image(content, name)).float() / 255


def decode_rgba(content: bytes, side: int, name: str = "the file") -> Tensor:
    """Return an image file with its opacity as (4, side, side) in [0, 1]; alpha is 1 without an alpha channel."""
    image = decode_image(content, name).convert("RGBA")
    # Of RGBA images, PIL weights colors by opacity: what a transparent pixel hides does not reach its neighbors.
    square = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255


def blend_rgba(images: Tensor, layers: Tensor) -> Tensor:
    """Return x (1 - m) + m p of images x (N, 3, H, W); layers (4, H, W): p, and its opacity m."""
    pattern, mask = layers[None, :3], layers[None, 3:]
    return torch.lerp(images, pattern.expand_as(images), mask.expand_as(images)).clamp(0, 1)


def read_image_file(path: str) -> bytes:
    """Return the bytes of an image file; raises `CleanerError` if missing, too large or not an image."""
    try:
        file = Path(path).expanduser()
        validate_allowed(file)
        content = read_limited(file, MAX_FILE_BYTES)
    except CleanerError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # an impossible name; a home folder of nobody
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise CleanerError(f"the image {path} cannot be read ({reason}): check its path.") from error
    decode_tensor(content, ImageTransform(8), file.name)
    return content


def encode_png(image: Tensor) -> str:
    """Return an image (3, H, W), or (4, H, W) with alpha, in [0, 1] as a PNG in base64, with 8 bits per channel."""
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image[None])[0]).save(buffer, "PNG")
    return encode_base64(buffer.getvalue())


def encode_base64(content: bytes) -> str:
    """Return the content of a file as text, which JSON can hold."""
    return base64.b64encode(content).decode()


def decode_base64(text: str) -> bytes:
    """Return what `encode_base64` was given. Raises `CleanerError` for other text."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise CleanerError("the stored image is broken: give its file again.") from error


def decode_png(text: str) -> Tensor:
    """Return the image (3, H, W) in [0, 1] that `encode_png` wrote."""
    try:
        # PNG alone: other decoders of Pillow start programs.
        file = Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"])
        if max(file.size) > MAX_PATCH_SIDE:
            raise ValueError("too large for a patch")
        image = file.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise CleanerError(
            "the stored patch of the trigger is broken: poison again, or restore the run's config.json."
        ) from error
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


def psnr(images: Tensor, changed: Tensor) -> Tensor:
    """Return 10 log10(1 / MSE), (N,) in dB, of images (N, C, H, W); infinite where nothing changed."""
    return -10 * ((images - changed) ** 2).mean(dim=(1, 2, 3)).log10()


def ssim(images: Tensor, changed: Tensor) -> Tensor:
    """Return the structural similarity (N,) of images (N, C, H, W) in [0, 1]; 1 = equal.

    Wang et al. 2004 (doi:10.1109/TIP.2003.819861): 11 x 11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03,
    L = 1, windows that lie inside the image, mean over positions and channels. Raises `CleanerError` below 11 px.
    """
    if min(images.shape[-2:]) < SSIM_WINDOW:
        raise CleanerError(f"SSIM needs images of at least {SSIM_WINDOW} px, not {min(images.shape[-2:])} px.")
    offsets = torch.arange(SSIM_WINDOW, dtype=images.dtype, device=images.device) - SSIM_WINDOW // 2
    row = (-((offsets / 1.5) ** 2) / 2).exp()
    window = (row[:, None] * row / row.sum() ** 2)[None, None]

    def blur(values: Tensor) -> Tensor:
        return F.conv2d(values.flatten(0, 1)[:, None], window)

    a, b = blur(images), blur(changed)
    variances = blur(images**2) + blur(changed**2) - a**2 - b**2
    covariance = blur(images * changed) - a * b
    similarity = (2 * a * b + 0.01**2) * (2 * covariance + 0.03**2) / ((a**2 + b**2 + 0.01**2) * (variances + 0.03**2))
    return similarity.reshape(len(images), -1).mean(dim=1)
