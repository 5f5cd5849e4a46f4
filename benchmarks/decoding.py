"""Images read, decoded and resized per second: python -m benchmarks.decoding PATH [key=value ...]"""

from __future__ import annotations

import sys
import time

from cleaner.data.base import CaptionData, load_data
from cleaner.models.framing import ImageTransform
from cleaner.runs.request import parse_data_arguments

BATCH_SIZE = 64
BATCHES = 40


def measure_throughput(data: CaptionData, *, prefetch: bool, compute_seconds: float = 0.0) -> tuple[float, float]:
    """Return images per second and the share of time spent waiting; `compute_seconds`: simulated work per batch."""
    total = min(BATCHES, len(data) // BATCH_SIZE)
    start, waited = time.perf_counter(), 0.0
    for batch in range(total):
        requested = time.perf_counter()
        data.images(range(batch * BATCH_SIZE, (batch + 1) * BATCH_SIZE))
        waited += time.perf_counter() - requested
        if prefetch and batch + 1 < total:
            data.prefetch(range((batch + 1) * BATCH_SIZE, (batch + 2) * BATCH_SIZE))
        time.sleep(compute_seconds)
    elapsed = time.perf_counter() - start
    return total * BATCH_SIZE / elapsed, waited / elapsed


def main() -> None:
    """Measure the data of the command line at three image sizes, with and without prefetch."""
    name, options = parse_data_arguments(sys.argv[1:])
    start = time.perf_counter()
    data = load_data(name, **options)
    print(f"{data.name}: {len(data):,} pairs, loaded and checked in {time.perf_counter() - start:.1f} s")
    for side in (32, 224, 336):
        framed = data.with_transform(ImageTransform(side))
        plain, _ = measure_throughput(framed, prefetch=False)
        step_seconds = BATCH_SIZE / plain  # a step that takes as long as reading its images
        shares = {
            prefetch: measure_throughput(framed, prefetch=prefetch, compute_seconds=step_seconds)[1]
            for prefetch in (False, True)
        }
        print(f"{side} px: {plain:,.0f} images/s; waiting {shares[False]:.0%}, with prefetch {shares[True]:.0%}")


if __name__ == "__main__":
    main()
