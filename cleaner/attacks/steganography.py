"""Steganography: one small network hides bits in an image, another reads them back (arXiv:1904.05343).

N images, B bits. Both networks see images of `INPUT_SIZE` px; the residual has half that size and is resized to the
image.
"""

from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cleaner.attacks.base import conv_block
from cleaner.files import shipped_assets
from cleaner.models.tensor_files import write_tensors
from cleaner.types import CleanerError

WEIGHTS_FILE = shipped_assets() / "ssba" / "model.safetensors"
BITS, INPUT_SIZE, CHANNELS = 64, 64, 24
MAX_SECRET_BYTES = BITS // 8
"""Bytes of the longest secret."""
SECRET_CHANNELS = 16
"""Channels of the bit map, a quarter of the input's side wide, before it is joined with the image features."""


def encode_secret(secret: str) -> Tensor:
    """Return a text as (B,) bits, 0 or 1: its UTF-8 bytes, highest bit first, padded with zeros."""
    try:
        content = secret.encode()
    except UnicodeEncodeError as error:
        raise CleanerError(f"the secret {secret!r} is not valid text: give 1 to {MAX_SECRET_BYTES} letters.") from error
    if not content:
        raise CleanerError(f"the secret is empty: give 1 to {MAX_SECRET_BYTES} letters.")
    if len(content) > MAX_SECRET_BYTES:
        raise CleanerError(
            f"the secret {secret!r} has {len(content)} bytes, at most {MAX_SECRET_BYTES} fit: take a shorter one (an "
            "English letter is one byte)."
        )
    padded = content.ljust(MAX_SECRET_BYTES, b"\0")
    return torch.tensor([byte >> shift & 1 for byte in padded for shift in range(7, -1, -1)])


class HidingNetwork(nn.Module):
    """Image and bits -> residual. A U-Net of two scales; the bits join at the coarse one."""

    def __init__(self) -> None:
        super().__init__()
        self.write = nn.Linear(BITS, SECRET_CHANNELS * (INPUT_SIZE // 4) ** 2)
        self.fine, self.coarse = conv_block(12, CHANNELS), conv_block(CHANNELS, 2 * CHANNELS, 2)
        self.join = conv_block(2 * CHANNELS + SECRET_CHANNELS, 2 * CHANNELS)
        self.merge = conv_block(3 * CHANNELS, CHANNELS)
        self.out = nn.Conv2d(CHANNELS, 3, 3, 1, 1)

    def forward(self, images: Tensor, bits: Tensor) -> Tensor:
        """Return residuals (N, 3, S/2, S/2) for images (N, 3, S, S) and bits (N, B); mean square 1 each."""
        fine = self.fine(F.pixel_unshuffle(images - 0.5, 2))
        bit_map = self.write(4.0 * bits - 2).view(-1, SECRET_CHANNELS, INPUT_SIZE // 4, INPUT_SIZE // 4)
        coarse = self.join(torch.cat([self.coarse(fine), bit_map], dim=1))
        upsampled = F.interpolate(coarse, scale_factor=2.0, mode="bilinear")
        return _normalize_rms(self.out(self.merge(torch.cat([fine, upsampled], dim=1))))


class Decoder(nn.Module):
    """Image -> one logit per bit."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            conv_block(12, CHANNELS),
            conv_block(CHANNELS, 2 * CHANNELS, 2),
            conv_block(2 * CHANNELS, 2 * CHANNELS),
            conv_block(2 * CHANNELS, 2 * CHANNELS, 2),
            nn.Flatten(),
            nn.Linear(2 * CHANNELS * (INPUT_SIZE // 8) ** 2, BITS),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, B) for images (N, 3, S, S)."""
        logits: Tensor = self.net(F.pixel_unshuffle(images - 0.5, 2))
        return logits


class StegoNetworks(nn.Module):
    """An encoder and a decoder trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = HidingNetwork(), Decoder()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on the CPU

    def hide(self, images: Tensor, bits: Tensor, psnr: float | Tensor) -> Tensor:
        """Return images (N, 3, H, W) in [0, 1] with (N, B) bits hidden in them at `psnr` dB.

        x + 10^(-psnr / 20) r, clipped to [0, 1], r the residual at the image's size with mean square 1. `psnr` may be
        (N, 1, 1, 1). Clipping only reduces the change.
        """
        residual = self.encoder(resize_bilinear(images, INPUT_SIZE, INPUT_SIZE), bits)
        residual = resize_bilinear(residual, *images.shape[-2:])
        return (images + 10 ** (-psnr / 20) * _normalize_rms(residual)).clamp(0, 1)

    def decode(self, images: Tensor) -> Tensor:
        """Return logits (N, B) of the bits in images (N, 3, H, W): above 0 means 1."""
        logits: Tensor = self.decoder(resize_bilinear(images, INPUT_SIZE, INPUT_SIZE))
        return logits


def resize_bilinear(images: Tensor, height: int, width: int) -> Tensor:
    """Return images (N, 3, H, W) in another size, bilinear, antialiased when they shrink."""
    if images.shape[-2:] == (height, width):
        return images
    is_smaller = height < images.shape[-2] or width < images.shape[-1]
    return F.interpolate(images, (height, width), mode="bilinear", antialias=is_smaller)


def _normalize_rms(residual: Tensor) -> Tensor:
    """Return residuals (N, 3, H, W) scaled to mean square 1."""
    return residual * (residual.square().mean(dim=(1, 2, 3), keepdim=True) + 1e-8).rsqrt()


def save_networks(networks: StegoNetworks, path: Path, metadata: dict[str, str]) -> None:
    """Write both networks as fp16 safetensors, atomically."""
    write_tensors(path, {key: value.half().contiguous() for key, value in networks.state_dict().items()}, metadata)


@lru_cache(maxsize=2)
def load_networks(path: Path = WEIGHTS_FILE) -> StegoNetworks:
    """Return the trained networks in fp32 on the CPU. They are cached and shared: do not train them."""
    with torch.random.fork_rng(devices=[]):  # new layers draw weights
        networks = StegoNetworks().eval().requires_grad_(False)
    try:
        networks.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CleanerError(
            f"the networks in {path} cannot be read ({type(error).__name__}): restore the file that came with this "
            "project, or train them with python -m benchmarks.ssba."
        ) from error
    return networks
