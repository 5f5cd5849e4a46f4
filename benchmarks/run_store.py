"""Time to list 1,000 runs: python -m benchmarks.run_store"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from cleaner import presets
from cleaner.files import write_json
from cleaner.runs import store
from cleaner.runs.request import Request
from cleaner.runs.status import Status, write_status


@dataclass(frozen=True)
class Options:
    """Write run folders to a temporary folder and list them."""

    runs: int = 1000
    """Number of run folders."""


def main(options: Options) -> None:
    """Print seconds to write the folders, to list them uncached, and to list them again."""
    request = Request("backdoored", "scenes", 3000, presets.POISON, "scenes-rn", trigger={"name": "badnet"})
    with tempfile.TemporaryDirectory() as parent:
        start = time.perf_counter()
        for _ in range(options.runs):
            folder = store.create_run(request, Path(parent))
            write_status(folder, Status("done"))
            store.annotate(folder, name="a name", note="a note", tags=["tag"])
            write_json(folder / "metrics.json", {"ca": {"1": 0.9}})
        written = time.perf_counter() - start
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            assert len(store.list_runs(Path(parent))) == options.runs
            seconds.append(time.perf_counter() - start)
    first, again = seconds[0], min(seconds[1:])
    print(f"{options.runs:,} runs: written in {written:.2f} s, listed in {first:.3f} s, again in {again:.3f} s")


if __name__ == "__main__":
    main(tyro.cli(Options))
