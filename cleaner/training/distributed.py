"""Distributed training: torchrun starts several processes, and each trains on its share of every batch.

Losses and defenses need no change: `gather` gives every rank the features of the whole batch, so all compute the same
loss, and `average_gradients` averages the gradients. A single process makes the same calls.
"""

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from cleaner.training.memory import batch_norms
from cleaner.types import Cancelled, CleanerError, OnStep, StepReport

T = TypeVar("T")
PROCESS_TIMEOUT = timedelta(hours=24)
"""How long the other ranks wait for rank 0, which alone optimizes triggers, evaluates and waits for the device."""


def join_process_group(device: str) -> None:
    """Join the process group of torchrun, if it started this process; `device` as in `FinetuneConfig`."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or world_size() > 1:
        return
    backend = "gloo"
    if device in ("auto", "cuda") and torch.cuda.is_available():
        gpus = torch.cuda.device_count()
        if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > gpus:  # on every rank: rank 0 reports it, none hangs
            raise CleanerError(f"this machine has {gpus} GPUs: start at most that many processes.")
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=PROCESS_TIMEOUT)


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process, 0 .. world_size - 1."""
    return dist.get_rank() if world_size() > 1 else 0


def is_rank_zero() -> bool:
    """Return whether this is rank 0, which evaluates and writes files."""
    return rank() == 0


def split_batch(rows: Sequence[T]) -> list[list[T]]:
    """Return a batch cut into one share per rank; in order, they are the batch."""
    cuts = [len(rows) * i // world_size() for i in range(world_size() + 1)]
    return [list(rows[low:high]) for low, high in pairwise(cuts)]


def prepare_model(model: nn.Module, batch_size: int, freeze_bn: bool) -> nn.Module:
    """Return the model with BatchNorm synchronized over all ranks, which needs GPUs."""
    if world_size() == 1:
        return model
    if batch_size < world_size():
        raise CleanerError(
            f"a batch of {batch_size} pairs cannot be shared by {world_size()} processes: choose a larger batch_size."
        )
    norms = batch_norms(model)
    if freeze_bn or not norms:
        return model
    convertible = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    on_gpu = next(model.parameters()).device.type == "cuda"
    if not on_gpu or any(type(module) not in convertible for module in norms):
        raise CleanerError(
            "BatchNorm cannot be synchronized between processes here: set freeze_bn, or train with one process."
        )
    synchronized: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return synchronized


class _Gather(torch.autograd.Function):
    """(n, D) of this rank -> (world_size, n, D) of all, with gradient.

    `torch.distributed.nn.functional.all_gather` does the same, but torch deprecates it (a FutureWarning at each call)
    and its backward pass communicates, which is needless here.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        blocks = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(blocks, rows)
        return torch.stack(blocks)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every rank computes the same loss from all rows, so its slice of the gradient is complete. The factor cancels
        # the mean over ranks in `average_gradients`.
        return gradients[0][rank()] * world_size()


def gather(rows: Tensor, sizes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return each part of the rows of all ranks, concatenated in the order of ranks; gradients flow.

    rows: (n, D), the parts of this rank, one after the other; sizes: for each rank, the rows of each part. Ranks may
    have different numbers of rows: all are padded to the longest, and the padding is cut off.
    """
    if world_size() == 1:
        return list(rows.split(list(sizes[0])))
    totals = [sum(parts) for parts in sizes]
    apply: Any = _Gather.apply
    blocks = apply(F.pad(rows, (0, 0, 0, max(totals) - len(rows))).contiguous())
    per_rank = [block[:n].split(list(parts)) for block, n, parts in zip(blocks, totals, sizes, strict=True)]
    return [torch.cat(parts) for parts in zip(*per_rank, strict=True)]


def gather_objects(value: T) -> list[T]:
    """Return the value of each rank, of several; for the training thread alone."""
    values = [value] * world_size()
    dist.all_gather_object(values, value)
    return values


def average_gradients(model: nn.Module) -> None:
    """Replace the gradients of every rank by their mean over all ranks."""
    if world_size() == 1:
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    means = (flat / world_size()).split([gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


def report_step(on_step: OnStep | None, report: StepReport) -> None:
    """Report a step from rank 0; if the callback raises, cancel every rank."""
    stop: BaseException | None = None
    if is_rank_zero() and on_step is not None:
        try:
            on_step(report)
        except BaseException as raised:
            stop = raised
    if world_size() > 1:
        is_stopped = torch.tensor(stop is not None)
        dist.broadcast(is_stopped, 0)
        if is_stopped and not is_rank_zero():
            raise Cancelled
    if stop is not None:
        raise stop


def run_on_rank_zero(compute: Callable[[], T]) -> T:
    """Return on every rank what rank 0 computes: an optimization may end differently on another GPU."""
    if world_size() == 1:
        return compute()
    result = [compute() if is_rank_zero() else None]
    dist.broadcast_object_list(result, 0)
    return result[0]  # type: ignore[return-value]
