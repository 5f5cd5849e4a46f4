"""Batches of the training loop: which rows a step trains on, their images and texts, and their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from cleaner.config import FinetuneConfig
from cleaner.data.augment import augment
from cleaner.data.base import CaptionData
from cleaner.defenses.base import Defense, EpochTexts
from cleaner.losses import Features
from cleaner.losses.info_nce import pad_rows
from cleaner.models.blocks import ImageEncoder
from cleaner.models.clip import Clip
from cleaner.seed import derive_seed, numpy_generator
from cleaner.text import SubtextPair, content_words, eda, holds_relations
from cleaner.training import distributed, memory


@dataclass(frozen=True)
class Batch:
    """One batch: the row indices of every rank, and the images of this one.

    Attributes:
        shards: for each rank, the indices of its rows; together they are the batch, in order.
        images: (n, 3, H, W) in [0, 1], this rank's rows, as the defense perturbed them.
        texts: the texts of the epoch, for all rows of the data.
    """

    epoch: int
    shards: list[list[int]]
    images: Tensor
    texts: EpochTexts

    @property
    def rows(self) -> list[int]:
        """Indices of this rank's rows."""
        return self.shards[distributed.rank()]

    @property
    def drawn(self) -> list[list[SubtextPair]]:
        """For each rank, the subtexts of those of its rows that were drawn."""
        return [[self.texts.drawn[row] for row in shard if row in self.texts.drawn] for shard in self.shards]

    def first(self, count: int) -> Batch:
        """Return the batch of this rank's first `count` pairs alone."""
        return replace(self, shards=[self.rows[:count]], images=self.images[:count])


class BatchLoader:
    """Loads the batch of a step; its rows are a function of (seed, epoch, step), so resuming replays nothing."""

    def __init__(self, data: CaptionData, defense: Defense, config: FinetuneConfig, batch_size: int) -> None:
        self.epoch_steps = len(data) // batch_size
        self.total_steps = config.steps or config.epochs * self.epoch_steps
        self._data, self._defense, self._seed, self._batch_size = data, defense, config.seed, batch_size
        self._texts = lru_cache(maxsize=1)(defense.plan(data.captions, config.seed))
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def load(self, step: int) -> Batch:
        """Return the batch of a step, and start to decode the next one."""
        epoch = step // self.epoch_steps
        texts, shards = self._texts(epoch), self._shards(step)
        rows = shards[distributed.rank()]
        images = self._defense.perturb(self._data.images(rows), self._seed, epoch, rows)
        if step + 1 < self.total_steps:
            self._data.prefetch(self._shards(step + 1)[distributed.rank()])
        return Batch(epoch, shards, images, texts)

    def ends_epoch(self, step: int) -> bool:
        return (step + 1) % self.epoch_steps == 0

    def _draw_order(self, epoch: int) -> list[int]:
        order: list[int] = numpy_generator("order", self._seed, epoch).permutation(len(self._data)).tolist()
        return order

    def _shards(self, step: int) -> list[list[int]]:
        epoch, position = divmod(step, self.epoch_steps)
        start = position * self._batch_size
        return distributed.split_batch(self._order(epoch)[start : start + self._batch_size])


