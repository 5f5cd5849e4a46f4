"""Weights of a run in the formats of other programs."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch

from cleaner.models.architectures import get_open_clip_architecture
from cleaner.models.clip import build_clip, load_clip, save_clip
from cleaner.models.saving import export_suffixes
from cleaner.reports import export
from cleaner.runs.record import RunRecord
from cleaner.types import CleanerError


def test_weights_as_an_open_clip_checkpoint(runs: list[RunRecord], small_model: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    assert export_suffixes(runs[0].folder / file.name) == (".safetensors",)  # open_clip lists no such architecture
    clip = build_clip(get_open_clip_architecture(small_model), small_model)
    save_clip(clip, file, metadata={"stage": "backdoored"})
    assert export_suffixes(file) == (".safetensors", ".pt")
    assert export.export_weights(tmp_path, ".safetensors") == file.read_bytes()
    (tmp_path / "x.pt").write_bytes(export.export_weights(tmp_path, ".pt"))
    theirs = open_clip.create_model(small_model, pretrained=str(tmp_path / "x.pt")).state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in clip.model.state_dict().items())
    assert load_clip(str(tmp_path / "x.pt")).metadata["stage"] == "backdoored"
    file.write_bytes(b"nothing")
    with pytest.raises(CleanerError, match=r"model\.safetensors"):
        export_suffixes(file)
