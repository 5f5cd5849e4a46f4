"""Time of a training step: python -m benchmarks.step

For each method, the time of a step of the training loop, and its ratio to the method's own bare forward, backward and
optimizer step on batches that are ready to encode (`benchmarks/bare_step.py`). Methods are interleaved over several
rounds; ratios are medians over the rounds. `--threads 1` counts processor time instead of wall time, which other work
disturbs little; otherwise measure on an idle machine. The defaults take more than an hour on two cores; the
table is refreshed by `python -m benchmarks.tables`.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from benchmarks import RESULTS_DIR, protocol
from benchmarks.bare_step import counts_processor_time, load_batches, read_clock, time_bare_step
from benchmarks.markdown import timing_tables
from cleaner import presets
from cleaner.config import FinetuneConfig
from cleaner.data.augment import augment
from cleaner.data.base import CaptionData, TensorData, load_data
from cleaner.defenses import DEFENSES, Defense
from cleaner.evaluation.encode import Encoder
from cleaner.files import source_root
from cleaner.models.clip import BUILT_IN, Clip, load_clip, new_clip
from cleaner.models.devices import pick_device, pick_precision
from cleaner.text import SubtextPair, eda
from cleaner.training.batch import BatchLoader
from cleaner.training.loop import finetune
from cleaner.types import CleanerError

RESULT_PATH = RESULTS_DIR / "step.json"
SHARES = (0.01, 0.1, 0.3, 1.0)
TIMED_METHODS: dict[str, Defense] = {
    "finetune": DEFENSES["finetune"](),
    "cleanclip": DEFENSES["cleanclip"](),
    "cleanclip_short, K 100%": DEFENSES["cleanclip_short"](share=1.0),
    **{f"ta_cleaner, K {share:.0%}": DEFENSES["ta_cleaner"](share=share) for share in SHARES},
    "ta_cleaner reviewed, K 100%": DEFENSES["ta_cleaner"](share=1.0, formula="reviewed", negatives=1),
    "par": DEFENSES["par"](),
    "feature_repelling": DEFENSES["feature_repelling"](),
    "rvpt": DEFENSES["rvpt"](),
    "unlearn_trigger": DEFENSES["unlearn_trigger"](path=str(Path(__file__).with_name("trigger.png"))),
}
_timed = {defense.state_dict()["name"] for defense in TIMED_METHODS.values()}
TIMED_METHODS |= {name: DEFENSES[name]() for name in DEFENSES if name not in _timed}
"""Every registered defense. A model is timed with those that support it."""
PAIR_COUNTS = (1000, 5000, 25000)
CLASS_COUNTS = (10, 100, 1000)


@dataclass(frozen=True)
class Options:
    """Measure and write the result file."""

    models: tuple[str, ...] = tuple(BUILT_IN)
    """Built-in models; with random weights where there are none, which changes no time."""
    steps: int = 40
    """Steps of one measurement: one epoch of the training loop, including its subtexts."""
    rounds: int = 3
    """Interleaved rounds."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of the towers; auto: the choice of training."""
    threads: int = 0
    """Threads; 0: torch's default. 1 counts processor time."""


def main(options: Options) -> None:
    """Measure, write and print."""
    protocol.start(options.threads)
    precision = pick_precision(pick_device(), options.precision)
    config = replace(presets.DEFEND, epochs=1, warmup_steps=0, precision=precision)
    subtext_times = time_subtexts()
    models: list[dict[str, Any]] = []
    for name in options.models:
        models.append(measure_model(name, config, options))
        protocol.write_result(
            RESULT_PATH,
            seeds=[config.seed],
            batch_size=config.batch_size,
            precision=precision,
            steps=options.steps,
            rounds=options.rounds,
            threads=torch.get_num_threads(),
            clock="processor" if counts_processor_time(pick_device().type) else "wall",
            models=models,
            texts_of_an_epoch=subtext_times,
            peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        )
    print(timing_tables.step(source_root()))


def measure_model(model: str, config: FinetuneConfig, options: Options) -> dict[str, Any]:
    """Return the times of one model."""
    clip = load_or_create(model)
    data = load_data("scenes", split="clean", size=options.steps * config.batch_size)
    few = data.subset(range(3 * config.batch_size))
    methods = {name: d for name, d in TIMED_METHODS.items() if d.unsupported_reason(clip, data) is None}
    for defense in methods.values():  # warm-up: kernels are compiled at first use
        finetune(clip, data, defense, replace(config, steps=2))
        time_bare_step(clip, few, defense, config)
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    bare: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(options.rounds):
        for name, defense in methods.items():
            bare[name].append(time_bare_step(clip, data, defense, config))
            seconds[name].append(time_step(clip, data, defense, config))
    rows = [
        {
            "method": name,
            "seconds": rounded_median(seconds[name]),
            "bare_seconds": rounded_median(bare[name]),
            "of_bare_rate": median_ratio(bare[name], seconds[name]),
            "over_cleanclip": median_ratio(seconds[name], seconds["cleanclip"]),
        }
        for name in methods
    ]
    return {
        "model": model,
        "rows": rows,
        "preparation": time_preparation(clip, data, config),
        "classifier": time_classifier(clip, data),
    }


