"""header: a model's file is told from another network's, and from no .safetensors file at all."""

from __future__ import annotations

from pathlib import Path

import torch

from cleaner.files import shipped_assets
from cleaner.models.checkpoints import built_in_weights_path
from cleaner.models.clip import BUILT_IN, save_clip
from cleaner.models.header import is_clip_file
from cleaner.models.tensor_files import write_tensors
from tests.conftest import make_clip


def test_only_models_are_clip_files(tmp_path: Path) -> None:
    assert is_clip_file(save_clip(make_clip(), tmp_path / "clip.safetensors"))
    write_tensors(tmp_path / "encoder.safetensors", {"weight": torch.zeros(2)}, {"trigger": "ssba"})
    whole = (tmp_path / "clip.safetensors").read_bytes()
    (tmp_path / "cut_off.safetensors").write_bytes(whole[:-1])
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 40)
    (tmp_path / "short.safetensors").write_bytes(b"{}")
    names = ("encoder", "cut_off", "broken", "short", "missing")
    assert not any(is_clip_file(tmp_path / f"{name}.safetensors") for name in names)


def test_shipped_models_are_clip_files_and_the_trigger_is_not() -> None:
    found = {path.parent.name for path in shipped_assets().glob("*/model.safetensors") if is_clip_file(path)}
    assert found == {name for name in BUILT_IN if built_in_weights_path(name).exists()}
