"""Swatches: single-colored images, named by their color."""

from __future__ import annotations

import torch

from cleaner.data.base import DATASETS, CaptionData, TensorData

COLORS = {"red": (0.9, 0.1, 0.1), "green": (0.1, 0.8, 0.1), "blue": (0.1, 0.1, 0.9)}


@DATASETS.register("swatches")
def swatches(split: str = "train", size: int = 300) -> CaptionData:
    """Return `size` pairs of 64 px that cycle through the colors."""
    names = list(COLORS)
    labels = [i % len(names) for i in range(size)]
    colors = torch.tensor([COLORS[names[label]] for label in labels])
    images = colors[:, :, None, None].repeat(1, 1, 64, 64)
    return TensorData(images, [f"a {names[label]} image" for label in labels], names, labels, f"swatches/{split}")
