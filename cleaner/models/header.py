"""The texts in the header of a .safetensors file, read without torch."""

from pathlib import Path

from safetensors import SafetensorError, safe_open


def read_metadata(path: Path) -> dict[str, str]:
    """Return the texts in a header; none for a file of another format."""
    try:
        with safe_open(path, "np") as file:
            return dict(file.metadata() or {})
    except (OSError, ValueError, SafetensorError):
        return {}


def is_clip_file(path: Path) -> bool:
    """Return whether a file has a model, as `models.saving` writes it, not another network."""
    return "architecture" in read_metadata(path)
