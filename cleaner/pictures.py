"""Pictures in and out: bytes of a file to a tensor, tensors to arrays that can be shown, and how much was changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cleaner.framing import Framing, open_picture
from cleaner.metrics import psnr, ssim
from cleaner.types import TriggerLike

GAIN = 10
"""How much differences are amplified when they are shown."""


@dataclass(frozen=True)
class Shown:
    """One picture of a gallery: (H, W, 3) bytes, PSNR in dB and SSIM of the triggered one against the clean one."""

    clean: NDArray[np.uint8]
    triggered: NDArray[np.uint8]
    difference: NDArray[np.uint8]
    psnr: float
    ssim: float


def to_bytes(pictures: Tensor) -> NDArray[np.uint8]:
    """Return pictures (N, 3, H, W) in [0, 1] as (N, H, W, 3) bytes."""
    pixels: NDArray[np.uint8] = (pictures.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return pixels


def gallery(pictures: Tensor, trigger: TriggerLike) -> list[Shown]:
    """Return pictures (N, 3, H, W), clean and triggered, with their difference x 10 around mid-grey."""
    triggered = trigger(pictures)
    difference = 0.5 + GAIN / 2 * (triggered - pictures)
    columns = zip(to_bytes(pictures), to_bytes(triggered), to_bytes(difference), strict=True)
    figures = zip(psnr(pictures, triggered).tolist(), ssim(pictures, triggered).tolist(), strict=True)
    return [Shown(*column, *figure) for column, figure in zip(columns, figures, strict=True)]


def from_bytes(content: bytes, side: int, name: str = "the file") -> Tensor:
    """Return the picture in a PNG, JPEG, WebP ... file as (3, side, side) in [0, 1]: middle square, resized.

    Raises `CleanerError` if it is not a picture or far too large.
    """
    return Framing(side)(open_picture(content, name)).float() / 255