@dataclass(frozen=True)
class BatchEncoder:
    """Encodes batches with the model in training and, if the defense needs it, the frozen reference."""

    student: Clip
    reference: Clip | None
    defense: Defense
    config: FinetuneConfig
    data: CaptionData

    @cached_property
    def _classes(self) -> Tensor | None:
        """Unit features (C, D) of the defense's class prompts."""
        if not self.defense.class_prompt:
            return None
        with torch.no_grad():
            return self.student.encode_text([self.defense.class_prompt.format(name) for name in self.data.class_names])

    def encode(self, batch: Batch, chunk_size: int) -> Features:
        """Return the features of the whole batch, of which this rank encodes its share.

        One forward pass for all images and one for all texts, in chunks of `chunk_size` (0: whole).
        """
        reference = self._encode_reference(batch)
        images, texts = self._augment(batch)
        own_pairs = batch.drawn[distributed.rank()]
        texts += [pair.positive.text for pair in own_pairs if pair.positive is not None]
        texts += [negative.text for pair in own_pairs for negative in pair.negatives]
        views = [[len(shard)] * (2 if self.defense.needs_augmentation else 1) for shard in batch.shards]
        subtexts = [[len(pairs), sum(len(pair.negatives) for pair in pairs)] for pairs in batch.drawn]
        encoder = ImageEncoder(self.student, self.defense.needs_blocks)
        image_rows = distributed.gather(memory.encode_in_chunks(encoder, images, chunk_size), views)
        (image, *blocks), *image_aug = (encoder.split(rows) for rows in image_rows)
        text, *text_aug, positive, negatives = distributed.gather(
            memory.encode_in_chunks(self.student.encode_text, texts, chunk_size),
            [[*v, *s] for v, s in zip(views, subtexts, strict=True)],
        )
        rows = [row for shard in batch.shards for row in shard]
        pairs = [pair for shard in batch.drawn for pair in shard]
        selected = [i for i, row in enumerate(rows) if row in batch.texts.drawn]
        negative, negative_mask = pad_rows(negatives, [len(pair.negatives) for pair in pairs])
        return Features(
            image=image,
            text=text,
            image_aug=image_aug[0][0] if image_aug else None,
            text_aug=text_aug[0] if text_aug else None,
            positive=positive,
            negative=negative,
            selected=torch.tensor(selected, dtype=torch.long, device=text.device),
            negative_mask=negative_mask,
            false_negative=false_negatives(
                [pair.positive.text for pair in pairs if pair.positive is not None],
                [batch.texts.captions[rows[i]] for i in selected],
                style=batch.texts.style,
            ).to(text.device),
            logit_scale=self.student.logit_scale,
            reference=reference,
            blocks=tuple(blocks),
            labels=None if self._classes is None else self.data.labels[rows].to(image.device),
            classes=self._classes,
        )

    def _encode_reference(self, batch: Batch) -> Features | None:
        if self.reference is None:
            return None
        sizes = [[len(shard)] for shard in batch.shards]
        encoder = ImageEncoder(self.reference, self.defense.needs_blocks)
        with torch.no_grad():
            (image_rows,) = distributed.gather(encoder(batch.images), sizes)
            (text,) = distributed.gather(
                self.reference.encode_text([batch.texts.captions[row] for row in batch.rows]), sizes
            )
        image, *blocks = encoder.split(image_rows)
        return Features(image, text, blocks=tuple(blocks))

    def _augment(self, batch: Batch) -> tuple[Tensor, list[str]]:
        """Return this rank's images and captions, each followed by its augmented views where they are needed."""
        captions = [batch.texts.captions[row] for row in batch.rows]
        if not self.defense.needs_augmentation:
            return batch.images, captions
        config = self.config
        views = augment(batch.images, config.augmentation, config.seed, batch.epoch, batch.rows)
        text_epoch = batch.epoch if config.redraw else 0
        reworded = [
            eda(caption, seed=derive_seed("eda", config.seed, text_epoch, row))
            for caption, row in zip(captions, batch.rows, strict=True)
        ]
        return torch.cat([batch.images, views]), captions + reworded


def false_negatives(positives: Sequence[str], captions: Sequence[str], style: str = "core") -> Tensor:
    """Return (M, M) bool: [i, j] = positive subtext j is also true of pair i, judged by the captions.

    True if it equals positive i, or if caption i contains all of its content words. Positives of style "relation" must
    also keep their subjects and objects: "a banana left of a car" is not true of "a car left of a banana".
    """
    positive_words = [content_words(positive) for positive in positives]
    caption_words = [content_words(caption) for caption in captions]
    rows = [
        [
            other == positive or (words <= allowed and (style != "relation" or holds_relations(caption, other)))
            for other, words in zip(positives, positive_words, strict=True)
        ]
        for positive, caption, allowed in zip(positives, captions, caption_words, strict=True)
    ]
    return torch.tensor(rows, dtype=torch.bool).reshape(len(positives), len(positives))
