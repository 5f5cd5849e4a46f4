"""Parallel: several processes train one model, each with its share of every batch, as torchrun starts them.

Losses and defences know nothing of it. `gather` gives every process the features of the whole batch, so that all
compute the same loss; then the gradients of the parameters are averaged. One process alone goes through the same calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from cleaner.types import Cancelled, CleanerError, OnStep, StepReport

T = TypeVar("T")
PROCESS_TIMEOUT = timedelta(hours=24)
"""How long the others may wait for the first one, which alone optimises triggers, measures and waits for the device."""


def join_process_group(device: str) -> None:
    """Join the processes that torchrun has started, if it has; `device` as in `FinetuneConfig`."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or world_size() > 1:
        return
    backend = "gloo"
    if device in ("auto", "cuda") and torch.cuda.is_available():
        cards = torch.cuda.device_count()
        if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > cards:  # in all of them: the first one tells the user
            raise CleanerError(f"there are {cards} GPUs here: start that many processes at most.")
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=PROCESS_TIMEOUT)


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return which process this is, 0 .. size - 1."""
    return dist.get_rank() if world_size() > 1 else 0


def is_rank_zero() -> bool:
    """Return whether this process writes files and measures: the only one, or the first of several."""
    return rank() == 0


def split_batch(rows: Sequence[T]) -> list[list[T]]:
    """Return a batch cut into one part for each process; together they are the batch, in its order."""
    cuts = [len(rows) * i // world_size() for i in range(world_size() + 1)]
    return [list(rows[low:high]) for low, high in pairwise(cuts)]


def prepare_model(model: nn.Module, batch_size: int, freeze_bn: bool) -> nn.Module:
    """Return a model as several processes can train it: BatchNorm sees the whole batch.

    Raises `CleanerError` where it cannot (SyncBatchNorm runs on GPUs only), or a batch has fewer pairs than processes.
    """
    if world_size() == 1:
        return model
    if batch_size < world_size():
        raise CleanerError(
            f"a batch of {batch_size} pairs cannot be shared by {world_size()} processes: choose a larger one."
        )
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if freeze_bn or not norms:
        return model
    known = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    on_gpu = next(model.parameters()).device.type == "cuda"
    if not on_gpu or any(type(module) not in known for module in norms):
        raise CleanerError(
            "the BatchNorm of this model cannot see the batches of several processes here: set freeze_bn, or train "
            "with one process."
        )
    synchronised: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return synchronised


class _Gather(torch.autograd.Function):
    """(n, D) of this process -> (size, n, D) of all, with gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        blocks = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(blocks, rows)
        return torch.stack(blocks)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every process computes the same loss from all rows: its own slice of the gradient is whole. Times the number
        # of processes, for the parameters' gradients are averaged over them, not summed.
        return gradients[0][rank()] * world_size()


def gather(rows: Tensor, sizes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return each part of the rows of all processes together, in the order of the processes; gradients flow.

    rows: (n, D), the parts of this process one after the other; sizes: for each process, the rows of each part. Numbers
    of rows differ, since the pairs drawn for subtexts lie anywhere: all are padded to the longest, and the padding is
    cut off again.
    """
    if world_size() == 1:
        return list(rows.split(list(sizes[0])))
    totals = [sum(parts) for parts in sizes]
    apply: Any = _Gather.apply
    blocks = apply(F.pad(rows, (0, 0, 0, max(totals) - len(rows))).contiguous())
    cut = [block[:n].split(list(parts)) for block, n, parts in zip(blocks, totals, sizes, strict=True)]
    return [torch.cat(parts) for parts in zip(*cut, strict=True)]


def average_gradients(model: nn.Module) -> None:
    """Give every process the mean of the gradients of all."""
    if world_size() == 1:
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    means = (flat / world_size()).split([gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


def report_step(on_step: OnStep | None, report: StepReport) -> None:
    """Let the first process tell of a step; if that stops it, all others stop with it (`Cancelled`)."""
    stop: BaseException | None = None
    if is_rank_zero() and on_step is not None:
        try:
            on_step(report)
        except BaseException as raised:
            stop = raised
    if world_size() > 1:
        told = torch.tensor(stop is not None)
        dist.broadcast(told, 0)
        if told and not is_rank_zero():
            raise Cancelled
    if stop is not None:
        raise stop


def run_on_rank_zero(make: Callable[[], T]) -> T:
    """Return what the first process makes, in all of them: an optimisation may end differently on another card."""
    if world_size() == 1:
        return make()
    box = [make() if is_rank_zero() else None]
    dist.broadcast_object_list(box, 0)
    return box[0]  # type: ignore[return-value]
