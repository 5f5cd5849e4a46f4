"""Try attack settings before any defense: python -m benchmarks.attack_trials --trigger badnet --lr 1e-3

Uses a seed that is in no table (100) and validation images. Every trial is appended to the result file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from benchmarks import protocol
from benchmarks.rows import add_row
from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.cli.options import instantiate
from cleaner.cli.output import Progress
from cleaner.data.base import load_data
from cleaner.evaluation.result import columns
from cleaner.models.clip import load_clip
from cleaner.models.devices import configure_torch
from cleaner.reports import results
from cleaner.workflow import poison

RESULT_PATH = results.RESULTS_DIR / "attack_trials.json"
TRIAL_SEED = 100


@dataclass(frozen=True)
class Options:
    """Poison once with the given settings and log the metrics."""

    model: str = "scenes-rn"
    """Built-in model."""
    trigger: tuple[str, ...] = ("badnet",)
    """Trigger and its options."""
    pairs: int = presets.POISON_PAIRS
    """Pairs to poison."""
    poison_rate: float = presets.POISON_RATE
    """Share of poisoned pairs."""
    lr: float = presets.POISON.lr
    """Peak learning rate."""
    epochs: int = presets.POISON.epochs
    """Epochs."""
    precision: str = protocol.PRECISION
    """Number format of the towers."""


def main(options: Options) -> None:
    """Run one trial and append it."""
    configure_torch()
    clip, trigger = load_clip(options.model), instantiate(TRIGGERS, options.trigger)
    data = load_data("scenes", split="train", size=options.pairs)
    config = replace(presets.POISON, lr=options.lr, epochs=options.epochs, seed=TRIAL_SEED, precision=options.precision)
    run = poison(
        clip,
        data,
        trigger,
        protocol.TARGET_CLASS,
        poison_rate=options.poison_rate,
        config=config,
        test=load_data("scenes", split="validation"),
        on_step=Progress(" ".join(options.trigger)),
    )
    append_trial(RESULT_PATH, results.make_row(None, run))
    metrics = run.metrics
    assert metrics is not None
    figures = {row.header(k): metrics.metric(row.key, k) for row, k in columns("export")}
    print(options, *(f"{name} {value:.4f}" for name, value in figures.items() if value is not None))


def append_trial(path: Path, row: dict[str, Any]) -> None:
    """Add a row with its origin to a file of trials."""
    add_row(path, protocol.stamp_row(row), name="trials", split="scenes/validation")


if __name__ == "__main__":
    main(tyro.cli(Options))
