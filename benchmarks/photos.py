"""Real photos: attack x defence on a small CLIP trained on CIFAR-10 pictures of 32 px: python -m benchmarks.photos

Each step once, in this order: photos and table (benchmarks.photos_data); `python -m cleaner pretrain`; the settings of
the attacks, by ASR and CA of models backdoored with seed 100, before any defence; each method's learning rate, by clean
accuracy alone, all of the grid for each; the table, with seed 0 and on the test photos. The same call goes on where it
was stopped. The model has seen the photos that attack and defence use, but none for validation or test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import tyro
from filelock import FileLock

from benchmarks import learning_rates, protocol
from benchmarks.attack_trials import TRIAL_SEED as TRIAL_SEED
from benchmarks.photos_data import ensure_photos, load_photos, photos_dir
from cleaner import presets
from cleaner.attacks import TRIGGERS, Trigger
from cleaner.cli.output import Progress
from cleaner.config import FinetuneConfig
from cleaner.evaluation.evaluate import evaluate
from cleaner.files import read_json
from cleaner.models.clip import Clip, load_clip
from cleaner.models.devices import configure_torch
from cleaner.reports import results
from cleaner.runs.store import Run, load_run, runs_root, save_run
from cleaner.workflow import defend, poison

RESULT_PATH = results.RESULTS_DIR / "photos.json"
MODEL, TARGET = "photos-rn", "frog"
PRETRAIN_ARGS = (
    "pretrain",
    "--model",
    "scenes-rn",
    "--image-size",
    "32",
    "--data",
    "pairs.csv",
    "--pairs",
    "5000",
    "--epochs",
    "20",
    "--augmentation",
    "crops",
    "--out",
    MODEL,
)
PHOTO_ATTACKS = ("badnet", "blended", "badclip")
ATTACK_GRID = ((0.03, 1e-3), (0.1, 3e-4), (0.1, 1e-3))
"""Poison rate and learning rate; one pair for all attacks."""
ATTACK_BUDGET = 0.05
"""How much accuracy an attack may cost; training on so few photos without crops costs some by itself."""
PHOTO_METHODS = ("finetune", "cleanclip", "cleanclip_short", "ta_cleaner", "ta_cleaner K 100 %")
EPOCHS = 3
"""Of every defence."""
LR_GRID = (3e-4, 1e-3)
Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """Measure what is missing in benchmarks/results/photos.json."""

    methods: tuple[str, ...] = PHOTO_METHODS
    """Methods; two processes may measure different ones at the same time."""
    attacks: tuple[str, ...] = PHOTO_ATTACKS
    """Triggers; two processes may try different ones at the same time."""


def main(options: Options) -> None:
    """Run all steps."""
    configure_torch()
    ensure_photos()
    if not (photos_dir() / MODEL / "card.json").exists():
        root = Path(__file__).resolve().parent.parent
        words = [sys.executable, "-m", "cleaner", *PRETRAIN_ARGS]
        subprocess.run(words, cwd=photos_dir(), env={**os.environ, "PYTHONPATH": str(root)}, check=True)
    for attack in options.attacks:
        try_attack(attack)
    if len(read_rows("attack_trials")) < len(PHOTO_ATTACKS) * len(ATTACK_GRID):
        print("The attacks' setting is chosen once all of them were tried: call this for the others.")
        return
    run_rate_trials(options.methods)
    for attack in options.attacks:
        measure_rows(attack, options.methods)


@lru_cache(maxsize=1)
def load_model() -> Clip:
    """Return the clean model."""
    return load_clip(str(photos_dir() / MODEL / "model.safetensors"))


@lru_cache(maxsize=len(PHOTO_ATTACKS))
def prepare_trigger(attack: str) -> Trigger:
    """Return the trigger, its patch optimised on the clean model where it has one to optimise."""
    made: Trigger = TRIGGERS[attack](**presets.ATTACK_PARAMETERS.get(attack, {}))
    return made.prepare(
        load_model(), load_photos("attack").with_transform(load_model().framing), TARGET, Progress(attack)
    )


def poison_model(attack: str, rate: float, lr: float, seed: int, test_role: str) -> Run:
    """Return a model backdoored on the attacker's photos, measured on those of `test_role`."""
    config = replace(presets.POISON, lr=lr, seed=seed, precision=protocol.PRECISION)
    label = f"{attack} {rate:g} {lr:g}"
    return poison(
        load_model(),
        load_photos("attack"),
        prepare_trigger(attack),
        TARGET,
        poison_rate=rate,
        config=config,
        test=load_photos(test_role),
        on_step=Progress(label),
    )


def try_attack(attack: str) -> None:
    """Measure the settings of the grid that are missing, on the validation photos."""
    for rate, lr in ATTACK_GRID:
        known = [(row["trigger"], *setting_of_trial(row)) for row in read_rows("attack_trials")]
        if (attack, rate, lr) not in known:
            run = poison_model(attack, rate, lr, TRIAL_SEED, "validation")
            add_row("attack_trials", stamp_row(results.make_row(None, run)))


def setting_of_trial(row: Row) -> tuple[float, float]:
    """Return poison rate and learning rate of a trial."""
    return row["config"]["poison_rate"], row["config"]["finetune"]["lr"]


