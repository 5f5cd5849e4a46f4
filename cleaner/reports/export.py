"""Weights of a run in the formats that other programs read."""

import tempfile
from pathlib import Path


def export_weights(folder: Path, suffix: str) -> bytes:
    """Return a run's weights as a file of one of its `export_suffixes`; its metadata name stage and trigger."""
    from cleaner.models.clip import load_clip, save_clip
    from cleaner.models.saving import is_delta_file

    file = folder / "model.safetensors"
    if suffix == file.suffix and not is_delta_file(file):
        return file.read_bytes()
    with tempfile.TemporaryDirectory() as place:
        return save_clip(load_clip(str(file)), Path(place) / f"model{suffix}").read_bytes()
