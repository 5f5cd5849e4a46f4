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
from cleaner.models.token_blocks import PackedTexts
from cleaner.training.batch import Batch, BatchEncoder, BatchLoader
from cleaner.training.optimizer import build_optimizer, training_mode


@dataclass
class PackedClip(Clip):
    """A model whose texts were tokenized and packed before the clock starts."""

    packed: dict[tuple[str, ...], PackedTexts] = field(default_factory=dict)

    @classmethod
    def from_clip(cls, clip: Clip, texts: Sequence[Sequence[str]]) -> PackedClip:
        """Return the same model, ready to encode each list of `texts`."""
        own = {f.name: getattr(clip, f.name) for f in fields(Clip)}
        return cls(**own, packed={tuple(part): clip.pack_texts(part) for part in texts})

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        return self.encode_packed(self.packed[tuple(captions)])


def read_clock() -> float:
    """Return seconds: processor time with one thread, else wall time."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def load_batches(data: CaptionData, defense: Defense, config: FinetuneConfig) -> list[Batch]:
    """Return the batches of the first epoch, with augmented views, EDA texts and subtexts."""
    loader = BatchLoader(data, defense, config, config.batch_size)
    return [loader.load(step) for step in range(loader.epoch_steps)]


def time_bare_step(clip: Clip, data: CaptionData, defense: Defense, config: FinetuneConfig) -> float:
    """Return seconds per step of a method's forward and backward pass and optimizer step alone, over one epoch."""
    config = defense.adapt(config)
    batches = load_batches(data, defense, config)
    model = clip.to(config.device, config.precision)
    student = PackedClip.from_clip(model, [batch.texts for batch in batches])
    reference = None
    if defense.needs_reference:
        reference = PackedClip.from_clip(model.copy(), [batch.captions for batch in batches])
    encoder = BatchEncoder(student, reference, defense)
    optimizer = build_optimizer(student.model, config)
    start = read_clock()
    with training_mode(student.model, config.freeze_bn):
        for batch in batches:
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(defense.losses(encoder.encode(batch, 0)).values())).sum().backward()
            optimizer.step()
    if student.device.type == "cuda":
        torch.cuda.synchronize()
    return (read_clock() - start) / len(batches)
