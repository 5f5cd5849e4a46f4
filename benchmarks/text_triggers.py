"""Defenses against triggers in the text and the input-aware one: python -m benchmarks.text_triggers

In the quick setting, each method at the learning rate and in the form that was chosen for it by accuracy alone, on
clean pairs with full captions (benchmarks.quick_setting) and with mixed ones (benchmarks.quick_captions). Resumable:
each finished row is written; a second call measures what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal

import tyro

from benchmarks import RESULTS_DIR, protocol, quick_captions
from benchmarks.quick_plan import CONFIRM_SEEDS, VARIANTS
from benchmarks.quick_setting import defend_quickly, find_choice, poison_quickly
from benchmarks.rows import add_row, read_rows
from benchmarks.tasks import TaskFile
from cleaner import presets
from cleaner.data.base import CaptionData, load_data
from cleaner.labels import FULL_CAPTIONS
from cleaner.reports import results
from cleaner.runs.run import Run

RESULT_PATH = RESULTS_DIR / "text_triggers.json"
ATTACKS = ("text_only", "syntax_key", "retrieval", "input_aware")
EPOCHS = {"input_aware": 4}
"""Attack -> epochs of the poisoning where those of the quick setting do not reach ASR 0.9 (attack_trials.json)."""
KEY = ("model", "trigger", "seed", "defense", "captions")
METHODS = ("finetune", "cleanclip", "cleanclip_short", "ta_cleaner")


@dataclass(frozen=True)
class Options:
    """Measure the missing rows."""

    model: str = presets.QUICK_MODEL
    """Built-in model."""
    attacks: tuple[str, ...] = ATTACKS
    """Triggers."""
    methods: tuple[str, ...] = METHODS
    """Defenses."""
    captions: tuple[Literal["full", "mixed"], ...] = ("full", "mixed")
    """Captions of the clean pairs; rates for mixed ones were chosen on scenes-lite alone."""
    seeds: tuple[int, ...] = CONFIRM_SEEDS[-3:]
    """Seeds of poisoning and defense; the last three of the quick setting's five."""
    out: Path = RESULT_PATH
    """Result file."""


def main(options: Options) -> None:
    """Poison each model that has missing rows, then measure these."""
    protocol.start()
    test = load_data("scenes", split="test")
    for seed in options.seeds:
        for attack in options.attacks:
            done = {tuple(row.get(field, FULL_CAPTIONS) for field in KEY) for row in read_rows(options.out)}
            cells = [(None, FULL_CAPTIONS), *product(options.methods, options.captions)]
            missing = [cell for cell in cells if (options.model, attack, seed, *cell) not in done]
            if not missing:
                continue
            epochs = EPOCHS.get(attack, presets.QUICK_POISON.epochs)
            suspect = poison_quickly(options.model, attack, seed, test, epochs=epochs)
            for name, captions in missing:
                run = suspect if name is None else defend_as_chosen(suspect, name, captions, test)
                append(options.out, name, captions, run)


def defend_as_chosen(suspect: Run, name: str, captions: str, test: CaptionData) -> Run:
    """Return a run of a method in the form and at the rate chosen for these captions."""
    choice = find_choices(captions)[name]
    return defend_quickly(
        suspect, VARIANTS[name][choice["form"]], choice["lr"], test, label=f"{name} {captions}", captions=captions
    )


@cache
def find_choices(captions: str) -> dict[str, dict[str, Any]]:
    """Return method -> form and rate chosen on clean pairs with these captions."""
    if captions == FULL_CAPTIONS:
        return find_choice(presets.QUICK_MODEL)
    return quick_captions.choose_rates(TaskFile(quick_captions.PATH).rows("trials"))


def append(path: Path, name: str | None, captions: str, run: Run) -> None:
    """Add the row of a run, without the trigger's image or network, which the seed determines."""
    row = results.make_row(name, run) | {"captions": captions}
    row["config"]["trigger"] = {k: v for k, v in row["config"]["trigger"].items() if k not in ("png", "weights")}
    add_row(path, protocol.stamp_row(row))


if __name__ == "__main__":
    main(tyro.cli(Options))
