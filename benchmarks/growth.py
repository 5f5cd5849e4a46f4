"""How time and memory grow with pairs and classes, and what the demo and the app need: python -m benchmarks.growth

Each measurement is a process of its own. Images are rendered before it, and the model is loaded; memory is what the
operation adds to that. The exponent is the slope of log seconds over log size through the three largest sizes.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
import tyro

from benchmarks import RESULTS_DIR, protocol
from benchmarks.browser import open_page, start_server, wait_idle
from benchmarks.visitors import list_titles
from benchmarks.watching import time_switch
from cleaner.files import child_environment

RESULT_PATH = RESULTS_DIR / "growth.json"
MODEL, TARGET = "scenes-lite", 0
OPERATIONS = ("poison", "defend", "evaluate", "map", "detect")
SIZES = {"pairs": (1_000, 3_000, 10_000, 30_000, 100_000), "classes": (10, 32, 100, 320, 1_000)}
FIXED = {"pairs": 2_000, "classes": 32}
"""What stays the same while the other grows."""
TESTED = 500
"""Test pairs of a training, whatever its size."""
FITTED = 3
"""Largest sizes that the exponent is fitted to."""
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Options:
    """Measure and write the result file."""

    rounds: int = 3
    """Repetitions of each measurement; the result has the medians."""
    out: Path = RESULT_PATH
    """Result file."""


def main(options: Options) -> None:
    """Measure and write."""
    protocol.read_started_commit()
    rows = []
    for axis, sizes in SIZES.items():
        for operation in OPERATIONS:
            points = [measure(operation, axis, size, options.rounds) for size in sizes]
            rows.append({"operation": operation, "axis": axis, "points": points, "exponent": fit_exponent(points)})
            print(rows[-1], flush=True)
    memory = {"demo_mb": measure_demo(), **measure_app()}
    protocol.write_result(
        options.out, seeds=[0], model=MODEL, rounds=options.rounds, fixed=FIXED, rows=rows, memory=memory
    )


def measure(operation: str, axis: str, size: int, rounds: int) -> dict[str, float]:
    """Return the size with the median seconds and MB of an operation."""
    command = [sys.executable, "-m", "benchmarks.growth", "once", operation, axis, str(size)]
    measured = []
    for _ in range(rounds):
        process = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=True)
        measured.append(json.loads(process.stdout.splitlines()[-1]))
    return {"size": size, **{key: round(sorted(each[key] for each in measured)[rounds // 2], 3) for key in measured[0]}}


def fit_exponent(points: Sequence[dict[str, float]]) -> float:
    """Return the least-squares slope of log seconds over log size, through the largest sizes."""
    xs, ys = zip(*((math.log(p["size"]), math.log(p["seconds"])) for p in points[-FITTED:]), strict=True)
    x, y = sum(xs) / FITTED, sum(ys) / FITTED
    slope = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)
    return round(float(slope), 2)


def run_once(operation: str, axis: str, size: int) -> None:
    """Time an operation at one size in this process, and print seconds and MB as JSON."""
    protocol.start()
    call = prepare(operation, **{**FIXED, axis: size})
    with peak_memory() as memory:
        start = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "mb": memory["mb"]}))


def prepare(operation: str, pairs: int, classes: int) -> Callable[[], object]:
    """Return a call of an operation on so many pairs and classes, with its model loaded and its images rendered."""
    from cleaner.attacks.base import TRIGGERS
    from cleaner.config import FinetuneConfig
    from cleaner.data.poison import PoisonedData
    from cleaner.defenses.base import DEFENSES
    from cleaner.evaluation.evaluate import evaluate
    from cleaner.inspection.embedding_map import compute_map
    from cleaner.inspection.pair_detection import detect_pairs
    from cleaner.models.clip import load_clip
    from cleaner.workflow import defend, poison

    clip, trigger = load_clip(MODEL), TRIGGERS["badnet"]()
    data, test = load_pairs(pairs, classes), load_pairs(TESTED, classes)
    target, config = data.class_names[TARGET], FinetuneConfig(epochs=1, eval_every=0, device="cpu")
    calls: dict[str, Callable[[], object]] = {
        "poison": lambda: poison(clip, data, trigger, target, config=config, test=test),
        "defend": lambda: defend(clip, DEFENSES["ta_cleaner"](), data, config, test=test),
        "evaluate": lambda: evaluate(clip, data, trigger, target, use_store=False),
        "map": lambda: compute_map({"suspect": clip}, data, trigger, target),
        "detect": lambda: detect_pairs(clip, PoisonedData(data, trigger, target, 0.03)),
    }
    return calls[operation]


def load_pairs(pairs: int, classes: int) -> Any:
    """Return pairs of Scenes whose labels and captions name so many made-up classes."""
    from cleaner.data.base import load_data

    data: Any = load_data("scenes", split="train", size=pairs)
    data.images([0, len(data) - 1, *range(min(len(data), 200))])  # renders all that are missing
    data.class_names = [f"thing number {i}" for i in range(classes)]
    data.labels = torch.arange(pairs) % classes
    data.captions = [f"{caption} and thing number {i % classes}" for i, caption in enumerate(data.captions)]
    return data


@contextmanager
def peak_memory(process: psutil.Process | None = None) -> Iterator[dict[str, float]]:
    """Yield a dictionary whose "mb" is at the end by how much a process (this one) has grown at most, in MB.

    With `process`, its whole memory and that of its children. Pages of mapped files do not count: the kernel takes
    them back.
    """
    watched, peak, ended = process or psutil.Process(), 0.0, threading.Event()
    before = 0.0 if process else own_bytes(watched)

    def watch() -> None:
        nonlocal peak
        while not ended.wait(POLL_SECONDS):
            peak = max(peak, own_bytes(watched, with_children=process is not None))

    thread, result = threading.Thread(target=watch), {"mb": 0.0}
    thread.start()
    try:
        yield result
    finally:
        ended.set()
        thread.join()
        result["mb"] = max(peak - before, 0.0) / 1e6


def own_bytes(process: psutil.Process, with_children: bool = False) -> float:
    """Return the resident bytes of a process that are no mapped files; 0 once it has ended."""
    try:
        parts = [process, *process.children(recursive=True)] if with_children else [process]
        return float(sum(info.rss - info.shared for info in (part.memory_info() for part in parts)))
    except psutil.Error:
        return 0.0


def measure_demo() -> float:
    """Return the peak memory of the demo, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**child_environment(), "CLEANER_CACHE": f"{folder}/cache", "CLEANER_RUNS": f"{folder}/runs"}
        command = [sys.executable, "-m", "cleaner", "demo", "--out", f"{folder}/demo.json"]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        with peak_memory(psutil.Process(process.pid)) as memory:
            if process.wait():
                raise SystemExit("The demo failed.")
    return round(memory["mb"])


def measure_app() -> dict[str, float]:
    """Return the peak memory of the server and of its idle worker, in MB, while one visitor opens each page."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"CLEANER_RUNS": f"{folder}/runs", "CLEANER_CACHE": f"{folder}/cache"}
        with start_server(f"{folder}/runs") as (server, address), open_page(address) as page:
            process, peaks = psutil.Process(server.pid), {"server_mb": 0.0, "with_worker_mb": 0.0}
            wait_idle(page)
            for title in list_titles():
                time_switch(page, title)
                page.wait_for_timeout(3000)
                peaks["server_mb"] = max(peaks["server_mb"], own_bytes(process) / 1e6)
                peaks["with_worker_mb"] = max(peaks["with_worker_mb"], own_bytes(process, with_children=True) / 1e6)
    return {name: round(mb) for name, mb in peaks.items()}


if __name__ == "__main__":
    if sys.argv[1:2] == ["once"]:
        run_once(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main(tyro.cli(Options))
