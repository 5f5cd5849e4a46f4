"""What is made from a finished run and kept beside its files: where it lies, and pictures to look at again."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from cleaner.files import atomic_write, cache_root
from cleaner.runs.store import is_shipped

IMAGES_FOLDER = "pictures"
_IMAGE_NAME = re.compile("[0-9a-f]{32}")


def derived_folder(folder: Path) -> Path:
    """Return the folder for what is made from a finished run: its own, or one in the cache if that is read only."""
    if is_shipped(folder) or not os.access(folder, os.W_OK):
        return cache_root() / "runs" / folder.name
    return folder


def hash_image(content: bytes) -> str:
    """Return the name under which a picture file is kept: the beginning of its SHA-256."""
    return hashlib.sha256(content).hexdigest()[:32]


def save_image(folder: Path, content: bytes) -> str:
    """Keep a copy of a picture file with a run; return its name there."""
    name = hash_image(content)
    with atomic_write(derived_folder(folder) / IMAGES_FOLDER / name) as temporary:
        temporary.write_bytes(content)
    return name


def read_image(folder: Path, name: str) -> bytes | None:
    """Return the picture file that `save_image` kept under a name, or None; a name from outside is no path."""
    if _IMAGE_NAME.fullmatch(name) is None:
        return None
    try:
        return (derived_folder(folder) / IMAGES_FOLDER / name).read_bytes()
    except OSError:
        return None
