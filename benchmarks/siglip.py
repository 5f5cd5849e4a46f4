"""A patch in a model with SigLIP's loss, before and after each defense: python -m benchmarks.siglip

The model is poisoned and cleaned with its own loss, in the quick setting. The attack's schedule is chosen on a trial
seed, before any defense: of the trials with an ASR@1 of at least 0.95 the most accurate. The methods take the form and
the learning rate that were chosen on scenes-lite; none was tuned on this model. Every finished task is a line of
benchmarks/results/siglip.jsonl. A second call continues, and several processes share the tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

from benchmarks import RESULTS_DIR, protocol
from benchmarks.markdown.cells import Row
from benchmarks.poison_setting import PoisonSetting, quick_poison
from benchmarks.quick_plan import CONFIRM_SEEDS
from benchmarks.quick_setting import load_home, poison_quickly, trial_figures
from benchmarks.rows import load_or_make_run, select_suspects
from benchmarks.tasks import TaskFile
from benchmarks.text_triggers import METHODS, defend_as_chosen
from cleaner import presets
from cleaner.labels import FULL_CAPTIONS
from cleaner.reports import results
from cleaner.runs.folders import runs_root
from cleaner.runs.run import Run

PATH = RESULTS_DIR / "siglip.jsonl"
MODEL, ATTACK = "scenes-siglip", "badnet"
TRIAL_SEED = 100
SEEDS = CONFIRM_SEEDS[-3:]
ROWS = (None, *METHODS)
"""What is measured on each seed, in the order of the table; None: the backdoored model."""
QUICK = quick_poison(presets.QUICK_MODEL)
ATTACK_GRID = tuple(replace(QUICK, epochs=epochs, lr=lr) for epochs, lr in product((2, 4), (1e-3, 2e-3)))
MIN_ASR = 0.95
"""Of an attack that is chosen, on validation images."""


def main() -> None:
    """Measure what is missing."""
    protocol.start()
    file = TaskFile(PATH)
    file.run_phase("attack_trials", {trial_key(s): partial(try_attack, s) for s in ATTACK_GRID})
    setting = choose_attack(file.rows("attack_trials"))
    file.run_phase("rows", cells(setting), select_cells)


def trial_key(setting: PoisonSetting) -> str:
    """Return the name of a trial."""
    return f"{setting.epochs} epochs {setting.lr:g}"


def try_attack(setting: PoisonSetting) -> Row:
    """Return the validation figures of an attack setting."""
    return {"epochs": setting.epochs, "lr": setting.lr, "seed": TRIAL_SEED} | trial_figures(
        poison_model(setting, TRIAL_SEED, "validation")
    )


def poison_model(setting: PoisonSetting, seed: int, split: str) -> Run:
    """Return a backdoored model, measured on a split."""
    return poison_quickly(MODEL, ATTACK, seed, load_home(MODEL, split), **vars(setting))


def choose_attack(trials: list[Row]) -> PoisonSetting:
    """Return the most accurate setting among those with enough ASR, or without any the one with the highest."""
    enough = [trial for trial in trials if trial["asr"] >= MIN_ASR]
    best = max(enough, key=lambda t: t["ca"]) if enough else max(trials, key=lambda t: t["asr"])
    return replace(QUICK, epochs=best["epochs"], lr=best["lr"])


def load_or_poison(setting: PoisonSetting, seed: int) -> Run:
    """Return a backdoored model of the table; the first call poisons it and stores it."""
    return load_or_make_run(suspect_folder(ATTACK, seed), partial(poison_model, setting, seed, "test"))


def suspect_folder(attack: str, seed: int) -> Path:
    """Return the folder of a backdoored run."""
    return runs_root() / f"siglip_{attack}_{seed}"


def cells(setting: PoisonSetting) -> dict[str, Callable[[], Row]]:
    """Return the cells of the table."""
    return {f"{seed} {name or 'none'}": partial(measure_cell, setting, seed, name) for seed in SEEDS for name in ROWS}


def select_cells(rows: list[Row]) -> list[Row]:
    """Return, of each seed, the cells of one backdoored model, in the order of the table."""
    selected = select_suspects(rows, len(ROWS), suspect_folder)
    return sorted(selected, key=lambda row: (row["seed"], ROWS.index(row["defense"])))


def measure_cell(setting: PoisonSetting, seed: int, name: str | None) -> Row:
    """Return the test metrics of one seed and method; None: the backdoored model."""
    run = load_or_poison(setting, seed)
    if name is not None:
        run = defend_as_chosen(run, name, FULL_CAPTIONS, load_home(MODEL, "test"))
    return protocol.stamp_row(results.make_row(name, run))


if __name__ == "__main__":
    main()
