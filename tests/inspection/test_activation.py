"""GELU or QuickGELU: tried where a file does not say, on the user's images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cleaner.inspection import activation
from cleaner.models.clip import Clip, build_clip, load_clip, save_clip
from tests.conftest import OPENAI, make_toy_data


def save(folder: Path, quick_gelu: bool) -> str:
    """Write weights as others publish them: without a word on the activation."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip = build_clip(replace(OPENAI["vit"], quick_gelu=quick_gelu), "published")
    path = folder / "published.pt"
    torch.save(clip.model.state_dict(), path)
    return str(path)


def test_the_same_weights_are_tried_with_both(tmp_path: Path, small_model: str) -> None:
    clip, data = load_clip(save(tmp_path, False)), make_toy_data()
    assert clip.has_assumed_activation
    other = activation._with_gelu(clip)
    assert other.sha256() == clip.sha256()
    images = data.images(range(4))
    with torch.no_grad():
        named = load_clip(f"{small_model}:{tmp_path / 'published.pt'}")
        assert torch.allclose(other.encode_image(images), named.encode_image(images), atol=1e-5)
        assert not torch.allclose(other.encode_image(images), clip.encode_image(images), atol=1e-5)
    trial = activation.try_activations(clip, data)
    assert trial is not None
    assert trial.n == len(data)
    assert trial.name == f"{small_model}:{tmp_path / 'published.pt'}"


@pytest.mark.parametrize(
    ("right", "images", "word"),
    [
        ("gelu", 48, "trained with GELU"),
        ("quick_gelu", 48, "fits"),
        ("gelu", 4, "not tell"),  # 3 more: the first is of class 0
        ("", 0, "not tell"),
    ],
)
def test_the_better_one_is_named(
    right: str, images: int, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, clip = make_toy_data(), load_clip(save(tmp_path, True))

    def encode(encoder: activation.Encoder, *_: object) -> torch.Tensor:
        """Features that are right for one activation on the first images, and else always class 0."""
        architecture = encoder.clip.architecture
        name = "quick_gelu" if architecture and architecture.quick_gelu else "gelu"
        is_right = (torch.arange(48) < images) & (name == right)
        return torch.eye(4)[torch.where(is_right, data.labels, 0)]

    monkeypatch.setattr(activation.Encoder, "encode_rows", encode)
    monkeypatch.setattr(activation.Encoder, "build_classifier", lambda *_: torch.eye(4))
    assert word in str(activation.try_activations(clip, data))


def test_a_file_that_says_is_not_tried(tmp_path: Path, tiny_clip: Clip, small_model: str) -> None:
    own = load_clip(str(save_clip(tiny_clip, tmp_path / "own.safetensors")))
    named = load_clip(f"{small_model}:{save(tmp_path, False)}")
    for clip in (own, named):
        assert activation.try_activations(clip, make_toy_data()) is None
