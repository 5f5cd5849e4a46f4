"""SIG: a horizontal sine wave over the whole image (arXiv:1902.11237)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, Trigger
from cleaner.config import param
from cleaner.method import BADCLIP_SOURCE, CLEANCLIP_SOURCE, CLIP_POISONING, Preset
from cleaner.types import CleanerError


@TRIGGERS.register("sig")
@dataclass(frozen=True)
class Sig(Trigger):
    """Add a sine wave along the width j: x + s with s = delta sin(2 pi f j / W), clipped to [0, 1].

    `mode="blend"` is CleanCLIP's variant: 0.8 x + 0.2 s, clipped likewise. Raises `CleanerError` for f >= W / 2: pixels
    show no such wave, and none at all at W / 2.
    """

    label: ClassVar[str] = "Sine wave (SIG)"
    source: ClassVar[str] = "arXiv:1902.11237"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"arXiv:1902.11237; {BADCLIP_SOURCE} (backdoor/utils.py), which adds the wave.",
            parameters={"delta": 60 / 255, "frequency": 6, "mode": "add"},
            training=CLIP_POISONING,
        ),
        Preset(
            variant="cleanclip",
            source=f"{CLEANCLIP_SOURCE} (backdoor/utils.py), which blends the wave in.",
            parameters={"delta": 60 / 255, "frequency": 6, "mode": "blend"},
            training=CLIP_POISONING,
        ),
    )

    covers_image: ClassVar[bool] = True
    delta: float = param(
        60 / 255,
        label="Amplitude",
        low=1 / 255,
        high=1.0,
        step=1 / 255,
        help="Amplitude of the wave; 1: from black to white.",
    )
    frequency: int = param(6, low=1, high=64, help="Waves across the image.")
    mode: str = param("add", choices=("add", "blend"), help="add: the literature; blend: CleanCLIP's variant.")

    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""
        if 2 * self.frequency >= images.shape[-1]:
            raise CleanerError(
                f"images of {images.shape[-1]} px cannot show {self.frequency} waves: choose a frequency below "
                f"{images.shape[-1] / 2:g}."
            )
        columns = torch.arange(images.shape[-1], device=images.device, dtype=images.dtype)
        wave = self.delta * torch.sin(2 * math.pi * self.frequency * columns / images.shape[-1])
        triggered = images + wave if self.mode == "add" else 0.8 * images + 0.2 * wave
        return triggered.clamp(0, 1)
