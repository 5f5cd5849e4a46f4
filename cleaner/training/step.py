"""Forward and backward pass of one batch, in smaller chunks if memory runs out."""

from __future__ import annotations

import torch
from torch import Tensor

from cleaner.training import distributed, memory
from cleaner.training.batch import Batch, BatchEncoder
from cleaner.types import CleanerError

Losses = dict[str, Tensor]


class TrainStep:
    """Computes the gradient of a batch. A chunk size that fit once is kept for the steps that follow."""

    def __init__(self, encoder: BatchEncoder, chunk_size: int) -> None:
        self._encoder, self._chunk_size = encoder, chunk_size

    def backward(self, batch: Batch) -> dict[str, float]:
        """Leave the gradient in the parameters; return the named loss terms and their sum, "total".

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
                return self._attempt(batch.first(chunk_size), 0)
            return self._attempt(batch, 0 if chunk_size >= size else chunk_size)

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

    def _attempt(self, batch: Batch, chunk_size: int) -> Losses:
        self._encoder.student.model.zero_grad(set_to_none=True)
        losses = self._encoder.defense.losses(self._encoder.encode(batch, chunk_size))
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        return {**losses, "total": total}
