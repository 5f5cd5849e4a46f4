"""A step in chunks has the loss and gradient of the whole step; a step that does not fit is halved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cleaner.config import FinetuneConfig
from cleaner.data.base import TensorData
from cleaner.defenses import DEFENSES
from cleaner.models.clip import Clip
from cleaner.training import loop, memory
from cleaner.training.loop import finetune
from cleaner.types import CleanerError
from tests.attacks.test_contract import image_file
from tests.conftest import make_clip
from tests.repeated import make_defense

CONFIG = FinetuneConfig(
    lr=1e-3, epochs=1, steps=3, batch_size=16, precision="fp32", device="cpu", warmup_steps=1, freeze_bn=True
)


@pytest.mark.parametrize("kind", ["vit", "rn"])
@pytest.mark.parametrize("name", list(DEFENSES))
def test_chunks_change_neither_losses_nor_gradients(
    name: str, kind: str, toy_data: TensorData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # SGD, since Adam amplifies the rounding of gradients near zero.
    monkeypatch.setattr(loop, "build_optimizer", lambda model, config: torch.optim.SGD(model.parameters(), config.lr))
    clip, defense = make_clip(kind), make_defense(name, image_file(tmp_path))
    if kind == "rn" and (reason := defense.unsupported_reason(clip, toy_data)):
        pytest.skip(reason)
    config = replace(CONFIG, lr=0.1)
    whole = finetune(clip, toy_data, defense, config)
    parts = finetune(clip, toy_data, defense, replace(config, chunk_size=5))
    for a, b in zip(whole.history, parts.history, strict=True):
        assert a.losses == pytest.approx(b.losses, rel=1e-4, abs=1e-5)
    for a, b in zip(whole.clip.model.parameters(), parts.clip.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    before = defense.prepare(clip, config.seed).model.parameters()
    moved = [(a - b).abs().max() for a, b in zip(before, whole.clip.model.parameters(), strict=True)]
    assert max(moved) > 0.005  # far above the tolerance


def test_chunks_keep_fewer_activations(tiny_clip: Clip) -> None:
    """Count the numbers that autograd saves for the backward pass."""
    images = torch.rand(32, 3, 32, 32)

    def held(size: int) -> int:
        kept: list[int] = []

        def pack(x: Tensor) -> Tensor:
            kept.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            memory.encode_in_chunks(tiny_clip.encode_image, images, size)
        return sum(kept)

    assert held(4) < held(0) / 2


def limited(monkeypatch: pytest.MonkeyPatch, max_images: int) -> None:
    """Run out of memory at more than `max_images` images at a time."""
    encode = Clip.encode_image

    def with_limit(self: Clip, images: Tensor) -> Tensor:
        if len(images) > max_images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return encode(self, images)

    monkeypatch.setattr(Clip, "encode_image", with_limit)


@pytest.mark.parametrize("name", list(DEFENSES))
def test_a_step_that_does_not_fit_is_chunked(
    name: str, toy_data: TensorData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, defense = make_clip("vit"), make_defense(name, image_file(tmp_path))
    whole = finetune(clip, toy_data, defense, CONFIG)
    limited(monkeypatch, max_images=6)
    parts = finetune(clip, toy_data, defense, CONFIG)
    assert [r.losses["total"] for r in parts.history] == pytest.approx([r.losses["total"] for r in whole.history], 1e-4)


def test_live_batch_norm_error_names_the_batch_size_that_fits(
    toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, live = make_clip("rn"), replace(CONFIG, freeze_bn=False)
    with pytest.raises(CleanerError, match="live BatchNorm"):
        finetune(clip, toy_data, DEFENSES["finetune"](), replace(live, chunk_size=4))
    limited(monkeypatch, max_images=6)
    with pytest.raises(CleanerError, match="batch_size 4, or freeze_bn"):
        finetune(clip, toy_data, DEFENSES["finetune"](), live)


def test_halving_stops_at_min_size_and_passes_other_errors() -> None:
    tried: list[int] = []

    def attempt(size: int) -> str:
        tried.append(size)
        if size > 3:
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
            )
        return "done"

    assert memory.halve_on_out_of_memory(attempt, 13) == ("done", 3)
    assert tried == [13, 6, 3]
    with pytest.raises(CleanerError, match="smaller batch"):
        memory.halve_on_out_of_memory(attempt, 13, min_size=4)

    def other(size: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        memory.halve_on_out_of_memory(other, 8)
