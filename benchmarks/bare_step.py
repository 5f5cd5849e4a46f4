"""The bare step of a method: forward, backward and optimizer step on batches that are ready to encode."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from cleaner.config import FinetuneConfig
from cleaner.data.base import CaptionData
from cleaner.defenses import Defense
from cleaner.models.clip import Clip
from cleaner.models.lanes import split_in_half
from cleaner.models.token_blocks import PackedTexts
from cleaner.training.batch import Batch, BatchEncoder, BatchLoader
from cleaner.training.optimizer import build_optimizer, training_mode
from cleaner.training.step import open_lanes


@dataclass
class PackedClip(Clip):
    """A model whose texts were tokenized and packed before the clock starts."""

    packed: dict[tuple[str, ...], PackedTexts] = field(default_factory=dict)

    @classmethod
    def from_clip(cls, clip: Clip, texts: Sequence[Sequence[str]]) -> PackedClip:
        """Return the same model, ready to encode each list of `texts`, whole or in halves."""
        own = {f.name: getattr(clip, f.name) for f in fields(Clip)}
        parts = [part for whole in texts for part in (whole, *split_in_half(whole)) if part]
        return cls(**own, packed={tuple(part): clip.pack_texts(part) for part in parts})

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        return self.encode_packed(self.packed[tuple(captions)])


def counts_processor_time(device: str) -> bool:
    """Return whether processor time is counted, not wall time: on a CPU with one thread."""
    return device == "cpu" and torch.get_num_threads() == 1


def read_clock(device: str = "cpu") -> float:
    """Return seconds, by the clock for work on this kind of device."""
    return time.process_time() if counts_processor_time(device) else time.perf_counter()


def load_batches(loader: BatchLoader) -> list[Batch]:
    """Return the batches of the first epoch, with augmented views, EDA texts and subtexts."""
    return [loader.load(step) for step in range(loader.epoch_steps)]


def prepare_step(
    clip: Clip, data: CaptionData, defense: Defense, config: FinetuneConfig
) -> tuple[BatchEncoder, list[Batch]]:
    """Return a method's encoder, whose texts are packed, and the batches of the first epoch."""
    data = defense.select(data)
    loader = BatchLoader(data, defense, config, min(config.batch_size, len(data)))
    batches, prompts = load_batches(loader), loader.class_prompts
    suspect, reference = clip.to(config.device, config.precision), None
    if defense.needs_reference:
        reference = PackedClip.from_clip(suspect.copy(), [batch.captions for batch in batches])
    texts = [*(batch.texts for batch in batches), *([prompts] if prompts else ())]
    student = PackedClip.from_clip(defense.prepare(suspect, config.seed), texts)
    return BatchEncoder(student, reference, defense, prompts), batches


def time_bare_step(clip: Clip, data: CaptionData, defense: Defense, config: FinetuneConfig) -> float:
    """Return seconds per step of a method's forward and backward pass and optimizer step alone, over one epoch."""
    config = defense.adapt(config)
    encoder, batches = prepare_step(clip, data, defense, config)
    student = encoder.student
    optimizer = defense.build_optimizer(student.model, config) or build_optimizer(student.model, config)
    start = read_clock(student.device.type)
    with open_lanes(encoder, config), training_mode(student.model, config.freeze_bn):
        for batch in batches:
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(defense.losses(encoder.encode(batch, 0)).values())).sum().backward()
            optimizer.step()
    if student.device.type == "cuda":
        torch.cuda.synchronize()
    return (read_clock(student.device.type) - start) / len(batches)
