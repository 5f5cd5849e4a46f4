"""Attack x defense at the full setting: python -m benchmarks.attack_defense --protocol 2

The second protocol (benchmarks/protocol2, benchmarks/results/protocol.json) is one resumable command, of which several
may run at the same time. The first one: python -m benchmarks.attack_defense --model scenes-rn --seeds 0 1 2

Resumable: every finished cell is a row of the result file. Seed 0 of every attack and method runs before seed 1.
Learning rates are those of benchmarks.learning_rates, fixed before. A cell has the test metrics, CA and ASR on
validation images during training (they choose nothing), CA on the data's variants, and the metrics after harmless
finetuning.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tyro

from benchmarks import protocol
from benchmarks.markdown.cells import Row
from benchmarks.protocol2 import command
from benchmarks.rows import add_row, read_rows
from cleaner.cli.output import Progress
from cleaner.config import FinetuneConfig
from cleaner.data.base import CaptionData, load_data
from cleaner.defenses import Defense
from cleaner.evaluation.evaluate import evaluate, transfer_accuracy
from cleaner.files import has_config, remove_tree
from cleaner.models.devices import configure_torch
from cleaner.reports import results
from cleaner.runs.folders import runs_root
from cleaner.runs.run import Run, load_run, save_run
from cleaner.workflow import defend, rebound

RESULT_PATH = results.RESULTS_DIR / "attack_defense.json"
NEUTRAL_SETTINGS = {"eval_every": 0, "chunk_size": 0}
"""Settings that leave the weights unchanged."""


@dataclass(frozen=True)
class Options:
    """Measure missing cells."""

    model: str = ""
    """Built-in model; empty: scenes-rn, or scenes-lite in protocol 2."""
    attacks: tuple[str, ...] = protocol.ATTACKS
    """Triggers: the paper's six, or the protocol's others."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of poisoning and defense."""
    methods: tuple[str, ...] = tuple(protocol.METHODS)
    """Methods of the protocol: at a chosen or fixed rate, or an ablation."""
    protocol: Literal[1, 2] = 1
    """2: drawn targets, a full grid, five seeds. Takes model, parts, threads, limit and list alone."""
    parts: tuple[str, ...] = ()
    """Protocol 2: parts to measure, all if empty."""
    threads: int = 1
    """Protocol 2: threads of this process."""
    limit: int = 0
    """Protocol 2: measurements after which to stop; 0: all."""
    list: bool = False
    """Protocol 2: only list what is missing."""


def main(options: Options) -> None:
    """Run missing cells."""
    configure_torch()
    if options.protocol == 2:
        command.run(
            options.model or "scenes-lite",
            options.parts,
            threads=options.threads,
            limit=options.limit,
            only_list=options.list,
        )
        return
    model = options.model or "scenes-rn"
    for name in options.methods:
        protocol.find_method(model, name)
    for seed in options.seeds:
        for attack in options.attacks:
            run_attack(model, attack, seed, options.methods)


def run_attack(model: str, attack: str, seed: int, methods: tuple[str, ...]) -> None:
    """Run the missing cells of one backdoored model."""
    done = {(row["model"], row["trigger"], row["seed"], row["defense"]) for row in read_rows(RESULT_PATH)}
    missing = [name for name in (None, *methods) if (model, attack, seed, name) not in done]
    if not missing:
        return
    suspect, clean = protocol.load_or_poison(model, attack, seed), protocol.load_clean_pairs()
    for name in missing:
        run = suspect if name is None else load_or_defend(suspect, name, model=model, attack=attack, clean=clean)
        row = {**results.make_row(name, run), **measure_followups(run, name, model=model, clean=clean)}
        row = {**protocol.stamp_row(row), "part": protocol.table_part(attack, name)}
        protocol.check_attacks([*read_rows(RESULT_PATH), row])
        add_row(RESULT_PATH, row, find_place)


def measure_followups(run: Run, name: str | None, *, model: str, clean: CaptionData) -> dict[str, Any]:
    """Return the metrics that a run does not have itself: validation curve, data variants, rebound."""
    test = load_data("scenes", split="test")
    followups: dict[str, Any] = {
        "curve": results.extract_validation_curve(run),
        "transfer": transfer_accuracy(run.clip, test),
    }
    if name is not None:
        lr = protocol.chosen_lr(model, "finetune")
        config = replace(protocol.defense_config(lr, run.config["finetune"]["seed"]), eval_every=0)
        rebounded = rebound(run, clean, protocol.TABLE_REBOUND_STEPS, config, on_step=Progress(f"{name} rebound"))
        assert rebounded.metrics is not None
        metrics = rebounded.metrics.to_dict()
        followups["rebound"] = {"steps": protocol.TABLE_REBOUND_STEPS, "lr": lr, "metrics": metrics}
    return followups


def load_or_defend(suspect: Run, name: str, *, model: str, attack: str, clean: CaptionData) -> Run:
    """Return the defended run of a cell: from the run store if it has these settings, else a new one.

    A trial of the chosen learning rate counts too. It was measured on validation images and is measured on test images
    here.
    """
    seed = int(suspect.config["finetune"]["seed"])
    folder = runs_root() / protocol.run_name(model, attack, seed, name)
    defense, lr = protocol.find_method(model, name)
    config = protocol.defense_config(lr, seed)
    stored = load_matching_run(folder, suspect, defense, config)
    if stored is not None:
        return stored
    trial = protocol.run_name(model, attack, seed, f"{name.partition(' at ')[0]} {lr:g}")
    run = load_matching_run(runs_root() / trial, suspect, defense, config)
    if run is not None:
        measure_trial(run, suspect, load_data("scenes", split="test"))
    else:
        run = defend(suspect, defense, clean, config, on_step=Progress(f"{attack} {seed} {name}"))
    run.config["parent"] = protocol.run_name(model, attack, seed)
    if folder.exists():
        remove_tree(folder)
    save_run(run, folder)
    return run


def measure_trial(run: Run, suspect: Run, test: CaptionData) -> Run:
    """Give a trial of a learning rate, measured on validation images, its test metrics; return it."""
    assert suspect.metrics is not None
    metrics = evaluate(run.clip, test, suspect.trigger, suspect.target_class)
    run.metrics = replace(metrics, asr_clean_model=suspect.metrics.asr_clean_model)
    return run


def load_matching_run(folder: Path, suspect: Run, defense: Defense, config: FinetuneConfig) -> Run | None:
    """Return the run of a folder if it was made from `suspect` with these settings, else None."""
    if not has_config(folder):  # config.json is written last: a process was killed while it wrote
        return None
    run = load_run(folder)
    finetune = asdict(config) | run.config["finetune"] | NEUTRAL_SETTINGS
    settings = (finetune, run.config["defense"], run.config["suspect"])
    return run if settings == (asdict(config) | NEUTRAL_SETTINGS, defense.state_dict(), suspect.config) else None


def find_place(row: Row) -> tuple[Any, ...]:
    """Return the place of a row in the table: the order of the protocol."""
    attacks = [*protocol.ATTACKS, *protocol.OTHER_TRIGGERS]
    order = [None, *protocol.METHODS, *protocol.FIXED_RATE_METHODS, *protocol.ABLATIONS]
    return row["model"], attacks.index(row["trigger"]), row["seed"], order.index(row["defense"])


if __name__ == "__main__":
    main(tyro.cli(Options))
