"""CleanCLIP's published training loop, to compare the time of a step with.

Written from the public description of CleanCLIP (arXiv:2303.03323) and facts of its code (README, options, order of a
step), not copied: captions and their EDA copies tokenized once to the model's full context, AutoAugment of each
image as a PIL image in the worker processes of a DataLoader, one pass through each tower with originals and augmented
copies in one batch, in fp32, and AdamW that is not fused. It runs in a process of its own, without this project's
settings of torch and of the memory. It is favored twice: images come from memory, while the published code opens a file
for each, and no loss is read, there about five times per epoch. `python -m benchmarks.rival` gives it its best number
of loader processes.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import AutoAugment, Compose, Normalize, ToTensor

from benchmarks.bare_step import read_clock
from cleaner.config import FinetuneConfig
from cleaner.data.base import CaptionData
from cleaner.losses import Features, clip_loss, in_modal_loss
from cleaner.models.clip import Clip
from cleaner.models.tokenizer import load_tokenizer
from cleaner.text import eda

WARMUP_STEPS = 10
"""Steps before the clock starts, in which the loader processes start and fill their queues."""


class AugmentedPairs(Dataset[tuple[Tensor, ...]]):
    """Pairs as tensors (image, augmented image, tokens, augmented tokens), augmented when they are read."""

    def __init__(self, clip: Clip, data: CaptionData) -> None:
        pixels = (data.images(range(len(data))) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        self._images = [Image.fromarray(np.ascontiguousarray(image)) for image in pixels]
        reworded = [eda(caption, seed=i) for i, caption in enumerate(data.captions)]
        tokenizer, context = load_tokenizer(), getattr(clip.model, "context_length", 77)
        self._tokens, self._reworded = (tokenizer(texts, context_length=context) for texts in (data.captions, reworded))
        self._augment = AutoAugment()
        self._normalize = Compose([ToTensor(), Normalize(clip.architecture.mean, clip.architecture.std)])

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        image = self._images[index]
        views = self._normalize(image), self._normalize(self._augment(image))
        return *views, self._tokens[index], self._reworded[index]


def time_in_own_process(clip: Clip, data: CaptionData, config: FinetuneConfig, *, workers: int) -> float:
    """Return what `time_published_step` does, measured in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        call = partial(time_published_step, config=config, workers=workers, threads=torch.get_num_threads())
        return pool.submit(call, clip, data).result()


def time_published_step(clip: Clip, data: CaptionData, config: FinetuneConfig, *, workers: int, threads: int) -> float:
    """Return seconds per step over one epoch, with `threads` threads.

    `workers` processes augment the images; 0: the training process itself, whose processor time then includes it.
    """
    torch.set_num_threads(threads)
    model: Any = clip.copy().model
    model.to(memory_format=torch.contiguous_format).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=False)
    pairs = AugmentedPairs(clip, data)
    loader = DataLoader(pairs, config.batch_size, shuffle=True, drop_last=True, num_workers=workers)
    start, steps = 0.0, 0
    for step, (image, image_aug, text, text_aug) in enumerate(loader):
        if step == WARMUP_STEPS:
            start = read_clock()
        steps = step + 1 - WARMUP_STEPS
        optimizer.zero_grad()
        images = F.normalize(model.encode_image(torch.cat([image, image_aug])), dim=-1)
        texts = F.normalize(model.encode_text(torch.cat([text, text_aug])), dim=-1)
        f = Features(
            image=images[: len(image)],
            image_aug=images[len(image) :],
            text=texts[: len(text)],
            text_aug=texts[len(text) :],
            logit_scale=model.logit_scale.exp(),
        )
        (clip_loss(f) + in_modal_loss(f)).backward()
        optimizer.step()
    return (read_clock() - start) / steps
