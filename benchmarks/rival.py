"""CleanCLIP's step here and in the published code's loop: python -m benchmarks.rival

The published loop (`benchmarks/published_loop.py`) runs with 0, 1 and 2 loader processes and is compared at its best.
It is warmed up before its clock starts, as ours is. The loops take turns over several rounds; ratios are medians over
the rounds. Measure on an idle machine.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from typing import Any

import torch
import tyro

from benchmarks import RESULTS_DIR, protocol
from benchmarks.markdown import timing_tables
from benchmarks.published_loop import WARMUP_STEPS, time_in_own_process
from benchmarks.step import load_or_create, median_ratio, rounded_median, time_step
from cleaner import presets
from cleaner.config import FinetuneConfig
from cleaner.data.base import load_data
from cleaner.defenses import DEFENSES
from cleaner.files import source_root
from cleaner.models.clip import BUILT_IN
from cleaner.models.devices import pick_device, pick_precision
from cleaner.training.loop import finetune

RESULT_PATH = RESULTS_DIR / "rival.json"


@dataclass(frozen=True)
class Options:
    """Measure and write the result file."""

    models: tuple[str, ...] = tuple(BUILT_IN)
    """Built-in models; with random weights where there are none, which changes no time."""
    steps: int = 40
    """Timed steps of one measurement."""
    rounds: int = 3
    """Rounds in which the loops take turns."""
    loaders: tuple[int, ...] = (0, 1, 2)
    """Loader processes of the published loop."""


def main(options: Options) -> None:
    """Measure, write and print."""
    protocol.start()
    config = replace(presets.DEFEND, epochs=1, warmup_steps=0)
    models: list[dict[str, Any]] = []
    for name in options.models:
        models.append(measure_model(name, config, options))
        protocol.write_result(
            RESULT_PATH,
            seeds=[config.seed],
            batch_size=config.batch_size,
            precision=pick_precision(pick_device(), "auto"),
            steps=options.steps,
            warmup_steps=WARMUP_STEPS,
            rounds=options.rounds,
            threads=torch.get_num_threads(),
            models=models,
        )
    print(timing_tables.rival(source_root()))


def measure_model(model: str, config: FinetuneConfig, options: Options) -> dict[str, Any]:
    """Return seconds per step of the published loop by loader processes, and of ours by precision."""
    clip = load_or_create(model)
    size = config.batch_size
    data = load_data("scenes", split="clean", size=(options.steps + WARMUP_STEPS) * size)
    timed = data.subset(range(options.steps * size))
    cleanclip = DEFENSES["cleanclip"]()
    configs = {precision: replace(config, precision=precision) for precision in ("auto", "fp32")}
    for ours in configs.values():
        finetune(clip, data, cleanclip, replace(ours, steps=WARMUP_STEPS))
    published: dict[int, list[float]] = {count: [] for count in options.loaders}
    seconds: dict[str, list[float]] = {precision: [] for precision in configs}
    for _ in range(options.rounds):
        for count, times in published.items():
            times.append(time_in_own_process(clip, data, config, workers=count))
        for precision, ours in configs.items():
            seconds[precision].append(time_step(clip, timed, cleanclip, ours))
    best = min(published.values(), key=statistics.median)
    return {
        "model": model,
        "published_seconds": {str(count): rounded_median(times) for count, times in published.items()},
        "seconds": {precision: rounded_median(times) for precision, times in seconds.items()},
        "of_published": {precision: median_ratio(times, best) for precision, times in seconds.items()},
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
