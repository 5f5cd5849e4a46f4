"""Batches of the training loop: which rows a step trains on, their images and texts, and their features."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from cleaner.config import FinetuneConfig, count_steps
from cleaner.data.augment import augment
from cleaner.data.base import CaptionData
from cleaner.defenses.base import Defense
from cleaner.losses import Features
from cleaner.losses.info_nce import pad_rows
from cleaner.models.blocks import ImageEncoder
from cleaner.models.clip import Clip
from cleaner.models.lanes import encode_in_halves, run_in_lanes
from cleaner.seed import derive_seed, numpy_generator
from cleaner.text import SubtextPair, content_words, eda, holds_relations
from cleaner.training import distributed, memory
from cleaner.types import OnStep


@dataclass(frozen=True)
class DrawnPair:
    """What all ranks know of a drawn pair: its position in the whole batch, its texts and their content words."""

    position: int
    caption: str
    positive: str
    negatives: list[str]
    caption_words: frozenset[str]
    positive_words: frozenset[str]

    @classmethod
    def create(cls, position: int, caption: str, subtexts: SubtextPair) -> DrawnPair:
        assert subtexts.positive is not None  # a pair without one is not drawn
        positive, negatives = subtexts.positive.text, [negative.text for negative in subtexts.negatives]
        return cls(position, caption, positive, negatives, content_words(caption), content_words(positive))


@dataclass(frozen=True)
class Batch:
    """One batch, ready to be encoded: the row indices of every rank, and the images and texts of this one.

    Attributes:
        shards: for each rank, the indices of its rows; together they are the batch, in order.
        images: (n, 3, H, W) in [0, 1], this rank's rows, as the defense perturbed them; views: augmented copies.
        captions, reworded: n texts each, the captions of this rank's rows and their augmented copies.
        drawn: for each rank, those of its pairs that were drawn; M together.
        style: style of the positive subtexts.
        labels: (N,) classes of the whole batch, as in `Features`; None unless the defense needs them.
    """

    epoch: int
    shards: list[list[int]]
    images: Tensor
    views: Tensor | None
    captions: list[str]
    reworded: list[str] | None
    drawn: list[list[DrawnPair]]
    style: str
    labels: Tensor | None = None

    @property
    def rows(self) -> list[int]:
        """Indices of this rank's rows."""
        return self.shards[distributed.rank()]

    @property
    def texts(self) -> list[str]:
        """All texts of this rank: captions, reworded captions, positive and negative subtexts."""
        pairs = self.drawn[distributed.rank()]
        negatives = [negative for pair in pairs for negative in pair.negatives]
        return [*self.captions, *(self.reworded or ()), *(pair.positive for pair in pairs), *negatives]

    @property
    def all_drawn(self) -> list[DrawnPair]:
        """The M drawn pairs of the whole batch, in order."""
        return [pair for pairs in self.drawn for pair in pairs]

    @cached_property
    def false_negative(self) -> Tensor:
        """(M, M) bool, as in `Features`."""
        return false_negatives(self.all_drawn, self.style)

    def first(self, count: int) -> Batch:
        """Return the batch of this rank's first `count` pairs alone; for a single process."""
        return replace(
            self,
            shards=[self.rows[:count]],
            images=self.images[:count],
            views=None if self.views is None else self.views[:count],
            captions=self.captions[:count],
            reworded=self.reworded and self.reworded[:count],
            drawn=[[pair for pair in self.drawn[0] if pair.position < count]],
            labels=None if self.labels is None else self.labels[:count],
        )