def choose_attack_setting(trials: list[Row], clean_ca: float) -> tuple[float, float]:
    """Return the setting with the highest mean ASR of those whose mean CA is within the attack's budget.

    If none is, that with the highest mean CA.
    """

    def mean(which: str, of: tuple[float, float]) -> float:
        values = [results.parse_row_metrics(row) for row in trials if setting_of_trial(row) == of]
        return sum((m.ca if which == "ca" else m.asr or {})[1] for m in values) / len(values)

    kept = [of for of in ATTACK_GRID if mean("ca", of) >= clean_ca - ATTACK_BUDGET]
    return max(kept, key=lambda of: mean("asr", of)) if kept else max(ATTACK_GRID, key=lambda of: mean("ca", of))


@lru_cache(maxsize=1)
def measure_clean_accuracy() -> float:
    """Return the clean model's accuracy on the validation photos."""
    return evaluate(load_model(), load_photos("validation"), ks=(1,), counterfactual=False).ca[1]


def load_or_poison(attack: str) -> Run:
    """Return the backdoored run of the table; poisoned at the first call and kept in the run store."""
    place = runs_root() / f"photos_{attack}"
    rate, lr = choose_attack_setting(read_rows("attack_trials"), measure_clean_accuracy())
    if (place / "config.json").exists():
        run = load_run(place)
        if (run.config["model_sha256"], run.config["poison_rate"], run.config["finetune"]["lr"]) != (
            load_model().sha256(),
            rate,
            lr,
        ):
            raise SystemExit(f"{place} was made from another model or with other settings: remove it and start again.")
        return run
    run = poison_model(attack, rate, lr, 0, "test")
    save_run(run, place)
    return run


def defense_config(lr: float) -> FinetuneConfig:
    """Return the settings of a defence: the same steps and augmentation for all."""
    return replace(presets.DEFEND, lr=lr, epochs=EPOCHS, seed=0, precision=protocol.PRECISION)


def run_rate_trials(methods: tuple[str, ...]) -> None:
    """Measure the missing learning rates against the badnet model, on the validation photos."""
    known = {(row["defense"], row["lr"]) for row in read_rows("rate_trials")}
    missing = [(name, lr) for name in methods for lr in LR_GRID if (name, lr) not in known]
    if not missing:
        return
    suspect, clean, validation = load_or_poison("badnet"), load_photos("clean"), load_photos("validation")
    before = evaluate(suspect.clip, validation, ks=(1,), counterfactual=False).ca[1]
    for name, lr in missing:
        method = protocol.METHODS[name]
        add_row(
            "rate_trials",
            learning_rates.run_trial(suspect, name, method, clean, defense_config(lr), validation, before),
        )


def measure_rows(attack: str, methods: tuple[str, ...]) -> None:
    """Measure the rows of the table that are missing for one attack."""
    wanted: tuple[str | None, ...] = (None, *methods)
    known = {(row["trigger"], row["defense"]) for row in read_rows("rows")}
    missing = [name for name in wanted if (attack, name) not in known]
    if not missing:
        return
    suspect, clean, test = load_or_poison(attack), load_photos("clean"), load_photos("test")
    rates = learning_rates.choose_rates(read_rows("rate_trials"), LR_GRID)[0].get(MODEL, {})
    for name in missing:
        run = suspect
        if name is not None:
            told = Progress(f"{attack} {name}")
            run = defend(suspect, protocol.METHODS[name], clean, defense_config(rates[name]), test=test, on_step=told)
        add_row("rows", stamp_row(results.make_row(name, run)))


def stamp_row(row: Row) -> Row:
    """Return a row with commit, command and device."""
    return results.add_provenance(protocol.format_command_line(), seeds=[row["seed"]], **row)


def read_rows(part: str) -> list[Row]:
    """Return the rows of a part of the result file, in order of the attacks and methods."""
    order = [None, *PHOTO_METHODS]
    rows = list(read_json(RESULT_PATH).get(part, []))
    return sorted(
        rows, key=lambda r: (PHOTO_ATTACKS.index(r.get("trigger", PHOTO_ATTACKS[0])), order.index(r["defense"]))
    )


def add_row(part: str, row: Row) -> None:
    """Put one row into the result file; several processes may."""
    card = json.loads((photos_dir() / MODEL / "card.json").read_text(encoding="utf-8"))
    card.pop("data")  # a path of this machine
    accuracy = measure_clean_accuracy()
    with FileLock(photos_dir() / "photos.lock"):
        parts = {name: read_rows(name) for name in ("attack_trials", "rate_trials", "rows")}
        parts[part].append(row)
        chosen, lost = learning_rates.choose_rates(parts["rate_trials"], LR_GRID)
        result = results.add_provenance(
            protocol.format_command_line(),
            seeds=[0],
            card=card,
            clean_validation_ca=accuracy,
            target=TARGET,
            attack_grid=ATTACK_GRID,
            attack_budget=ATTACK_BUDGET,
            grid=LR_GRID,
            budget=protocol.ACCURACY_BUDGET,
            chosen=chosen,
            lost_accuracy=lost,
            **parts,
        )
        results.write_result(RESULT_PATH, result)


if __name__ == "__main__":
    main(tyro.cli(Options))
