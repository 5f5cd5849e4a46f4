"""The photos of benchmarks.photos: all of CIFAR-10, in disjoint parts for attacker, defender, validation and test."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from cleaner.data.base import CaptionData, load_data

PHOTOS = "CLEANER_PHOTOS"
"""Environment variable with the folder of the photos."""
ROLES = {
    "attack": ("train", 22_500),
    "clean": ("clean", 22_500),
    "validation": ("validation", None),
    "test": ("test", None),
}
"""Role -> split and its most pairs. "train" and "clean" take the 45,000 photos from their two ends."""


def find_photos() -> str:
    """Return the name of the photos for `load_data`: those in the folder CLEANER_PHOTOS, or cifar10 below
    CLEANER_TEST_DATA, else torchvision's download.
    """
    shared = os.environ.get("CLEANER_TEST_DATA")
    folder = os.environ.get(PHOTOS) or (str(Path(shared) / "cifar10") if shared else "")
    return f"cifar10:{folder}" if folder and Path(folder).is_dir() else "cifar10"


def load_photos(role: str, size: int | None = None) -> CaptionData:
    """Return the pairs of a role (`ROLES`), or the first `size` of them; downloads 170 MB if there are none here."""
    data = _load_role(find_photos(), role)
    data = data if size is None else data.subset(range(min(size, len(data))))
    data.name = f"CIFAR-10/{role}"  # without the path, which is of this machine
    return data


@lru_cache(maxsize=8)
def _load_role(name: str, role: str) -> CaptionData:
    split, most = ROLES[role]
    data = _load_all(name).load_split(split)
    assert data is not None
    return data if most is None or most >= len(data) else data.subset(range(most))


@lru_cache(maxsize=1)
def _load_all(name: str) -> CaptionData:
    """Return one split of the photos; its others share the files in memory."""
    return load_data(name, split="test", **({} if ":" in name else {"download": True}))