def load_or_create(model: str) -> Clip:
    """Return a model, with random weights if it is a built-in one without weights."""
    try:
        return load_clip(model)
    except CleanerError:
        if model not in BUILT_IN:
            raise
        return new_clip(model)


def time_step(clip: Clip, data: CaptionData, defense: Defense, config: FinetuneConfig) -> float:
    """Return seconds per step of the training loop over one epoch, with the epoch's texts, without its start."""
    trained = finetune(clip, data, defense, config)
    seconds = trained.cpu_seconds if counts_processor_time(pick_device(config.device).type) else trained.seconds
    return seconds / len(trained.history)


def time_preparation(clip: Clip, data: CaptionData, config: FinetuneConfig) -> dict[str, float]:
    """Return ms of processor time per step of TA-Cleaner K 100%, for what one step prepares.

    In the second epoch: captions are parsed and tokenized, subtexts and EDA texts are new.
    """
    defense = DEFENSES["ta_cleaner"](share=1.0)
    plan = defense.plan(data.captions, config.seed)
    batches = load_batches(BatchLoader(data, defense, config, config.batch_size))
    for batch in batches:
        clip.pack_texts(batch.texts)
    times: dict[str, float] = {}

    def add(name: str, work: Callable[[], object]) -> None:
        start = time.process_time()
        work()
        times[name] = times.get(name, 0.0) + (time.process_time() - start) * 1000 / len(batches)

    drawn = plan(1).drawn
    for batch in batches:
        new: list[str] = []
        add("subtexts", lambda rows=batch.rows, n=new: n.extend(draw_texts(drawn, rows)))  # type: ignore[misc]
        reworded: list[str] = []
        add("augmentation", lambda b=batch: augment(b.images, config.augmentation, config.seed, 1, b.rows))  # type: ignore[misc]
        add("EDA", lambda b=batch, r=reworded: r.extend(eda(text, seed=7) for text in b.captions))  # type: ignore[misc]
        add("tokens", lambda all_texts=[*batch.captions, *reworded, *new]: clip.pack_texts(all_texts))  # type: ignore[misc]
    return {name: round(value, 2) for name, value in times.items()}


def draw_texts(drawn: Mapping[int, SubtextPair], rows: Sequence[int]) -> list[str]:
    """Return the positive and negative subtexts of the drawn pairs among `rows`; they are made when asked for."""
    pairs = [drawn[row] for row in rows if row in drawn]
    return [text.text for pair in pairs for text in (pair.positive, *pair.negatives) if text is not None]


def time_classifier(clip: Clip, data: CaptionData) -> list[dict[str, float]]:
    """Return seconds to build a zero-shot classifier by number of classes, four prompts each."""
    times = []
    for count in CLASS_COUNTS:
        names = [f"{caption} {i}" for i, caption in enumerate((data.captions * count)[:count])]
        named = TensorData(torch.zeros(1, 3, 64, 64), ["an image"], names, [0])
        start = read_clock()
        Encoder(clip).build_classifier(named)
        times.append({"classes": count, "seconds": round(read_clock() - start, 3)})
    return times


def time_subtexts() -> list[dict[str, float]]:
    """Return seconds to write the subtexts of an epoch by number of clean pairs, K 10%."""
    times = []
    for size in PAIR_COUNTS:
        captions = load_data("scenes", split="train", size=size).captions
        plan = DEFENSES["ta_cleaner"]().plan(captions, seed=0)
        start = read_clock()
        len(plan(0).drawn)  # makes them
        times.append({"pairs": size, "seconds": round(read_clock() - start, 3)})
    return times


def median_ratio(above: Iterable[float], below: Iterable[float]) -> float:
    """Return the median over the rounds of above / below."""
    return rounded_median(a / b for a, b in zip(above, below, strict=True))


def rounded_median(values: Iterable[float]) -> float:
    """Return the median with four digits."""
    return round(float(statistics.median(values)), 4)


if __name__ == "__main__":
    main(tyro.cli(Options))
