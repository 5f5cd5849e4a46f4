"""The benchmark of a training step: every defense, and bare and published steps that compute what they claim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks import bare_step, published_loop
from benchmarks.step import TIMED_METHODS, time_preparation
from cleaner.config import FinetuneConfig
from cleaner.data.base import TensorData
from cleaner.defenses import DEFENSES
from cleaner.models.clip import Clip
from cleaner.training import loop

CONFIG = FinetuneConfig(batch_size=8, epochs=1, warmup_steps=0, precision="fp32", device="cpu")


def test_every_defense_is_timed() -> None:
    assert {defense.state_dict()["name"] for defense in TIMED_METHODS.values()} == set(DEFENSES)


@pytest.mark.parametrize("name", ["ta_cleaner, K 100%", "par", "feature_repelling", "rvpt"])
def test_bare_step_computes_the_losses_of_the_loop(
    name: str, tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal losses at the first step, and no text tokenized while the clock runs."""
    defense, data = TIMED_METHODS[name], toy_data.subset(range(16))
    encoder, batches = bare_step.prepare_step(tiny_clip, data, defense, CONFIG)
    monkeypatch.setattr(Clip, "pack_texts", None)
    with torch.no_grad():
        losses = defense.losses(encoder.encode(batches[0], 0))
    monkeypatch.undo()
    expected = loop.finetune(tiny_clip, data, defense, replace(CONFIG, steps=1)).history[0].losses
    assert {term: value.item() for term, value in losses.items()} == pytest.approx(
        {term: value for term, value in expected.items() if term != "total"}, abs=1e-6
    )
    assert bare_step.time_bare_step(tiny_clip, data, defense, CONFIG) > 0


def test_one_thread_counts_processor_time_but_not_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """There it would exclude the wait for the GPU."""
    for threads, expected in ((1, [True, False]), (2, [False, False])):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert [bare_step.counts_processor_time(device) for device in ("cpu", "cuda")] == expected


def test_published_loop_pads_texts_encodes_both_views_at_once_and_trains_a_copy(
    tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tiny_clip.sha256()
    monkeypatch.setattr(published_loop, "WARMUP_STEPS", 2)
    pairs = published_loop.AugmentedPairs(tiny_clip, toy_data)
    assert [part.shape for part in pairs[3]] == [(3, 32, 32), (3, 32, 32), (77,), (77,)]
    assert torch.equal(pairs[3][2][: tiny_clip.tokenize([toy_data.captions[3]]).shape[1]].max(), pairs[3][2].max())
    passes: list[tuple[str, int]] = []

    def recorded(tower: str) -> Callable[[Any, torch.Tensor], torch.Tensor]:
        encode = getattr(type(tiny_clip.model), tower)
        return lambda model, rows: passes.append((tower, len(rows))) or encode(model, rows)

    for tower in ("encode_image", "encode_text"):
        monkeypatch.setattr(type(tiny_clip.model), tower, recorded(tower))
    threads = torch.get_num_threads()
    assert published_loop.time_published_step(tiny_clip, toy_data, CONFIG, workers=0, threads=threads) > 0
    assert passes == [("encode_image", 16), ("encode_text", 16)] * 6
    assert tiny_clip.sha256() == before


def test_preparation_times_each_part(tiny_clip: Clip, toy_data: TensorData) -> None:
    times = time_preparation(tiny_clip, toy_data, CONFIG)
    assert times.keys() == {"subtexts", "augmentation", "EDA", "tokens"}
    assert all(value > 0 for value in times.values())
