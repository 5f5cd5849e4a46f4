"""The speed of this machine's processor, compared with the one on which the shipped durations were measured."""

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from statistics import fmean, median

from cleaner.files import cache_root, read_json_cached, write_json
from cleaner.jobs import locks
from cleaner.types import CleanerError

SECONDS = 0.3
"""Seconds for which each of the operations is repeated."""
OPERATIONS = ("matmul", "convolution")


def count_threads() -> str:
    """Return the threads of the processor that a run uses: OMP_NUM_THREADS, else all."""
    return os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count())


def _path() -> Path:
    return cache_root() / "queues" / f"calibration-{socket.gethostname()}-{count_threads()}.json"


def read() -> dict[str, float] | None:
    """Return the seconds of each operation on this machine; None if they were not measured yet."""
    values = read_json_cached(_path())
    known = {name: values.get(name) for name in OPERATIONS}
    return {name: seconds for name, seconds in known.items() if isinstance(seconds, float) and seconds > 0} or None


def compare(reference: Mapping[str, float]) -> float | None:
    """Return how many times as long as the machine of `reference` this one takes; None if it was not measured."""
    own = read()
    return None if own is None else fmean(own[name] / reference[name] for name in own)


def ensure() -> None:
    """Measure this machine unless it was measured, or a run uses its processor."""
    with locks.try_device_lock("cpu") as is_free, suppress(CleanerError):  # a full disk costs the prediction
        if is_free and read() is None:
            write_json(_path(), measure())


def measure() -> dict[str, float]:
    """Return the median seconds of a matrix product and of a convolution in the processor's fastest precision."""
    import torch
    from torch.nn.functional import conv2d

    from cleaner.models.devices import configure_torch, pick_precision

    configure_torch()
    dtype = torch.bfloat16 if pick_precision("cpu") == "bf16" else torch.float32
    matrix, images, kernel = (
        torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)
        for shape in ((1024, 1024), (32, 32, 32, 32), (32, 32, 3, 3))
    )
    with torch.inference_mode():
        return {
            "matmul": _time(lambda: matrix @ matrix),
            "convolution": _time(lambda: conv2d(images, kernel, padding=1)),
        }


def _time(call: Callable[[], object]) -> float:
    call()
    times: list[float] = []
    while not times or sum(times) < SECONDS:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times)
