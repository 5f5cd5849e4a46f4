"""Forward and backward pass of one batch, in smaller chunks if memory runs out."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from cleaner.config import FinetuneConfig
from cleaner.models.clip import Clip
from cleaner.models.lanes import split_threads
from cleaner.training import distributed, memory
from cleaner.training.batch import Batch, BatchEncoder
from cleaner.types import CleanerError

Losses = dict[str, Tensor]

FP16_LOSS_SCALE = 1024
"""Factor of the loss in fp16, a power of two: without it a fifth of the image tower's gradients became 0 on Scenes."""
SMALL_IMAGE_TOWER = 1_000_000
"""Parameters up to which an image tower gains little from a second thread."""


def uses_lanes(encoder: BatchEncoder, config: FinetuneConfig) -> bool:
    """Return whether two lanes (`models.lanes`) are faster: on a CPU with a small image tower."""
    if config.chunk_size:
        return False
    model = encoder.student.model
    is_live = not config.freeze_bn and bool(memory.batch_norms(model))
    sizes = [parameter.numel() for name, parameter in model.named_parameters() if name.startswith("visual.")]
    return not encoder.needs_whole_batch(is_live) or sum(sizes) <= SMALL_IMAGE_TOWER


def open_lanes(encoder: BatchEncoder, config: FinetuneConfig) -> AbstractContextManager[None]:
    """Return the context of a training: two lanes where they make it faster."""
    return split_threads(encoder.student.device) if uses_lanes(encoder, config) else nullcontext()


class TrainStep:
    """Computes the gradient of a batch. A chunk size that fit once is kept for the steps that follow."""

    def __init__(self, encoder: BatchEncoder, chunk_size: int) -> None:
        self._encoder, self._chunk_size = encoder, chunk_size

    def backward(self, batch: Batch, meanwhile: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Leave the gradient in the parameters; return the named loss terms and their sum, "total".

        `meanwhile` is called before the backward pass, which runs outside of Python, so that work which it starts in
        another Python thread delays nothing. It is called again when the step is repeated.
        When memory runs out, the step is repeated in chunks of half the size. With several processes it is not: the
        others would wait. Raises `CleanerError` if BatchNorm is live, since it would normalize each chunk separately.
        """
        size = len(batch.rows)
        is_live = memory.has_live_batch_norm(self._encoder.student.model)
        if is_live and 0 < self._chunk_size < size:
            raise CleanerError(
                f"live BatchNorm cannot be trained in chunks of {self._chunk_size}: set freeze_bn, or chunk_size 0."
            )

        def attempt(chunk_size: int) -> Losses:
            if is_live and chunk_size < size:  # finds a batch size that fits, for the error message
                return self._attempt(batch.first(chunk_size), 0, meanwhile)
            return self._attempt(batch, 0 if chunk_size >= size else chunk_size, meanwhile)

        if distributed.world_size() > 1:
            losses = attempt(self._chunk_size or size)
        else:
            losses, fit = memory.halve_on_out_of_memory(attempt, self._chunk_size or size, min_size=2 if is_live else 1)
            if is_live and fit < size:
                raise CleanerError(
                    f"{self._encoder.student.device} runs out of memory at {size} pairs a batch, and live BatchNorm "
                    f"cannot be trained in chunks: set batch_size {fit}, or freeze_bn."
                )
            self._chunk_size = fit
        # One transfer: on a GPU, each would wait for all work.
        values = torch.stack([loss.detach() for loss in losses.values()]).tolist()
        return dict(zip(losses, values, strict=True))

    def _attempt(self, batch: Batch, chunk_size: int, meanwhile: Callable[[], None]) -> Losses:
        self._encoder.student.model.zero_grad(set_to_none=True)
        losses = self._encoder.defense.losses(self._encoder.encode(batch, chunk_size))
        total = torch.stack(list(losses.values())).sum()
        meanwhile()
        backward(self._encoder.student, total)
        return {**losses, "total": total}


def backward(student: Clip, total: Tensor) -> None:
    """Fill the gradients; in fp16 those of a multiple of the loss, as the smallest would become 0, then divided."""
    if student.precision != "fp16":
        total.backward()
        return
    (total * FP16_LOSS_SCALE).backward()
    for parameter in student.model.parameters():
        if parameter.grad is not None:
            parameter.grad /= FP16_LOSS_SCALE
