"""RVPT and feature repelling on a vision transformer, for which they are published: python -m benchmarks.vit_rivals

Each method gets the clean pairs and steps of the quick setting and equally many trials of its learning rate, on the
badnet model of a trial seed; then test metrics are measured on seeds that no trial used: three of badnet and badclip,
one of the other attacks. RVPT learns prompts from class labels, on the pairs that have one, in its own range of rates;
it is also measured with more steps and with prompts in every block. The other methods learn from captions. These are
worded like those of pretraining: on others they would lose accuracy, and RVPT would not. Every finished task is a line
of benchmarks/results/vit_rivals.jsonl. A second call continues, and several processes share the tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import RESULTS_DIR, protocol
from benchmarks.markdown.cells import Row
from benchmarks.protocol2.lines import CLAIM_STEPS
from benchmarks.quick_plan import choose_form_and_rate
from benchmarks.quick_setting import load_home, poison_quickly, trial_figures
from benchmarks.rows import complete_groups, load_or_make_run, select_suspects
from benchmarks.tasks import TaskFile
from cleaner import presets
from cleaner.cli.output import Progress
from cleaner.config import count_steps
from cleaner.data.base import CaptionData
from cleaner.defenses import DEFENSES, Defense
from cleaner.models.clip import load_clip
from cleaner.reports import results
from cleaner.runs.folders import runs_root
from cleaner.runs.run import Run
from cleaner.seed import numpy_generator
from cleaner.workflow import defend

PATH = RESULTS_DIR / "vit_rivals.jsonl"
MODEL, CAPTIONS = "scenes-vit", "mixed"
TRIAL_SEED = 200
SEEDS = tuple(sorted(int(s) for s in numpy_generator(MODEL).choice(9000, 3, replace=False) + 1000))
"""Drawn before any trial."""
KEY_ATTACKS = ("badnet", "badclip")
SEEDS_OF_ATTACK = {attack: SEEDS if attack in KEY_ATTACKS else SEEDS[:1] for attack in protocol.ATTACKS}
"""Attack -> its seeds. The other attacks were added after the tables of `KEY_ATTACKS` had been seen."""
METHODS: dict[str, Defense] = {
    "finetune": DEFENSES["finetune"](),
    "cleanclip": DEFENSES["cleanclip"](),
    "cleanclip_short": DEFENSES["cleanclip_short"](share=1.0),
    "ta_cleaner": DEFENSES["ta_cleaner"](share=1.0),
    "feature_repelling": DEFENSES["feature_repelling"](),
    "rvpt": DEFENSES["rvpt"](),
    "rvpt skip share 0.0": DEFENSES["rvpt"](skip_share=0.0),
}
"""The last one was added after the others had been measured: of the parameters varied then, this one alone left less of
the attack at the same accuracy (phase "variants" of the result file).
"""
RATES = {
    name: np.geomspace(*((1e-3, 1e-1) if defense.is_model_frozen else (1e-4, 3e-3)), 6)
    for name, defense in METHODS.items()
}
"""Method -> the learning rates of its trials."""
STEPS = count_steps(presets.QUICK_CLEAN_PAIRS, presets.QUICK_DEFEND)
"""Steps of every method, whatever the number of pairs that it can use."""
LONG = f"rvpt, {CLAIM_STEPS} steps"
ROWS = (None, *METHODS, LONG)
"""What is measured, in the order of the table; None: the backdoored model. `LONG` only against `KEY_ATTACKS`."""


def main() -> None:
    """Measure what is missing."""
    protocol.start()
    file = TaskFile(PATH)
    file.run_phase("trials", trials())
    file.run_phase("rows", cells(choose_rates(file.rows("trials"))), select_cells)


def trials() -> dict[str, Callable[[], Row]]:
    """Return the trials of learning rates."""
    return {
        f"{name} {lr:.2g}": partial(try_rate, name, METHODS[name], float(f"{lr:.2g}"))
        for name, rates in RATES.items()
        for lr in rates
    }


def try_rate(name: str, defense: Defense, lr: float) -> Row:
    """Return the accuracy of a method on validation images, and the attack success, which chooses nothing."""
    suspect = load_or_poison("badnet", TRIAL_SEED, "validation")
    data = load_home(MODEL, "validation")
    run = defend_model(suspect, defense, lr, data, label=f"{name} {lr:g}")
    return {
        "defense": name,
        "lr": lr,
        "seed": TRIAL_SEED,
        "backdoored_ca": trial_figures(suspect)["ca"],
        **trial_figures(run),
    }


def load_or_poison(attack: str, seed: int, split: str) -> Run:
    """Return a backdoored model, measured on a split; the first call poisons it and stores it."""
    folder = suspect_folder(attack, seed)

    def make() -> Run:
        training = presets.scenes_attack_preset(attack, MODEL).training
        assert training is not None
        setting: dict[str, Any] = {
            "pairs": training.pairs,
            "epochs": training.finetune.epochs,
            "lr": training.finetune.lr,
            "rate": training.poison_rate,
        }
        return poison_quickly(MODEL, attack, seed, load_home(MODEL, split), **setting)

    run = load_or_make_run(folder, make)
    if run.config["model_sha256"] != load_clip(MODEL).sha256():
        raise SystemExit(f"{folder} was made from another model: remove it and start again.")
    return run


def suspect_folder(attack: str, seed: int) -> Path:
    """Return the folder of a backdoored run."""
    return runs_root() / f"vit_rivals_{attack}_{seed}"


def defend_model(
    suspect: Run, defense: Defense, lr: float, test: CaptionData, *, label: str, steps: int = STEPS
) -> Run:
    """Return a run of one method, measured on `test`."""
    clean = load_home(MODEL, "clean", presets.QUICK_CLEAN_PAIRS, captions=CAPTIONS)
    config = replace(presets.QUICK_DEFEND, lr=lr, seed=suspect.config["finetune"]["seed"], steps=steps)
    return defend(suspect, defense, clean, config, test=test, on_step=Progress(label))


def rows_of(attack: str) -> tuple[str | None, ...]:
    """Return what is measured against each model of an attack, in the order of the table."""
    return tuple(name for name in ROWS if name != LONG or attack in KEY_ATTACKS)


def choose_rates(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """Return method -> chosen rate and points lost, by the rule of the quick setting."""
    return {
        name: choose_form_and_rate({("", row["lr"]): [row] for row in rows if row["defense"] == name})
        for name in METHODS
    }


def select_cells(rows: list[Row]) -> list[Row]:
    """Return, of each attack and seed, the cells of one backdoored model, in the order of the table."""
    selected: list[Row] = []
    for attack in SEEDS_OF_ATTACK:
        of_attack = [row for row in rows if row["trigger"] == attack]
        cells = select_suspects(of_attack, len(rows_of(attack)), suspect_folder)
        selected += sorted(cells, key=lambda row: (row["seed"], ROWS.index(row["defense"])))
    return selected


def complete_cells(rows: list[Row]) -> list[Row]:
    """Return the selected cells of every attack and seed that has them all."""
    selected = select_cells(rows)
    return [
        row
        for attack in SEEDS_OF_ATTACK
        for row in complete_groups([r for r in selected if r["trigger"] == attack], len(rows_of(attack)))
    ]


def cells(chosen: dict[str, dict[str, Any]]) -> dict[str, Callable[[], Row]]:
    """Return the cells of the table: the backdoored models, and each method on them.

    The attacks alternate, so that two processes poison one model each instead of waiting for the same one.
    """
    return {
        f"{attack} {seed} {name or 'none'}": partial(measure_cell, attack, seed, name, chosen)
        for seed in SEEDS
        for name in ROWS
        for attack, seeds in SEEDS_OF_ATTACK.items()
        if seed in seeds and name in rows_of(attack)
    }


def measure_cell(attack: str, seed: int, name: str | None, chosen: dict[str, dict[str, Any]]) -> Row:
    """Return the test metrics of one attack, seed and method; None: the backdoored model."""
    run = load_or_poison(attack, seed, "test")
    if name is not None:
        method, steps = ("rvpt", CLAIM_STEPS) if name == LONG else (name, STEPS)
        test, label = load_home(MODEL, "test"), f"{attack} {seed} {name}"
        run = defend_model(run, METHODS[method], chosen[method]["lr"], test, label=label, steps=steps)
    return protocol.stamp_row(results.make_row(name, run))


if __name__ == "__main__":
    main()
