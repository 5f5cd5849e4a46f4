"""Trigger inversion of every attack and of the clean model: python -m benchmarks.inversion --seeds 3 4 5

Inverts the trigger of each backdoored model of protocol 2 at the defaults, with unlabeled images of the clean split,
compares it with the true one, and trains it away; plain finetuning at the same rate is the baseline. Anomalies of the
clean model are false alarms. Resumable: every finished row is in the result file.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import tyro

from benchmarks import RESULTS_DIR, protocol
from benchmarks.markdown.cells import Row
from benchmarks.protocol2.suspects import load_suspect
from benchmarks.quick_setting import defend_quickly
from benchmarks.rows import add_row, read_rows
from cleaner.cli.output import Progress
from cleaner.data.base import load_data
from cleaner.defenses import DEFENSES
from cleaner.defenses.unlearn_trigger import UnlearnTrigger
from cleaner.inspection.inversion import InversionConfig, invert
from cleaner.models.clip import load_clip
from cleaner.presets import home_data, quick_defense_preset
from cleaner.reports import results
from cleaner.runs.inversion_result import Inversion
from cleaner.runs.run import Run

RESULT_PATH = RESULTS_DIR / "inversion.json"
CLEAN = "clean"
"""In place of an attack: the model before poisoning."""


@dataclass(frozen=True)
class Options:
    """Measure missing rows."""

    model: str = "scenes-lite"
    """Built-in model."""
    attacks: tuple[str, ...] = (*protocol.ATTACKS, CLEAN)
    """Triggers; "clean": the model before poisoning."""
    seeds: tuple[int, ...] = (3,)
    """Seeds of the poisoning and of the inversion."""
    threads: int = 1
    """Threads; the stored models of protocol 2 were trained on one."""


def main(options: Options) -> None:
    """Run missing rows."""
    protocol.start(options.threads)
    for seed in options.seeds:
        for attack in options.attacks:
            done = {(row["model"], row["trigger"] or CLEAN, row["seed"]) for row in read_rows(RESULT_PATH)}
            if (options.model, attack, seed) not in done:
                add_row(RESULT_PATH, measure_row(options.model, attack, seed), find_place)


def find_place(row: Row) -> tuple[Any, ...]:
    """Return the place of a row in the table: by model, attack and seed, the clean models last."""
    return row["model"], [*protocol.ATTACKS, *protocol.OTHER_TRIGGERS, None].index(row["trigger"]), row["seed"]


def measure_row(model: str, attack: str, seed: int) -> Row:
    """Return the row of one backdoored model, or of the clean one."""
    if attack != CLEAN:
        return measure_run(load_suspect(model, attack, seed), seed)
    clip, config = load_clip(model), InversionConfig(seed=seed)
    data = load_data(home_data(model), split="clean", size=config.images)
    row = {"model": model, "trigger": None, "seed": seed, "suspect_sha256": clip.sha256()}
    return protocol.stamp_row(row | describe(invert(clip, data, config, Progress(f"{model} clean {seed}"))))


def measure_run(run: Run, seed: int) -> dict[str, Any]:
    """Return the row of a backdoored run."""
    config = InversionConfig(seed=seed)
    data = load_data(home_data(run.config["model"]), split="clean", size=config.images)
    row = results.make_row(None, run)
    label = f"{row['trigger']} {seed}"
    found = invert(run.clip, data, config, Progress(label), trigger=run.trigger, target_class=run.target_class)
    return protocol.stamp_row(row | describe(found) | {"after": train_away(run, found, label)})


def train_away(run: Run, found: Inversion, label: str) -> dict[str, Any]:
    """Return the metrics after unlearning the inverted trigger, and after plain finetuning at the same rate."""
    if not found.png:
        return {}
    preset = quick_defense_preset("finetune", run.config["model"])
    assert preset.training is not None
    test, lr = load_data("scenes", split="test"), preset.training.finetune.lr
    metrics = {}
    for defense in (UnlearnTrigger(png=found.png), DEFENSES["finetune"]()):
        name = DEFENSES.name_of(defense)
        after = defend_quickly(run, defense, lr, test, label=f"{label} {name}")
        assert after.metrics is not None
        metrics[name] = {**after.metrics.to_dict(), "outcomes": {}, "lr": lr, "precision": after.config["precision"]}
    return metrics


def describe(found: Inversion) -> dict[str, Any]:
    """Return the figures of an inversion, without the image of its trigger."""
    derived = {name: getattr(found, name) for name in ("outlier_index", "margin", "is_anomalous", "is_right")}
    return {"inversion": {**asdict(replace(found, png="")), **derived}}


if __name__ == "__main__":
    main(tyro.cli(Options))
