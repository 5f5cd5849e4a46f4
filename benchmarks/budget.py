"""At what budget does a defense remove an optimized trigger? python -m benchmarks.budget --methods ta_cleaner

Varies either the steps or the clean pairs around the setting of the table. All methods of a call get the same learning
rate, whatever it costs in accuracy: the affordable rate may change with the budget. Resumable: every finished row is a
file in benchmarks/results/budget/. Metrics are on test images and choose nothing. A row of the table with the same
settings is reused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import tyro

from benchmarks import protocol
from cleaner import presets
from cleaner.cli.output import Progress
from cleaner.config import count_steps
from cleaner.data.base import load_data
from cleaner.defenses.base import load_defense
from cleaner.models.devices import configure_torch
from cleaner.reports import results
from cleaner.workflow import defend

ROWS_DIR = results.RESULTS_DIR / "budget"
RESULT_PATH = results.RESULTS_DIR / "budget.json"
METHOD_NAMES = tuple(protocol.METHODS)
BASE_PAIRS, BASE_STEPS = presets.CLEAN_PAIRS, count_steps(presets.CLEAN_PAIRS, presets.DEFEND)


@dataclass(frozen=True)
class Options:
    """Measure missing rows and collect all."""

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
    gather: bool = False
    """Run nothing; collect the finished rows."""


def main(options: Options) -> None:
    """Run missing rows, then write the file."""
    configure_torch()
    budgets = [
        (BASE_PAIRS, BASE_STEPS),
        *((BASE_PAIRS, steps) for steps in options.steps),
        *((n, BASE_STEPS) for n in options.pairs),
    ]
    for pairs, steps in () if options.gather else budgets:
        for name in options.methods:
            run = protocol.run_name(options.model, options.attack, options.seed, name)
            path = ROWS_DIR / f"{run}_{options.lr:g}_{pairs}_{steps}.json"
            if not path.exists():
                row = find_table_row(options, name, pairs=pairs, steps=steps)
                results.write_result(path, row or measure_row(options, name, pairs=pairs, steps=steps))
    stored = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(ROWS_DIR.glob("*.json"))]
    rows = [{**row, "lr": row["config"]["finetune"]["lr"]} for row in stored]
    rows.sort(
        key=lambda r: (r["model"], r["trigger"], METHOD_NAMES.index(r["defense"]), -r["lr"], r["pairs"], r["steps"])
    )
    protocol.check_attacks(rows)
    seeds = sorted({row["seed"] for row in rows})
    protocol.write_result(RESULT_PATH, seeds=seeds, pairs=BASE_PAIRS, steps=BASE_STEPS, rows=rows)


def find_table_row(options: Options, name: str, *, pairs: int, steps: int) -> dict[str, Any] | None:
    """Return the table's row with these settings, or None."""
    if (pairs, steps) != (BASE_PAIRS, BASE_STEPS):
        return None
    wanted = (options.model, options.attack, options.seed, options.lr, protocol.METHODS[name])
    for row in (row for row in presets.read_attack_defense_rows() if row["defense"] is not None):
        config = row["config"]
        settings = (
            row["model"],
            row["trigger"],
            row["seed"],
            config["finetune"]["lr"],
            load_defense(config["defense"]),
        )
        if settings == wanted:
            return {**row, "defense": name, "pairs": pairs, "steps": steps}
    return None


def measure_row(options: Options, name: str, *, pairs: int, steps: int) -> dict[str, Any]:
    """Defend with this budget and return the row."""
    suspect = protocol.load_or_poison(options.model, options.attack, options.seed)
    config = replace(protocol.defense_config(options.lr, options.seed), steps=steps, eval_every=0)
    clean = load_data("scenes", split="clean", size=pairs)
    label = f"{name} {pairs} pairs"
    run = defend(suspect, protocol.METHODS[name], clean, config, on_step=Progress(label))
    return {**protocol.stamp_row(results.make_row(name, run)), "pairs": pairs, "steps": steps}


if __name__ == "__main__":
    main(tyro.cli(Options))
