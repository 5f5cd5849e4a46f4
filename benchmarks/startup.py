"""Time from the click to the first training step, and from the last step to the result: python -m benchmarks.startup

Each round poisons a model twice with the quick setting's pairs, by a new worker and by one that has waited.
Measure on an idle machine.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import tyro

from benchmarks import RESULTS_DIR, protocol
from cleaner import presets
from cleaner.files import read_json, runs_root
from cleaner.jobs import local, process, resident
from cleaner.runs import store
from cleaner.runs.request import Request
from cleaner.runs.run import read_progress

RESULT_PATH = RESULTS_DIR / "startup.json"


@dataclass(frozen=True)
class Options:
    """Measure and write the result file."""

    model: str = presets.QUICK_MODEL
    """Built-in model."""
    rounds: int = 3
    """Runs of each kind of worker; the medians count. One more run comes first and renders the images."""
    steps: int = 10
    """Training steps of a run."""


def main(options: Options) -> None:
    """Measure, write and print."""
    protocol.read_started_commit()
    request = protocol.make_quick_request(options.model, steps=options.steps, device="cpu")
    with tempfile.TemporaryDirectory() as place:
        os.environ["CLEANER_RUNS"] = place
        time_run(request)
        rows: list[dict[str, Any]] = [{"worker": "new", **time_rounds(request, options.rounds, is_warm=False)}]
        rows.append({"worker": "waiting", **time_rounds(request, options.rounds, is_warm=True)})
    protocol.write_result(RESULT_PATH, seeds=[0], model=options.model, rows=rows)
    print(json.dumps(rows, indent=1))


def time_rounds(request: Request, rounds: int, *, is_warm: bool) -> dict[str, float]:
    """Return the medians of `time_run`, and the memory of a waiting worker in MB."""
    measured = []
    for _ in range(rounds):
        os.environ[resident.SWITCH] = "1" if is_warm else "0"
        memory = {"waiting_mb": start_worker()} if is_warm else {}
        measured.append({**time_run(request), **memory})
    return {name: round(median(each[name] for each in measured), 2) for name in measured[0]}


def start_worker() -> float:
    """Have a worker wait, with its libraries loaded, and return its memory in MB."""
    local.keep_worker("cpu")
    registered = read_json(process.registration(resident.token_of(runs_root(), "cpu")))
    worker = psutil.Process(registered["pid"])
    while worker.memory_info().rss < 200e6 or worker.cpu_percent(interval=1.0) > 1:
        pass
    return worker.memory_info().rss / 1e6


def time_run(request: Request) -> dict[str, float]:
    """Start a run as a page does; return the seconds to its first step, and from its last step to the result."""
    folder = store.create_run(request)
    start = time.perf_counter()
    local.start(folder)
    first = wait_for_step(folder, 1) - start
    last = wait_for_step(folder, request.finetune.steps)
    protocol.wait_for_run(folder, interval=0.02)
    return {"first_step": first, "evaluation": time.perf_counter() - last}


def wait_for_step(folder: Path, step: int) -> float:
    """Return the time at which a run has logged a training step."""
    while not any(report["losses"] and report["step"] >= step for report in read_progress(folder)):
        if local.poll_status(folder).state not in ("queued", "running"):
            raise SystemExit(f"The run ended early: {local.poll_status(folder).message}")
        time.sleep(0.02)
    return time.perf_counter()


if __name__ == "__main__":
    main(tyro.cli(Options))
