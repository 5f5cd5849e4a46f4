"""At what budget does a defense remove an optimized trigger? python -m benchmarks.budget --methods ta_cleaner

Varies either the steps or the clean pairs around the setting of the table. All methods of a call get the same learning
rate, whatever it costs in accuracy: the affordable rate may change with the budget. Resumable: every finished row is in
the result file. Metrics are on test images and choose nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import tyro

from benchmarks import protocol
from benchmarks.markdown.cells import Row
from benchmarks.rows import add_row, read_rows
from cleaner import presets
from cleaner.cli.output import Progress
from cleaner.config import count_steps
from cleaner.data.base import load_data
from cleaner.models.devices import configure_torch
from cleaner.reports import results
from cleaner.workflow import defend

RESULT_PATH = results.RESULTS_DIR / "budget.json"
METHOD_NAMES = tuple(protocol.METHODS)
BASE_PAIRS, BASE_STEPS = presets.CLEAN_PAIRS, count_steps(presets.CLEAN_PAIRS, presets.DEFEND)


@dataclass(frozen=True)
class Options:
    """Measure missing rows."""

    model: str = "scenes-rn"
    """Built-in model."""
    attack: str = "badclip"
    """Trigger."""
    seed: int = 0
    """Seed of poisoning and defense."""
    methods: tuple[str, ...] = METHOD_NAMES
    """Methods; two processes may measure different ones at the same time."""
    lr: float = 1e-3
    """Peak learning rate; the default is what TA-Cleaner can afford on the ResNet."""
    steps: tuple[int, ...] = (2 * BASE_STEPS, 186)
    """Other numbers of steps, with the pairs of the table."""
    pairs: tuple[int, ...] = (1500, 10_000)
    """Other numbers of clean pairs, with the steps of the table; 10,000 is the whole clean split."""


def main(options: Options) -> None:
    """Run missing rows."""
    configure_torch()
    budgets = [
        (BASE_PAIRS, BASE_STEPS),
        *((BASE_PAIRS, steps) for steps in options.steps),
        *((n, BASE_STEPS) for n in options.pairs),
    ]
    for pairs, steps in budgets:
        for name in options.methods:
            key = {"model": options.model, "trigger": options.attack, "seed": options.seed, "defense": name}
            key |= {"lr": options.lr, "pairs": pairs, "steps": steps}
            if not any(key.items() <= row.items() for row in read_rows(RESULT_PATH)):
                row = measure_row(options, name, pairs=pairs, steps=steps)
                protocol.check_attacks([*read_rows(RESULT_PATH), row])
                add_row(RESULT_PATH, row, find_place, pairs=BASE_PAIRS, steps=BASE_STEPS)


def find_place(row: Row) -> tuple[Any, ...]:
    """Return the place of a row in the table."""
    method = METHOD_NAMES.index(row["defense"])
    return row["model"], row["trigger"], method, -row["lr"], row["pairs"], row["steps"]


def measure_row(options: Options, name: str, *, pairs: int, steps: int) -> Row:
    """Defend with this budget and return the row."""
    suspect = protocol.load_or_poison(options.model, options.attack, options.seed)
    config = replace(protocol.defense_config(options.lr, options.seed), steps=steps, eval_every=0)
    clean = load_data("scenes", split="clean", size=pairs)
    label = f"{name} {pairs} pairs"
    run = defend(suspect, protocol.METHODS[name], clean, config, on_step=Progress(label))
    row = protocol.stamp_row(results.make_row(name, run))
    return {**row, "pairs": pairs, "steps": steps, "lr": options.lr}


if __name__ == "__main__":
    main(tyro.cli(Options))
