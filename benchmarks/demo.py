"""Time from the start of a job to its metrics: python -m benchmarks.demo

Poisoning and TA-Cleaner with the full setting, each as a page starts it: in its own worker process and run folder.
Seconds count from the start of the process to the test metrics in `metrics.json`. Measure on an idle machine; `--pairs`
and `--epochs` make smaller jobs.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from benchmarks import protocol
from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.config import FinetuneConfig, with_eval_interval
from cleaner.defenses import DEFENSES
from cleaner.jobs import local
from cleaner.reports import results
from cleaner.runs import store
from cleaner.runs.folders import run_id
from cleaner.runs.request import Request
from cleaner.runs.run import load_run, read_progress

RESULT_PATH = results.RESULTS_DIR / "job.json"


@dataclass(frozen=True)
class Options:
    """Measure and write the result file."""

    model: str = "scenes-rn"
    """Built-in model; the full setting is that of `scenes-rn`."""
    pairs: int = 0
    """Pairs of each training; 0: as in the preset."""
    epochs: int = 0
    """Epochs of each training; 0: as in the preset."""


def main(options: Options) -> None:
    """Measure, print and write."""
    lr = presets.recommended_lr(options.model, "ta_cleaner")
    pairs, clean = options.pairs or presets.POISON_PAIRS, options.pairs or presets.CLEAN_PAIRS
    poisoning = Request(
        "backdoored",
        "scenes",
        pairs,
        make_config(presets.POISON, pairs, options),
        options.model,
        trigger=TRIGGERS["badnet"]().state_dict(),
        target_class=protocol.TARGET_CLASS,
        poison_rate=presets.POISON_RATE,
    )
    defense = Request(
        "defended",
        "scenes",
        clean,
        make_config(replace(presets.DEFEND, lr=lr), clean, options),
        defense=DEFENSES["ta_cleaner"]().state_dict(),
    )
    with tempfile.TemporaryDirectory() as place:
        os.environ["CLEANER_RUNS"] = place
        poisoned, first = run_job(poisoning)
        _, second = run_job(replace(defense, parent=run_id(poisoned)))
    rows = [{"stage": "backdoored", **first}, {"stage": "defended", **second}]
    total = round(first["seconds"] + second["seconds"], 1)
    protocol.write_result(RESULT_PATH, seeds=[0], model=options.model, seconds=total, rows=rows)
    for row in rows:
        print(
            f"{row['stage']:12} {row['seconds']:6.1f} s, {row['steps']} steps, CA {row['ca']:.3f}, "
            f"ASR@1 {row['asr']:.3f}"
        )
    print(f"both         {total:6.1f} s")


def make_config(config: FinetuneConfig, pairs: int, options: Options) -> FinetuneConfig:
    """Return a preset with the requested epochs and ten validation measurements, like the pages."""
    return with_eval_interval(pairs, replace(config, epochs=options.epochs or config.epochs))


def run_job(request: Request) -> tuple[Path, dict[str, Any]]:
    """Let a worker perform a run; return its folder, and seconds, steps and metrics."""
    folder = store.create_run(request)
    start = time.perf_counter()
    local.start(folder)
    protocol.wait_for_run(folder)
    seconds = time.perf_counter() - start
    metrics = load_run(folder).metrics
    assert metrics is not None
    assert metrics.asr is not None
    steps = max(int(report["step"]) for report in read_progress(folder) if report["stage"] != "evaluate")
    return folder, {"seconds": round(seconds, 1), "steps": steps, "ca": metrics.ca[1], "asr": metrics.asr[1]}


if __name__ == "__main__":
    main(tyro.cli(Options))
