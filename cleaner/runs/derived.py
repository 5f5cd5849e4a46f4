"""Files derived from a finished run: the folder they are in, and images that were saved with it."""

import hashlib
import os
import re
from pathlib import Path

from cleaner.files import MAX_IMAGE_BYTES, cache_root, read_limited, write_bytes
from cleaner.runs.folders import is_shipped
from cleaner.types import CleanerError

IMAGES_FOLDER = "pictures"
_IMAGE_NAME = re.compile("[0-9a-f]{32}")


def derived_folder(folder: Path) -> Path:
    """Return the folder for files derived from a run: the run's own, or one in the cache if that is read only."""
    if is_shipped(folder) or not os.access(folder, os.W_OK):
        return cache_root() / "runs" / unique_name(folder)
    return folder


def find_derived(folder: Path, name: str) -> Path:
    """Return the path of a file derived from a run, which need not exist; an own one before one that came with it."""
    own, in_run = derived_folder(folder) / name, folder / name
    return own if own.exists() or not in_run.exists() else in_run


def unique_name(folder: Path) -> str:
    """Return the name of a run and 12 digits: another one for a run elsewhere, or later in the same place."""
    try:
        config = (folder / "config.json").read_bytes()
    except OSError:
        config = b""
    return f"{folder.name}-{hashlib.sha256(os.fsencode(folder.resolve()) + config).hexdigest()[:12]}"


def hash_image(content: bytes) -> str:
    """Return the name under which an image file is saved: the first 32 digits of its SHA-256."""
    return hashlib.sha256(content).hexdigest()[:32]


def save_image(folder: Path, content: bytes) -> str:
    """Save a copy of an image file with a run; return its name there."""
    name = hash_image(content)
    write_bytes(derived_folder(folder) / IMAGES_FOLDER / name, content)
    return name


def read_image(folder: Path, name: str) -> bytes | None:
    """Return the image file that `save_image` saved as `name`, or None; other names, such as paths, are refused."""
    if _IMAGE_NAME.fullmatch(name) is None:
        return None
    try:
        return read_limited(find_derived(folder, f"{IMAGES_FOLDER}/{name}"), MAX_IMAGE_BYTES)
    except (OSError, CleanerError):
        return None
