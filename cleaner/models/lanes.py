"""Encode a batch in two halves at the same time, each with half of the processor's threads.

Each operation of a small model ends too soon to keep several threads busy, and waits for its slowest thread; halves
wait for each other once per pass. Features, losses and gradients stay the same, up to the order of sums.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T", Tensor, Sequence[str])
MIN_ITEMS = 8
"""Fewer items are encoded in one piece."""

_of_this_thread = threading.local()


@contextmanager
def split_threads(device: torch.device) -> Iterator[None]:
    """Let `encode_in_lanes` in this thread use two lanes, and everything else half of the processor's threads.

    Without effect on another device, and with a single thread.
    """
    # Once per training: torch empties its caches whenever the number of threads is set.
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads < 2:
        yield
        return
    _of_this_thread.lanes = _start_lanes(threads // 2)
    torch.set_num_threads(threads // 2)
    try:
        yield
    finally:
        _of_this_thread.lanes = None
        torch.set_num_threads(threads)


def encode_in_lanes(encode: Callable[[T], Tensor], items: T) -> Tensor:
    """Return encode(items), (N, D), in one piece outside of `split_threads`.

    `encode` must treat items independently, and leave its gradient in leaf tensors: `items` receive none. Two gradients
    have the same sum in either order, so a repeated call gives the same bits; of three it would not.
    """
    lanes: ThreadPoolExecutor | None = getattr(_of_this_thread, "lanes", None)
    if lanes is None or len(items) < MIN_ITEMS:
        return encode(items)
    middle = (len(items) + 1) // 2
    halves = items[:middle], items[middle:]
    if torch.is_grad_enabled():
        anchor = torch.zeros((), requires_grad=True)  # makes the result part of the graph
        features: Tensor = _Halves.apply(anchor, lanes, encode, halves)  # type: ignore[no-untyped-call]
        return features
    return torch.cat(_run_both(lanes, encode, halves))


class _Halves(torch.autograd.Function):
    """One node of the graph for both halves; its backward pass runs through their own graphs."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, lanes: ThreadPoolExecutor, encode: Any, halves: Sequence[Any]) -> Tensor:
        with torch.enable_grad():
            ctx.lanes, ctx.features = lanes, _run_both(lanes, encode, halves)
        return torch.cat([features.detach() for features in ctx.features])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:
        features, ctx.features = ctx.features, None
        parts = gradients[0].split([len(half) for half in features])
        _run_both(ctx.lanes, lambda pair: torch.autograd.backward(*pair), list(zip(features, parts, strict=True)))
        return None, None, None, None


def _run_both(lanes: ThreadPoolExecutor, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
    """Return the function of both arguments, called in the two lanes with the gradient mode of this thread."""
    has_grad, is_inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def call(argument: Any) -> Any:
        with torch.inference_mode(is_inference), torch.set_grad_enabled(has_grad):
            return function(argument)

    futures = [lanes.submit(call, argument) for argument in arguments]
    wait(futures)  # also when one fails: the other must not go on alone
    return [future.result() for future in futures]


@cache
def _start_lanes(threads: int) -> ThreadPoolExecutor:
    """Return an executor of two threads, whose operations use `threads` threads each."""
    both_run = threading.Barrier(2)

    def initialize() -> None:
        torch.set_num_threads(threads)
        both_run.wait()

    lanes = ThreadPoolExecutor(2, thread_name_prefix="lane")
    wait([lanes.submit(initialize) for _ in range(2)])
    return lanes