class BatchLoader:
    """Loads the batch of a step, a function of (seed, epoch, step); captions as far as the model reads."""

    def __init__(
        self,
        data: CaptionData,
        defense: Defense,
        config: FinetuneConfig,
        batch_size: int,
        captions: Sequence[str] | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        self.epoch_steps = len(data) // batch_size
        self.total_steps = count_steps(len(data), config)
        self._data, self._defense, self._config, self._batch_size = data, defense, config, batch_size
        self._texts = lru_cache(maxsize=1)(defense.plan(captions or data.captions, config.seed, on_step))
        self._order = lru_cache(maxsize=2)(self._draw_order)
        self._started: dict[int, Future[Batch]] = {}

    def start(self, step: int) -> None:
        """Begin to load the batch of a step in the background, if there is such a step; `load` then returns it."""
        if step < self.total_steps and step not in self._started:
            self._started = {step: _background().submit(self._load, step)}

    def load(self, step: int) -> Batch:
        """Return the batch of a step. Ranks exchange their subtexts here, as the training thread alone communicates."""
        started = self._started.pop(step, None)
        batch = self._load(step) if started is None else started.result()
        indices = self._texts(batch.epoch).drawn.indices
        if distributed.world_size() > 1 and not indices.isdisjoint(chain.from_iterable(batch.shards)):
            batch = replace(batch, drawn=distributed.gather_objects(batch.drawn[distributed.rank()]))
        return batch

    def _load(self, step: int) -> Batch:
        """Return the batch of a step, with the subtexts of this rank alone, and start to decode the next one."""
        epoch, seed, rank = step // self.epoch_steps, self._config.seed, distributed.rank()
        texts, shards = self._texts(epoch), self._shards(step)
        rows = shards[rank]
        images = self._defense.perturb(self._data.images(rows), seed, epoch, rows)
        if step + 1 < self.total_steps:
            self._data.prefetch(self._shards(step + 1)[rank])
        captions = [texts.captions[row] for row in rows]
        views = reworded = None
        if self._defense.needs_augmentation:
            views = augment(images, self._config.augmentation, seed, epoch, rows)
            reworded = self._reword(captions, epoch, rows)
        batch_rows = [row for shard in shards for row in shard]
        drawn: list[list[DrawnPair]] = [[] for _ in shards]
        drawn[rank] = [
            DrawnPair.create(position, caption, texts.drawn[row])
            for position, (row, caption) in enumerate(zip(rows, captions, strict=True), sum(map(len, shards[:rank])))
            if row in texts.drawn
        ]
        return Batch(
            epoch,
            shards,
            images,
            views,
            captions,
            reworded,
            drawn,
            texts.style,
            labels=self._data.labels[batch_rows] if self._defense.class_prompt or self._defense.needs_labels else None,
        )

    @property
    def class_prompts(self) -> list[str]:
        """The defense's prompt for each class of the data; none if it has no class prompt."""
        prompt = self._defense.class_prompt
        return [prompt.format(name) for name in self._data.class_names] if prompt else []

    def _reword(self, captions: Sequence[str], epoch: int, rows: Sequence[int]) -> list[str]:
        text_epoch = epoch if self._config.redraw else 0
        return [
            eda(caption, seed=derive_seed("eda", self._config.seed, text_epoch, row))
            for caption, row in zip(captions, rows, strict=True)
        ]

    def ends_epoch(self, step: int) -> bool:
        return (step + 1) % self.epoch_steps == 0

    def _draw_order(self, epoch: int) -> list[int]:
        generator = numpy_generator("order", self._config.seed, epoch)
        order: list[int] = generator.permutation(len(self._data)).tolist()
        return order

    def _shards(self, step: int) -> list[list[int]]:
        epoch, position = divmod(step, self.epoch_steps)
        start = position * self._batch_size
        return distributed.split_batch(self._order(epoch)[start : start + self._batch_size])


@cache
def _background() -> ThreadPoolExecutor:
    """Return the thread that loads batches."""
    return ThreadPoolExecutor(1, thread_name_prefix="batch")


@dataclass(frozen=True)
class BatchEncoder:
    """Encodes batches with the model in training and, if the defense needs it, the frozen reference."""

    student: Clip
    reference: Clip | None
    defense: Defense
    class_prompts: Sequence[str] = ()

    @cached_property
    def _classes(self) -> Tensor | None:
        """Unit features (C, D) of the class prompts, encoded once; None without prompts."""
        if not self.class_prompts:
            return None
        with torch.no_grad():
            return self.student.encode_text(self.class_prompts)

    def encode(self, batch: Batch, chunk_size: int) -> Features:
        """Return the features of the whole batch, of which this rank encodes its share in chunks (0: whole)."""
        reference = self._encode_reference(batch, chunk_size)
        images = batch.images.to(self.student.device)  # a GPU joins them sooner than the CPU
        if batch.views is not None:
            images = torch.cat([images, batch.views.to(images.device)])
        image_parts = [[len(shard)] * (1 if batch.views is None else 2) for shard in batch.shards]
        caption_parts = [[len(shard)] * (1 if batch.reworded is None else 2) for shard in batch.shards]
        subtexts = [[len(pairs), sum(len(pair.negatives) for pair in pairs)] for pairs in batch.drawn]
        encoder = ImageEncoder(self.student, self.defense.needs_blocks)
        own_images, own_texts = self._encode(encoder, images, batch.texts, chunk_size)
        image_rows = distributed.gather(own_images, image_parts)
        (image, *blocks), *image_aug = (encoder.split(rows) for rows in image_rows)
        text, *text_aug, positive, negatives = distributed.gather(
            own_texts,
            [[*c, *s] for c, s in zip(caption_parts, subtexts, strict=True)],
        )
        counts = [len(pair.negatives) for pair in batch.all_drawn]
        negative, negative_mask = pad_rows(negatives, counts)
        return Features(
            image=image,
            text=text,
            image_aug=image_aug[0][0] if image_aug else None,
            text_aug=text_aug[0] if text_aug else None,
            positive=positive,
            negative=negative,
            selected=torch.tensor([pair.position for pair in batch.all_drawn], dtype=torch.long).to(text.device),
            negative_mask=negative_mask if len(set(counts)) > 1 else None,
            false_negative=batch.false_negative.to(text.device),
            logit_scale=self.student.logit_scale,
            logit_bias=self.student.logit_bias,
            reference=reference,
            blocks=tuple(blocks),
            labels=None if batch.labels is None else batch.labels.to(image.device),
            classes=self._classes,
        )

    def _encode(
        self, encoder: ImageEncoder, images: Tensor, texts: list[str], chunk_size: int
    ) -> tuple[Tensor, Tensor]:
        """Return the rows of this rank's images and texts."""
        encode_text = self.student.encode_text
        if chunk_size:
            rows = memory.encode_in_chunks(encoder, images, chunk_size)
            return rows, memory.encode_in_chunks(encode_text, texts, chunk_size)
        if self.needs_whole_batch(memory.has_live_batch_norm(self.student.model)):
            return run_in_lanes(lambda: encoder(images), lambda: encode_text(texts))
        return encode_in_halves(encoder, images), encode_in_halves(encode_text, texts)

    def needs_whole_batch(self, is_live: bool) -> bool:
        """Return whether the images of a batch must be encoded together; is_live: BatchNorm is in train mode."""
        return is_live or self.defense.needs_blocks  # the hooks that keep the outputs of blocks serve one thread

    def _encode_reference(self, batch: Batch, chunk_size: int) -> Features | None:
        if self.reference is None:
            return None
        sizes = [[len(shard)] for shard in batch.shards]
        encoder = ImageEncoder(self.reference, self.defense.needs_blocks)
        with torch.no_grad():
            images = memory.encode_in_chunks(encoder, batch.images, chunk_size)
            captions = memory.encode_in_chunks(self.reference.encode_text, batch.captions, chunk_size)
            (image_rows,), (text,) = distributed.gather(images, sizes), distributed.gather(captions, sizes)
        image, *blocks = encoder.split(image_rows)
        return Features(image, text, blocks=tuple(blocks))


def false_negatives(pairs: Sequence[DrawnPair], style: str) -> Tensor:
    """Return (M, M) bool: [i, j] = positive subtext j is also true of pair i, judged by the captions.

    True if it equals positive i, or if caption i contains all of its content words. Positives of style "relation" must
    also keep their subjects and objects: "a banana left of a car" is not true of "a car left of a banana".
    """
    row = {word: k for k, word in enumerate(frozenset().union(*(pair.positive_words for pair in pairs)))}
    stated = np.zeros((len(row), len(pairs)), dtype=bool)
    for i, pair in enumerate(pairs):
        stated[[row[word] for word in pair.caption_words if word in row], i] = True
    is_true = np.empty((len(pairs), len(pairs)), dtype=bool)
    for j, pair in enumerate(pairs):
        is_true[:, j] = stated[[row[word] for word in pair.positive_words]].all(axis=0)
    texts = np.unique([pair.positive for pair in pairs], return_inverse=True)[1]
    is_equal = texts[:, None] == texts
    if style == "relation":
        for i, j in np.argwhere(is_true & ~is_equal).tolist():
            is_true[i, j] = holds_relations(pairs[i].caption, pairs[j].positive)
    return torch.from_numpy(is_true | is_equal)
