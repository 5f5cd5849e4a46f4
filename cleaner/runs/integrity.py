"""SHA-256 of a run's result files: config.json states them, so that files that were changed or mixed up are noticed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cleaner.files import file_sha256, validate_regular
from cleaner.types import CleanerError

HASHES_KEY = "files_sha256"
HASHED_FILES = ("model.safetensors", "metrics.json", "manifest.json")


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 (hex) of the result files of a run that exist."""
    hashes = {name: _hash(folder / name) for name in HASHED_FILES}
    return {name: digest for name, digest in hashes.items() if digest}


def find_changed_files(folder: Path, stated: Mapping[str, Any]) -> list[str]:
    """Return the result files whose SHA-256 is not the stated one; one that is missing counts as changed."""
    return [name for name in HASHED_FILES if name in stated and _hash(folder / name) != stated[name]]


def _hash(path: Path) -> str:
    """Return the SHA-256 of a file; empty if it cannot be read."""
    try:
        validate_regular(path)
        return file_sha256(path)
    except (OSError, CleanerError):
        return ""
