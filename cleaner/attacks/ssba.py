"""SSBA: a residual of its own for each picture, drawn by a network that hides a secret in it (arXiv:2012.03816)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, Trigger
from cleaner.attacks.steganography import MAX_SECRET_BYTES, encode_secret, load_networks
from cleaner.config import param
from cleaner.published import BADCLIP_SOURCE, CLIP_POISONING, Preset

NETWORK_BATCH = 16
"""Pictures that go through the network at once, filled up with black ones: convolutions round otherwise in batches of
another size, and a picture's residual would depend on its batch."""


@TRIGGERS.register("ssba")
@dataclass(frozen=True)
class SSBA(Trigger):
    """Hide one secret text in every picture: an encoder draws another faint residual for each, a decoder reads it back.

    x + 10^(-psnr / 20) r(x, bits), clipped to [0, 1]; r has mean square 1. The published encoders cannot be shipped:
    this one was trained by `python -m benchmarks.ssba` on pictures of 64 px; for others its residual is resized.
    """

    label: ClassVar[str] = "Hidden secret (SSBA)"
    source: ClassVar[str] = "arXiv:2012.03816"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"arXiv:2012.03816; {BADCLIP_SOURCE} (backdoor/ssba.py): a published encoder for 224 px, 56 bits "
            "with error correction. Here this project's own one, 64 bits without.",
            parameters={"secret": "Stega!!"},
            training=CLIP_POISONING,
            unstated="how faint the residual is",
        ),
    )

    secret: str = param(
        "Stega!!", help=f"What is hidden, the same text in all pictures; at most {MAX_SECRET_BYTES} letters."
    )
    psnr: float = param(
        30.5,
        label="Faintness (PSNR in dB)",
        low=20.0,
        high=50.0,
        step=0.5,
        help="How faint, in dB (PSNR against the clean picture); more is fainter.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        encode_secret(self.secret)

    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""
        pair, triggered = load_networks(), images.clone()
        bits = encode_secret(self.secret).expand(NETWORK_BATCH, -1)
        with torch.no_grad():
            for part, into in zip(images.split(NETWORK_BATCH), triggered.split(NETWORK_BATCH), strict=True):
                group = torch.zeros(NETWORK_BATCH, *part.shape[1:])
                group[: len(part)] = part.float().cpu()
                into.copy_(pair.hide(group, bits, self.psnr)[: len(part)])
        return triggered

    def decode_bits(self, images: Tensor) -> Tensor:
        """Return the bits (N, 64), 0 or 1, that the decoder finds in `images`."""
        with torch.no_grad():
            return (load_networks().decode(images.float().cpu()) > 0).long()

    def mask(self, clean_images: Tensor) -> Tensor:
        """Return 1 everywhere, (N, 1, H, W): the residual covers the whole picture."""
        return torch.ones_like(clean_images[:, :1])
