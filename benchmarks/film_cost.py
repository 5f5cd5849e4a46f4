"""Time that looks and the frames of the film add to a training: python -m benchmarks.film_cost

The quick setting with both and with neither, alternating. Measure on an idle machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import tyro

from benchmarks import RESULTS_DIR, protocol
from benchmarks.step import median_ratio, rounded_median
from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.cli.output import Progress
from cleaner.config import FinetuneConfig
from cleaner.data.base import load_data
from cleaner.defenses import DEFENSES
from cleaner.models.clip import load_clip
from cleaner.runs.run import Run
from cleaner.workflow import defend, poison

RESULT_PATH = RESULTS_DIR / "film_cost.json"


@dataclass(frozen=True)
class Options:
    """Measure and write the result file."""

    model: str = presets.QUICK_MODEL
    """Built-in model."""
    steps: int = 250
    """Training steps of a run."""
    looks: int = 10
    """Looks that a run asks for, as a page does."""
    rounds: int = 2
    """Runs of each kind."""


def main(options: Options) -> None:
    """Measure, write and print."""
    protocol.start()
    clip, trigger = load_clip(options.model), TRIGGERS["badnet"]()
    attacked = load_data("scenes", split="train", size=presets.QUICK_POISON_PAIRS)
    clean = load_data("scenes", split="clean", size=presets.QUICK_CLEAN_PAIRS)
    test = load_data("scenes", split="test", size=500)
    validation = load_data("scenes", split="validation", size=500)
    for data in (attacked, clean, test, validation):
        data.prepare(range(len(data)))
    common: dict[str, Any] = {"test": test, "validation": validation}

    def attack(config: FinetuneConfig, label: str, *, film: bool) -> Run:
        config = replace(config, lr=presets.poison_lr(options.model))
        return poison(
            clip, attacked, trigger, protocol.TARGET_CLASS, config=config, film=film, on_step=Progress(label), **common
        )

    suspect = attack(replace(presets.QUICK_POISON, steps=options.steps), "backdoor", film=True)

    def clean_up(config: FinetuneConfig, label: str, *, film: bool) -> Run:
        defense = DEFENSES["ta_cleaner"](share=1.0)
        return defend(suspect, defense, clean, config, film=film, on_step=Progress(label), **common)

    rows = [
        {"run": name, **time_both(run, replace(config, steps=options.steps), options, label=name)}
        for name, run, config in (
            ("badnet", attack, presets.QUICK_POISON),
            ("ta_cleaner, K 100%", clean_up, presets.QUICK_DEFEND),
        )
    ]
    protocol.write_result(
        RESULT_PATH,
        seeds=[presets.QUICK_POISON.seed],
        model=options.model,
        steps=options.steps,
        rounds=options.rounds,
        rows=rows,
    )
    print(*rows, sep="\n")


def time_both(run: Callable[..., Run], config: FinetuneConfig, options: Options, *, label: str) -> dict[str, Any]:
    """Return the seconds of the training with looks and frames and without, and their ratio."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    kept = []
    for _ in range(options.rounds):
        for watched in seconds:
            changed = replace(config, eval_every=options.steps // options.looks if watched else 0)
            finished = run(changed, f"{label} {'with' if watched else 'without'}", film=watched)
            seconds[watched].append(finished.history[-1].seconds)
            if finished.film is not None:
                kept.append((sum(bool(report.metrics) for report in finished.history), len(finished.film.steps)))
    looks, frames = kept[-1]
    return {
        "seconds": rounded_median(seconds[True]),
        "plain_seconds": rounded_median(seconds[False]),
        "ratio": median_ratio(seconds[True], seconds[False]),
        "looks": looks,
        "frames": frames,
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
