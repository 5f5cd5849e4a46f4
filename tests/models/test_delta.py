"""Delta: small, close to the weights, exact where nothing changed, and refused for another base."""

from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import cleaner.models.checkpoints
from cleaner.models.clip import Clip, load_clip, save_clip, save_delta
from cleaner.models.delta import apply_delta, compute_delta
from cleaner.reports import export
from cleaner.types import CleanerError
from tests.conftest import make_clip


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clip:
    """A tiny model that replaces a built-in one."""
    monkeypatch.setenv("CLEANER_ASSETS", str(tmp_path / "assets"))
    clip = make_clip("rn")
    clip.name = "scenes-rn"
    save_clip(clip, tmp_path / "assets" / "scenes-rn" / "model.safetensors", metadata={"stage": "clean"})
    return clip


def trained(clip: Clip) -> Clip:
    """Return a copy that changed as in training: all weights, but few rows of the token embedding."""
    changed, generator = clip.copy(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, value in changed.model.state_dict().items():
            rows = slice(10, 40) if key == "token_embedding.weight" else slice(None)
            if value.is_floating_point():
                target = value[rows] if value.ndim else value
                target += 0.01 * torch.randn(target.shape, generator=generator)
    changed.metadata = {"stage": "backdoored", "target": "banana"}
    return changed


def test_delta_is_small_and_close(base: Clip, tmp_path: Path) -> None:
    changed = trained(base)
    file = save_delta(changed, "scenes-rn", tmp_path / "change.safetensors")
    whole = save_clip(changed, tmp_path / "whole.safetensors", half=True)
    assert file.stat().st_size < whole.stat().st_size / 10
    again = load_clip(str(file))
    assert again.metadata == changed.metadata
    assert again.name == "scenes-rn"
    before, after = changed.model.state_dict(), again.model.state_dict()
    lost = moved = 0.0
    for key, value in base.model.state_dict().items():
        if value.ndim < 2:
            assert torch.equal(after[key], before[key]), key
        else:
            lost += float((after[key] - before[key]).square().sum())
            moved += float((before[key] - value).square().sum())
    assert 0.05 < (lost / moved) ** 0.5 < 0.2  # a level of 0.35 root mean squares loses 0.35 / sqrt(12)
    untouched = base.model.state_dict()["token_embedding.weight"][40:]
    assert torch.equal(after["token_embedding.weight"][40:], untouched)
    assert load_file(file)["token_embedding.weight.rows"].tolist() == list(range(10, 40))


def test_delta_of_equal_weights_is_empty(base: Clip) -> None:
    state = base.model.state_dict()
    assert compute_delta(state, state) == {}
    assert all(torch.equal(value, state[key]) for key, value in apply_delta({}, state).items())


class OtherDevice(torch.Tensor):
    """A tensor that, as one on a GPU, takes part in nothing with the base's before it is copied."""

    def cpu(self) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.equal:
            raise RuntimeError("Expected all tensors to be on the same device")
        return super().__torch_function__(func, types, args, kwargs)


def test_delta_of_a_model_on_another_device(base: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = trained(base)
    here = save_delta(changed, "scenes-rn", tmp_path / "here.safetensors")
    state = {key: value.as_subclass(OtherDevice) for key, value in changed.model.state_dict().items()}
    monkeypatch.setattr(changed.model, "state_dict", lambda: state)
    assert save_delta(changed, "scenes-rn", tmp_path / "there.safetensors").read_bytes() == here.read_bytes()


def test_another_base_is_refused(base: Clip, tmp_path: Path) -> None:
    file = save_delta(trained(base), "scenes-rn", tmp_path / "change.safetensors")
    save_clip(make_clip("rn", seed=1), tmp_path / "assets" / "scenes-rn" / "model.safetensors")
    with pytest.raises(CleanerError, match=r"other weights of scenes-rn .* assets/example"):
        load_clip(str(file))


@pytest.mark.parametrize("broken", ["codes", "rows", "name"])
def test_a_broken_delta_is_refused(broken: str, base: Clip) -> None:
    state = base.model.state_dict()
    packed = compute_delta(trained(base).model.state_dict(), state)
    key = "visual.conv1.weight"
    if broken == "codes":
        packed[f"{key}.codes"] = packed[f"{key}.codes"][:20]
    elif broken == "rows":
        del packed[f"{key}.rows"]
    else:
        packed["nowhere.codes"] = packed.pop(f"{key}.codes")
    with pytest.raises(cleaner.models.checkpoints.DELTA_READ_ERRORS):
        apply_delta(packed, state)


def test_a_delta_cannot_unpack_to_more_than_the_model() -> None:
    own = {"x": torch.zeros(4, 4)}
    codes = torch.frombuffer(bytearray(zlib.compress(bytes(50_000_000))), dtype=torch.uint8)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="larger than the tensor"):
            apply_delta({"x.rows": torch.zeros(1), "x.steps": torch.zeros(1), "x.codes": codes}, own)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_exported_weights_are_complete(base: Clip, tmp_path: Path) -> None:
    save_delta(trained(base), "scenes-rn", tmp_path / "run" / "model.safetensors")
    (tmp_path / "out.safetensors").write_bytes(export.export_weights(tmp_path / "run", ".safetensors"))
    assert "token_embedding.weight" in load_file(tmp_path / "out.safetensors")
    assert load_clip(str(tmp_path / "out.safetensors")).metadata["stage"] == "backdoored"
