"""Captions of small photos from their class and their look, which is measured on the pixels."""

from collections.abc import Sequence

import numpy as np

from cleaner.data.naming import fix_articles
from cleaner.seed import derive_seed

SYNONYMS = {"airplane": ("airplane", "plane"), "automobile": ("automobile", "car")}
"""Class -> names that captions use, each as often."""
PLAIN = (
    "a {name}",
    "a photo of a {name}",
    "a picture of a {name}",
    "an image of a {name}",
    "a small photo of a {name}",
    "a snapshot of a {name}",
    "a thumbnail of a {name}",
    "this is a photo of a {name}",
    "there is a {name} in this picture",
)
WITH_LOOK = (
    "a {look} photo of a {name}",
    "a {look} picture of a {name}",
    "a {look} thumbnail showing a {name}",
    "a small {look} image of a {name}",
    "a low resolution and {look} picture of a {name}",
    "a {name} in a {look} photo",
)
LOOKS = ("dark", "bright", "low contrast", "high contrast", "bluish", "greenish", "warm toned", "greyish")
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def describe_photos(keys: Sequence[str], class_names: Sequence[str], pixels: np.ndarray) -> list[str]:
    """Return a caption per photo of (N, H, W, 3) uint8: its class, for some with a look; the key decides."""
    looks = measure_looks(pixels)
    return [_describe(key, name, row) for key, name, row in zip(keys, class_names, looks, strict=True)]


def measure_looks(pixels: np.ndarray) -> np.ndarray:
    """Return (N, looks) bool: which of `LOOKS` are true of photos (N, H, W, 3) uint8."""
    values = pixels.astype(np.float32)
    luma = values @ LUMA
    brightness, contrast = luma.mean(axis=(1, 2)), luma.std(axis=(1, 2))
    red, green, blue = values.mean(axis=(1, 2)).T
    facts = {
        "dark": brightness < 84,
        "bright": brightness > 166,
        "low contrast": contrast < 33,
        "high contrast": contrast > 74,
        "bluish": blue - (red + green) / 2 > 13,
        "greenish": green - (red + blue) / 2 > 8,
        "warm toned": red - (green + blue) / 2 > 26,
        "greyish": np.ptp(values, axis=3).mean(axis=(1, 2)) < 12.8,
    }
    return np.stack([facts[look] for look in LOOKS], axis=1)


def _describe(key: str, class_name: str, looks: np.ndarray) -> str:
    number = derive_seed("photo caption", key)

    def choose(options: Sequence[str]) -> str:
        nonlocal number
        number, position = divmod(number, len(options))
        return options[position]

    name = choose(SYNONYMS.get(class_name, (class_name,)))
    if looks.any() and choose(("say", "omit")) == "say":
        look = choose([look for look, is_true in zip(LOOKS, looks, strict=True) if is_true])
        caption = choose(WITH_LOOK).format(look=look, name=name)
    else:
        caption = choose(PLAIN).format(name=name)
    return fix_articles(caption)
