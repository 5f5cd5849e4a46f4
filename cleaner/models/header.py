"""The texts in the header of a .safetensors file, read without torch."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open


def is_clip_file(path: Path) -> bool:
    """Return whether a file has a model, as `models.saving` writes it, not another network."""
    try:
        with safe_open(path, "np") as file:
            return "architecture" in (file.metadata() or {})
    except (OSError, ValueError, SafetensorError):
        return False
