"""Time of a training step: python -m benchmarks.step

For each method, the time of a step of the training loop, and its ratio to a bare forward, backward and optimizer step
of the same model on the same images and captions in memory. Methods are interleaved over several rounds; ratios are
medians over the rounds. `--threads 1` counts processor time instead of wall time, which other work disturbs little;
otherwise measure on an idle machine.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import tyro

from benchmarks import protocol
from cleaner import presets
from cleaner.config import FinetuneConfig
from cleaner.data.base import CaptionData, TensorData, load_data
from cleaner.defenses import DEFENSES, Defense
from cleaner.evaluation.encode import build_classifier
from cleaner.losses import Features, clip_loss
from cleaner.models.clip import Clip, load_clip
from cleaner.models.devices import configure_torch, pick_device, pick_precision
from cleaner.reports import results
from cleaner.training.loop import finetune

RESULT_PATH = results.RESULTS_DIR / "step.json"
SHARES = (0.01, 0.1, 0.3, 1.0)
TIMED_METHODS: dict[str, Defense] = {
    "finetune": DEFENSES["finetune"](),
    "cleanclip": DEFENSES["cleanclip"](),
    **{f"ta_cleaner, K {share:.0%}": DEFENSES["ta_cleaner"](share=share) for share in SHARES},
}
PAIR_COUNTS = (1000, 5000, 25000)
CLASS_COUNTS = (10, 100, 1000)


def read_clock() -> float:
    """Return seconds: processor time with one thread, else wall time."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


@dataclass(frozen=True)
class Options:
    """Measure and write the result file."""

    models: tuple[str, ...] = ("scenes-rn", "scenes-vit")
    """Built-in models."""
    steps: int = 20
    """Steps of one measurement: one epoch of the training loop, including its subtexts."""
    rounds: int = 3
    """Interleaved rounds."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of the towers; auto: the choice of training."""
    threads: int = 0
    """Threads; 0: torch's default. 1 counts processor time."""


def main(options: Options) -> None:
    """Measure, print and write."""
    if options.threads:
        torch.set_num_threads(options.threads)
    configure_torch()
    precision = pick_precision(pick_device(), options.precision)
    config = replace(presets.DEFEND, epochs=1, warmup_steps=0, precision=precision)
    subtext_times = time_subtexts()
    models: list[dict[str, Any]] = []
    for name in options.models:
        models.append(measure_model(name, config, options))
        result = results.add_provenance(
            protocol.format_command_line(),
            seeds=[config.seed],
            batch_size=config.batch_size,
            precision=precision,
            steps=options.steps,
            rounds=options.rounds,
            threads=torch.get_num_threads(),
            clock="processor" if torch.get_num_threads() == 1 else "wall",
            models=models,
            texts_of_an_epoch=subtext_times,
            peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        )
        results.write_result(RESULT_PATH, result)


def measure_model(model: str, config: FinetuneConfig, options: Options) -> dict[str, Any]:
    """Return the times of one model."""
    clip = load_clip(model)
    data = load_data("scenes", split="clean", size=options.steps * config.batch_size)
    for defense in TIMED_METHODS.values():  # warm-up: kernels are compiled at first use
        finetune(clip, data, defense, replace(config, steps=2))
    bare_seconds: list[float] = []
    seconds: dict[str, list[float]] = {name: [] for name in TIMED_METHODS}
    for _ in range(options.rounds):
        bare_seconds.append(time_bare_step(clip, data, config.batch_size, config.precision))
        for name, defense in TIMED_METHODS.items():
            seconds[name].append(time_step(clip, data, defense, config))
    rows = [
        {
            "method": name,
            "seconds": rounded_median(of_method),
            "of_bare_rate": rounded_median(b / a for a, b in zip(of_method, bare_seconds, strict=True)),
            "over_cleanclip": rounded_median(a / b for a, b in zip(of_method, seconds["cleanclip"], strict=True)),
        }
        for name, of_method in seconds.items()
    ]
    print(f"{model}: bare step {rounded_median(bare_seconds):.3f} s")
    for row in rows:
        print(
            f"{row['method']:24} {row['seconds']:.3f} s, {row['of_bare_rate']:.2f} of the bare rate, "
            f"{row['over_cleanclip']:.2f} x CleanCLIP"
        )
    return {
        "model": model,
        "bare_seconds": rounded_median(bare_seconds),
        "rows": rows,
        "classifier": time_classifier(clip, data),
    }


def time_bare_step(clip: Clip, data: CaptionData, batch_size: int, precision: str) -> float:
    """Return seconds of forward, backward and AdamW step with clip_loss; all batches are in memory."""
    student = clip.to("auto", precision)
    student.model.train()
    optimizer = torch.optim.AdamW(student.model.parameters(), 1e-5, fused=True)
    rows = torch.arange(len(data)).split(batch_size)
    batches = [(data.images(part), [data.captions[i] for i in part.tolist()]) for part in rows]
    start = read_clock()
    for images, captions in batches:
        features = Features(
            student.encode_image(images), student.encode_text(captions), logit_scale=student.logit_scale
        )
        optimizer.zero_grad(set_to_none=True)
        clip_loss(features).backward()
        optimizer.step()
    return (read_clock() - start) / len(batches)


def time_step(clip: Clip, data: CaptionData, defense: Defense, config: FinetuneConfig) -> float:
    """Return seconds per step of the training loop, over one epoch."""
    start = read_clock()
    trained = finetune(clip, data, defense, config)
    return (read_clock() - start) / len(trained.history)


def time_classifier(clip: Clip, data: CaptionData) -> list[dict[str, float]]:
    """Return seconds to build a zero-shot classifier by number of classes, four prompts each."""
    times = []
    for count in CLASS_COUNTS:
        names = [f"{caption} {i}" for i, caption in enumerate((data.captions * count)[:count])]
        named = TensorData(torch.zeros(1, 3, 64, 64), ["an image"], names, [0])
        start = read_clock()
        build_classifier(clip, named)
        times.append({"classes": count, "seconds": round(read_clock() - start, 3)})
    return times


def time_subtexts() -> list[dict[str, float]]:
    """Return seconds to write the subtexts of an epoch by number of clean pairs, K 10%."""
    times = []
    for size in PAIR_COUNTS:
        captions = load_data("scenes", split="train", size=size).captions
        plan = DEFENSES["ta_cleaner"]().plan(captions, seed=0)
        start = read_clock()
        plan(0)
        times.append({"pairs": size, "seconds": round(read_clock() - start, 3)})
    return times


def rounded_median(values: Iterable[float]) -> float:
    """Return the median with four digits."""
    return round(float(statistics.median(values)), 4)


if __name__ == "__main__":
    main(tyro.cli(Options))
