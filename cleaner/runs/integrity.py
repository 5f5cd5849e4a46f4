"""SHA-256 of a run's result files: config.json states them, so that files that were changed or mixed up are noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from cleaner.files import FileVersion, file_version, validate_regular
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
    """Return the SHA-256 of a file; empty if it cannot be read. A file that has not changed is not read again."""
    version = file_version(path)
    return "" if version is None else _hash_version(path, version)


@lru_cache(maxsize=10_000)
def _hash_version(path: Path, version: FileVersion) -> str:
    try:
        validate_regular(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, CleanerError):
        return ""
