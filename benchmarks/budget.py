"""At what budget does a defence remove an optimised trigger? python -m benchmarks.budget --methods ta_cleaner

One of the two is varied at a time around the setting of the table: the steps, or the clean pairs. A call takes one
learning rate for all its methods, whatever accuracy that costs: what accuracy allows may change with the budget.
Resumable: every finished row is a file in benchmarks/results/budget/, made once; the figures are those of test
pictures and choose nothing. Where the table has a row with these settings, it is that one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import tyro

from benchmarks import protocol
from cleaner import presets
from cleaner.cli.output import Progress
from cleaner.data.base import load_data
from cleaner.defenses.base import load_defense
from cleaner.models.devices import configure_torch
from cleaner.reports import results
from cleaner.workflow import defend

ROWS_DIR = results.RESULTS_DIR / "budget"
RESULT_PATH = results.RESULTS_DIR / "budget.json"
METHOD_NAMES = tuple(protocol.METHODS)
BASE_PAIRS, BASE_STEPS = presets.CLEAN_PAIRS, presets.DEFEND.epochs * (presets.CLEAN_PAIRS // presets.DEFEND.batch_size)


@dataclass(frozen=True)
class Options:
    """Measure the rows that are missing, and gather all."""

    model: str = "scenes-rn"
    """Built-in model."""
    attack: str = "badclip"
    """Trigger."""
    seed: int = 0
    """Seed of poisoning and defence."""
    methods: tuple[str, ...] = METHOD_NAMES
    """Methods; two processes may measure different ones at the same time."""
    lr: float = 1e-3
    """Peak learning rate; the default is what accuracy allows TA-Cleaner on the ResNet."""
    steps: tuple[int, ...] = (2 * BASE_STEPS, 186)
    """Steps beside those of the table, with its pairs."""
    pairs: tuple[int, ...] = (1500, 10_000)
    """Clean pairs beside those of the table, with its steps; 10,000 are all that a defender has."""
    gather: bool = False
    """Run nothing: put the rows that are there into one file."""


def main(options: Options) -> None:
    """Run what is missing, then write the file."""
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
                results.write_result(
                    path, find_table_row(options, name, pairs, steps) or measure_row(options, name, pairs, steps)
                )
    stored = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(ROWS_DIR.glob("*.json"))]
    rows = [{**row, "lr": row["config"]["finetune"]["lr"]} for row in stored]
    rows.sort(
        key=lambda r: (r["model"], r["trigger"], METHOD_NAMES.index(r["defense"]), -r["lr"], r["pairs"], r["steps"])
    )
    protocol.check_attacks(rows)
    seeds = sorted({row["seed"] for row in rows})
    results.write_result(
        RESULT_PATH,
        results.add_provenance(
            protocol.format_command_line(), seeds=seeds, pairs=BASE_PAIRS, steps=BASE_STEPS, rows=rows
        ),
    )


def find_table_row(options: Options, name: str, pairs: int, steps: int) -> dict[str, Any] | None:
    """Return the table's row with these settings, if it has one."""
    if (pairs, steps) != (BASE_PAIRS, BASE_STEPS):
        return None
    wanted = (options.model, options.attack, options.seed, options.lr, protocol.METHODS[name])
    for row in (row for row in presets.read_attack_defense_rows() if row["defense"] is not None):
        made = row["config"]
        known = (row["model"], row["trigger"], row["seed"], made["finetune"]["lr"], load_defense(made["defense"]))
        if known == wanted:
            return {**row, "defense": name, "pairs": pairs, "steps": steps}
    return None


def measure_row(options: Options, name: str, pairs: int, steps: int) -> dict[str, Any]:
    """Defend with this budget and return the row."""
    suspect = protocol.load_or_poison(options.model, options.attack, options.seed)
    config = replace(protocol.defense_config(options.lr, options.seed), steps=steps, eval_every=0)
    clean = load_data("scenes", split="clean", size=pairs)
    label = f"{name} {pairs} pairs"
    run = defend(suspect, protocol.METHODS[name], clean, config, on_step=Progress(label))
    row = results.add_provenance(protocol.format_command_line(), seeds=[options.seed], **results.make_row(name, run))
    return {**row, "pairs": pairs, "steps": steps}


if __name__ == "__main__":
    main(tyro.cli(Options))
