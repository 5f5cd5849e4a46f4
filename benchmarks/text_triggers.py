"""Defenses against triggers in the text and the input-aware one: python -m benchmarks.text_triggers --seeds 7500

In the quick setting, each method at the learning rate and in the form that was chosen for it by accuracy alone
(benchmarks.quick_setting). Resumable: each finished row is written; a second call measures what is missing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import tyro

from benchmarks import protocol
from benchmarks.quick_setting import defend_quickly, poison_quickly
from cleaner import presets
from cleaner.data.base import CaptionData, load_data
from cleaner.defenses import DEFENSES
from cleaner.models.devices import configure_torch
from cleaner.reports import results
from cleaner.runs.run import Run

RESULT_PATH = results.RESULTS_DIR / "text_triggers.json"
ATTACKS = ("text_only", "syntax_key", "retrieval", "input_aware")
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
    seeds: tuple[int, ...] = (7500,)
    """Seeds of poisoning and defense; 7500 is one of the quick setting's five."""


def main(options: Options) -> None:
    """Poison each model that has missing rows, then measure these."""
    configure_torch()
    test = load_data("scenes", split="test")
    for seed in options.seeds:
        for attack in options.attacks:
            missing = [name for name in (None, *options.methods) if is_new(options.model, attack, seed, name)]
            if not missing:
                continue
            suspect = poison_quickly(options.model, attack, seed, test)
            for name in missing:
                append(name, suspect if name is None else defend_by_preset(suspect, name, options.model, test))


def defend_by_preset(suspect: Run, name: str, model: str, test: CaptionData) -> Run:
    """Return a run of a method's quick setting."""
    preset = presets.quick_defense_preset(name, model)
    assert preset.training is not None
    defense = DEFENSES[name](**preset.parameters)
    return defend_quickly(suspect, defense, preset.training.finetune.lr, test, label=name)


def read_rows() -> list[dict[str, Any]]:
    """Return the finished rows."""
    return list(json.loads(RESULT_PATH.read_text(encoding="utf-8"))["rows"]) if RESULT_PATH.exists() else []


def is_new(model: str, attack: str, seed: int, defense: str | None) -> bool:
    """Return whether a row is missing."""
    key = (model, attack, seed, defense)
    return key not in {(row["model"], row["trigger"], row["seed"], row["defense"]) for row in read_rows()}


def append(name: str | None, run: Run) -> None:
    """Add the row of a run, without the trigger's image or network, which the seed determines."""
    row = results.make_row(name, run)
    row["config"]["trigger"] = {k: v for k, v in row["config"]["trigger"].items() if k not in ("png", "weights")}
    rows = [*read_rows(), protocol.stamp_row(row)]
    results.write_result(RESULT_PATH, results.add_provenance(protocol.format_command_line(), rows=rows))


if __name__ == "__main__":
    main(tyro.cli(Options))
