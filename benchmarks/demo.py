"""From the start of a job to its figures: python -m benchmarks.demo

A poisoning and TA-Cleaner at the default settings, each as a page starts it: a worker process of its own, in a run
folder. Seconds run from the start of the process to the figures of the test split in `metrics.json`. Measure on an
otherwise idle machine; with `--pairs` and `--epochs` smaller jobs can be measured too.
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
from cleaner.config import FinetuneConfig
from cleaner.defenses import DEFENSES
from cleaner.jobs import local
from cleaner.reports import results
from cleaner.runs import store
from cleaner.runs.request import Request

RESULT_PATH = results.RESULTS_DIR / "job.json"


@dataclass(frozen=True)
class Options:
    """Measure and write the result file."""

    model: str = "scenes-rn"
    """Built-in model."""
    pairs: int = 0
    """Pairs of each training; 0: the presets' numbers."""
    epochs: int = 0
    """Epochs of each training; 0: the presets' numbers."""


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
    defence = Request(
        "defended",
        "scenes",
        clean,
        make_config(replace(presets.DEFEND, lr=lr), clean, options),
        defense=DEFENSES["ta_cleaner"]().state_dict(),
    )
    with tempfile.TemporaryDirectory() as place:
        os.environ["CLEANER_RUNS"] = place
        poisoned, first = run_job(poisoning)
        _, second = run_job(replace(defence, parent=store.run_id(poisoned)))
    rows = [{"stage": "backdoored", **first}, {"stage": "defended", **second}]
    whole = round(first["seconds"] + second["seconds"], 1)
    results.write_result(
        RESULT_PATH,
        results.add_provenance(
            protocol.format_command_line(), seeds=[0], model=options.model, seconds=whole, rows=rows
        ),
    )
    for row in rows:
        print(
            f"{row['stage']:12} {row['seconds']:6.1f} s, {row['steps']} steps, CA {row['ca']:.3f}, "
            f"ASR@1 {row['asr']:.3f}"
        )
    print(f"both         {whole:6.1f} s")


def make_config(config: FinetuneConfig, pairs: int, options: Options) -> FinetuneConfig:
    """Return a preset with the epochs asked for, and ten looks at the validation split, as the pages have them."""
    epochs = options.epochs or config.epochs
    return replace(config, epochs=epochs, eval_every=max(1, epochs * (pairs // config.batch_size) // 10))


def run_job(request: Request) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a run that a worker has done, with seconds, steps and figures."""
    folder = store.create_run(request)
    begun = time.perf_counter()
    local.start(folder)
    while (status := local.poll_status(folder)).state in ("new", "queued", "running"):
        time.sleep(0.1)
    seconds = time.perf_counter() - begun
    if status.state != "done":
        raise SystemExit(f"the run ended as {status.state}: {status.message}")
    metrics = store.load_run(folder).metrics
    assert metrics is not None
    assert metrics.asr is not None
    steps = max(int(report["step"]) for report in store.read_progress(folder) if report["stage"] != "evaluate")
    return folder, {"seconds": round(seconds, 1), "steps": steps, "ca": metrics.ca[1], "asr": metrics.asr[1]}


if __name__ == "__main__":
    main(tyro.cli(Options))
