"""Generated textures and random views: SSBA's networks are trained on them so that they work on photos too."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def power_law_noise(n: int, side: int, generator: Generator) -> Tensor:
    """Return noise with amplitude f^-a at frequency f, a in [0.5, 2.5]: grain to soft clouds.

    In photos a is about 1, and the channels share most of the noise. (N, 3, S, S) in [0, 1].
    """
    row, column = torch.fft.fftfreq(side), torch.fft.rfftfreq(side)
    frequency = (row[:, None].square() + column.square()).sqrt().clamp(min=1 / side)
    falloff = frequency ** -_uniform(generator, n, 0.5, 2.5)
    white = torch.randn(n, 3, side, side, generator=generator)
    noise: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * falloff, (side, side))
    share = _uniform(generator, n, 0, 1)
    noise = share * noise.mean(dim=1, keepdim=True) + (1 - share) * noise
    noise = noise / noise.std(dim=(1, 2, 3), keepdim=True)
    return (torch.rand(n, 3, 1, 1, generator=generator) + _uniform(generator, n, 0.05, 0.25) * noise).clamp(0, 1)


def color_gradients(n: int, side: int, generator: Generator) -> Tensor:
    """Return soft color gradients, (N, 3, S, S) in [0, 1]."""
    soft: Tensor = F.interpolate(torch.rand(n, 3, 3, 3, generator=generator), side, mode="bicubic", align_corners=True)
    return soft.clamp(0, 1)


def dead_leaves(n: int, side: int, generator: Generator, disks: int = 30) -> Tensor:
    """Return overlapping disks, many small and few large ("dead leaves"), (N, 3, S, S) in [0, 1]."""
    images = color_gradients(n, side, generator)
    grain = _uniform(generator, n, 0, 0.1) * torch.randn(n, 3, side, side, generator=generator)
    line = torch.arange(side).float()
    for _ in range(disks):
        x, y = (_uniform(generator, n, 0, side) for _ in range(2))
        radius = 2.5 / _uniform(generator, n, 0.1, 1)
        inside = (line.view(1, 1, 1, -1) - x).square() + (line.view(1, 1, -1, 1) - y).square() < radius.square()
        images = torch.where(inside, torch.rand(n, 3, 1, 1, generator=generator), images)
    return (images + grain).clamp(0, 1)


def augment(images: Tensor, generator: Generator) -> Tensor:
    """Return images (N, 3, S, S) cropped, mirrored and recolored; the first ones blurred like enlarged small images."""
    n, side = len(images), images.shape[-1]
    scale = _uniform(generator, n, 0.5, 1).view(n)
    mirrored = scale * torch.where(torch.rand(n, generator=generator) < 0.5, -1, 1)
    shift = (2 * torch.rand(2, n, generator=generator) - 1) * (1 - scale)
    nothing = torch.zeros(n)
    maps = torch.stack([mirrored, nothing, shift[0], nothing, scale, shift[1]], dim=1).view(n, 2, 3)
    images = F.grid_sample(images, F.affine_grid(maps, list(images.shape), align_corners=False), align_corners=False)
    blurred = int(torch.randint(0, n // 2 + 1, (1,), generator=generator))
    small = int(torch.randint(side // 4, side, (1,), generator=generator))
    smaller = F.interpolate(images[:blurred], small, mode="bilinear", antialias=True)
    images = torch.cat([F.interpolate(smaller, side, mode="bicubic"), images[blurred:]])
    grey = images.mean(dim=1, keepdim=True)
    images = grey + _uniform(generator, n, 0, 1.5) * (images - grey)
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    images = middle + _uniform(generator, n, 0.4, 1.4) * (images - middle) + _uniform(generator, n, -0.2, 0.2)
    return images[:, torch.randperm(3, generator=generator)].clamp(0, 1)


def _uniform(generator: Generator, n: int, low: float, high: float) -> Tensor:
    """Return one number per image, (N, 1, 1, 1)."""
    return low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator)
