"""Defenses against triggers in the text and the input-aware one: python -m benchmarks.text_triggers --seeds 7500

In the quick setting, each method at the learning rate and in the form that was chosen for it by accuracy alone
(benchmarks.quick_setting). Resumable: each finished row is written; a second call measures what is missing. A model
with another loss goes to a file of its own (docs/results.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks import protocol
from benchmarks.quick_setting import defend_quickly, poison_quickly
from benchmarks.rows import add_row, read_rows
from cleaner import presets
from cleaner.data.base import CaptionData, load_data
from cleaner.defenses import DEFENSES
from cleaner.models.devices import configure_torch
from cleaner.reports import results
from cleaner.runs.run import Run

RESULT_PATH = results.RESULTS_DIR / "text_triggers.json"
ATTACKS = ("text_only", "syntax_key", "retrieval", "input_aware")
EPOCHS = {"input_aware": 4}
"""Attack -> epochs of the poisoning where those of the quick setting do not reach ASR 0.9 (attack_trials.json)."""
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
    out: Path = RESULT_PATH
    """Result file."""


def main(options: Options) -> None:
    """Poison each model that has missing rows, then measure these."""
    protocol.read_started_commit()
    configure_torch()
    test = load_data("scenes", split="test")
    for seed in options.seeds:
        for attack in options.attacks:
            done = {(row["model"], row["trigger"], row["seed"], row["defense"]) for row in read_rows(options.out)}
            missing = [name for name in (None, *options.methods) if (options.model, attack, seed, name) not in done]
            if not missing:
                continue
            epochs = EPOCHS.get(attack, presets.QUICK_POISON.epochs)
            suspect = poison_quickly(options.model, attack, seed, test, epochs=epochs)
            for name in missing:
                run = suspect if name is None else defend_by_preset(suspect, name, options.model, test)
                append(options.out, name, run)


def defend_by_preset(suspect: Run, name: str, model: str, test: CaptionData) -> Run:
    """Return a run of a method's quick setting."""
    preset = presets.quick_defense_preset(name, model)
    assert preset.training is not None
    defense = DEFENSES[name](**preset.parameters)
    return defend_quickly(suspect, defense, preset.training.finetune.lr, test, label=name)


def append(path: Path, name: str | None, run: Run) -> None:
    """Add the row of a run, without the trigger's image or network, which the seed determines."""
    row = results.make_row(name, run)
    row["config"]["trigger"] = {k: v for k, v in row["config"]["trigger"].items() if k not in ("png", "weights")}
    add_row(path, protocol.stamp_row(row))


if __name__ == "__main__":
    main(tyro.cli(Options))
