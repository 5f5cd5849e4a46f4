"""Views, BatchNorm and length of captions: what do they change? python -m benchmarks.views

BadCLIP of protocol 2, cleaned at the protocol's rates: with gentler views or frozen BatchNorm, and on clean pairs whose
captions are as short as those that the model was trained on. An exploration after the protocol's figures were seen: it
chooses nothing. A second call continues, and several processes may run it at the same time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import tyro

from benchmarks import RESULTS_DIR, protocol
from benchmarks.json_lines import read_json_lines
from benchmarks.markdown.cells import Row
from benchmarks.protocol2 import plan
from benchmarks.protocol2.measure import describe, measure_cell
from benchmarks.protocol2.records import describe_processor, results_path
from benchmarks.protocol2.summary import decide
from benchmarks.protocol2.tasks import Task, planned_groups
from benchmarks.tasks import append_row, claimed
from cleaner import presets
from cleaner.types import CleanerError

MODEL, ATTACK = "scenes-lite", "badclip"
PATH = RESULTS_DIR / f"views_{MODEL}.jsonl"


@dataclass(frozen=True)
class Variant:
    """What differs from the schedule of the protocol; the defaults are its own."""

    augmentation: str = presets.DEFEND.augmentation
    freeze_bn: bool = presets.DEFEND.freeze_bn
    captions: str = "full"
    """Of the clean pairs: "full", or "mixed" as those of pretraining and attack (cleaner/data/scenes.py)."""


FROZEN, GENTLE, GENTLE_FROZEN = Variant(freeze_bn=True), Variant("gentle"), Variant("gentle", freeze_bn=True)
VARIANTS = {
    "cleanclip": (FROZEN, GENTLE, GENTLE_FROZEN),
    plan.CONTROL: (GENTLE,),
    plan.FULL_METHOD: (GENTLE,),
}
"""Method -> variants that are measured here; the protocol's own lines are the reference."""
MIXED = Variant(captions="mixed")
MIXED_RATES = (3e-4, 1e-3, 2e-3, 3e-3, 5e-3)
"""Learning rates of every method on mixed captions: those of TA-Cleaner's curve in the protocol."""
MIXED_METHODS = (*plan.KEY_METHODS, "finetune", "par")
"""Methods that are measured on mixed captions on several seeds."""
SPARSE_METHODS = (plan.SPARSE_METHOD, plan.SPARSE_CONTROL)
"""Methods that are measured on one seed."""


def main(threads: int = 1) -> None:
    """Measure what is missing, on `threads` threads."""
    protocol.start(threads)
    for task, variant in list_trials(read_json_lines(results_path(MODEL))):
        with claimed(PATH, f"{asdict(task)} {variant}") as is_mine:
            if is_mine and not any(matches(row, task, variant) for row in read_json_lines(PATH)):
                sys.stderr.write(f"{describe(task)} {variant}\n")
                append_row(PATH, measure(task, variant))


def list_trials(rows: Iterable[Row]) -> list[tuple[Task, Variant]]:
    """Return what is measured: the rates of each method's curve in the protocol, in each of its variants."""
    decided = decide(MODEL, rows)
    if decided is None:
        raise CleanerError(
            "the rates of protocol 2 are not chosen yet: run python -m benchmarks.attack_defense --protocol 2"
        )
    seeds, form = plan.MODELS[MODEL].few_seeds, decided[1].form
    planned = [
        task
        for group in planned_groups("main", MODEL, *decided)
        for task in group
        if task.attack == ATTACK and task.form in ("", form)
    ]

    def select(seed: int, *methods: str, at_rate: bool = False) -> list[Task]:
        """Return the tasks of methods on one seed, in the order of the methods; `at_rate`: only at the chosen rate."""
        found = (
            replace(task, has_followups=False)
            for method in methods
            for task in planned
            if (task.method, task.seed) == (method, seed) and task.has_followups >= at_rate
        )
        return list(dict.fromkeys(found))

    def on_mixed(seed: int, *methods: str) -> list[Task]:
        """Return the tasks of methods on one seed at each of `MIXED_RATES`."""
        return [replace(select(seed, method)[0], lr=lr) for method in methods for lr in MIXED_RATES]

    mixed = [task for seed in seeds for task in (*select(seed, ""), *on_mixed(seed, *MIXED_METHODS))]
    return [
        *((task, variant) for task in select(seeds[0], *VARIANTS) for variant in VARIANTS[task.method]),
        *((task, MIXED) for task in (*mixed, *on_mixed(seeds[0], *SPARSE_METHODS))),
        # On the same backdoored models as those on mixed captions: another processor gives others.
        *((task, Variant()) for task in select(seeds[0], *plan.KEY_METHODS, "finetune", at_rate=True)),
    ]


def matches(row: Row, task: Task, variant: Variant) -> bool:
    """Return whether a line is that of a trial."""
    return bool(row["task"] == asdict(task) and read_variant(row) == variant)


def read_variant(row: Row) -> Variant:
    """Return the variant of a line; older ones do not name the captions."""
    return Variant(**row["variant"])


def measure(task: Task, variant: Variant) -> Row:
    """Return the line of a trial."""
    row = measure_cell(MODEL, task, **asdict(variant))
    origin = protocol.add_provenance(seeds=[task.seed], processor=describe_processor())
    return {"task": asdict(task), "variant": asdict(variant), **row, **origin}


if __name__ == "__main__":
    tyro.cli(main)
