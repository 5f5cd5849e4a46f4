"""Compute two things at the same time, each with half of the processor's threads.

Each operation of a small model ends too soon to keep several threads busy, and waits for its slowest thread; two lanes
wait for each other once per pass. Features, losses and gradients stay the same, up to the order of sums.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T", Tensor, Sequence[str])
R = TypeVar("R")
MIN_ITEMS = 8
"""Fewer items are encoded in one piece."""

_of_this_thread = threading.local()


@contextmanager
def split_threads(device: torch.device) -> Iterator[None]:
    """Let `run_in_lanes` in this thread use two lanes with half the threads each, on a CPU with several."""
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


def run_in_lanes(first: Callable[[], Tensor], second: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """Return both results, computed at the same time within `split_threads`, else one after the other.

    Their gradients may only arrive in leaf tensors. Of two gradients the sum is the same in either order, so a repeated
    call gives the same bits; of three it would not be.
    """
    lanes: ThreadPoolExecutor | None = getattr(_of_this_thread, "lanes", None)
    if lanes is None:
        return first(), second()
    if not torch.is_grad_enabled():
        return _run_both(lanes, first, second)
    anchor = torch.zeros((), requires_grad=True)  # makes the results part of the graph
    results: tuple[Tensor, Tensor] = _Lanes.apply(anchor, lanes, first, second)  # type: ignore[no-untyped-call]
    return results


def encode_in_halves(encode: Callable[[T], Tensor], items: T) -> Tensor:
    """Return encode(items), (N, D), in two lanes; `encode` must treat items independently."""
    if len(items) < MIN_ITEMS or getattr(_of_this_thread, "lanes", None) is None:
        return encode(items)
    first, second = split_in_half(items)
    return torch.cat(run_in_lanes(lambda: encode(first), lambda: encode(second)))


def split_in_half(items: T) -> tuple[T, T]:
    """Return the items of the first lane and those of the second."""
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]


class _Lanes(torch.autograd.Function):
    """One node of the graph for both results; its backward pass runs through their own graphs."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, lanes: ThreadPoolExecutor, *tasks: Callable[[], Tensor]) -> Any:
        with torch.enable_grad():
            ctx.lanes, ctx.results = lanes, _run_both(lanes, *tasks)
        return tuple(result.detach() for result in ctx.results)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:
        results, ctx.results = ctx.results, None
        _run_both(ctx.lanes, *(partial(_backward, *pair) for pair in zip(results, gradients, strict=True)))
        return None, None, None, None


def _backward(result: Tensor, gradient: Tensor) -> None:
    if result.requires_grad:  # a frozen tower has no gradient
        torch.autograd.backward(result, gradient)


def _run_both(lanes: ThreadPoolExecutor, first: Callable[[], R], second: Callable[[], R]) -> tuple[R, R]:
    """Return both results, computed in the two lanes in the gradient mode of this thread."""
    has_grad, is_inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def call(task: Callable[[], R]) -> R:
        with torch.inference_mode(is_inference), torch.set_grad_enabled(has_grad):
            return task()

    futures = [lanes.submit(call, task) for task in (first, second)]
    wait(futures)  # also when one fails: the other must not go on alone
    try:
        return futures[0].result(), futures[1].result()
    finally:
        futures.clear()  # in a cycle with it, an error would keep the activations of both lanes


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
