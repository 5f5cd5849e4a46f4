"""The texts in the header of a .safetensors file, read without torch."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

MAX_HEADER_BYTES = 100_000_000
"""The limit of the format."""


def is_clip_file(path: Path) -> bool:
    """Return whether a file has a model, as `models.saving` writes it, not another network."""
    try:
        return "architecture" in _read_texts(path, path.stat().st_mtime)
    except (OSError, ValueError):
        return False


@lru_cache(maxsize=64)
def _read_texts(path: Path, mtime: float) -> dict[str, str]:
    """Return the texts of a file as it was at a time. Raises `ValueError` if it is not a .safetensors file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"{path.name} is not a .safetensors file")
        header = json.loads(file.read(length))
    texts = header.get("__metadata__") if isinstance(header, dict) else None
    return texts if isinstance(texts, dict) else {}
