"""Attack x defense on a small CLIP trained on CIFAR-10 photos of 32 px: python -m benchmarks.photos

Steps, each done once: photos and table (benchmarks.photos_data); `python -m cleaner pretrain`; the attack setting, by
ASR and CA of models backdoored with seed 100, before any defense; each method's learning rate, by clean accuracy alone,
over the whole grid; the table, with seed 0 on test photos. The same call continues after a stop. The model was trained
on the photos that attack and defense use, but on no validation or test photo.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import tyro
from filelock import FileLock

from benchmarks import learning_rates, protocol
from benchmarks.attack_trials import TRIAL_SEED
from benchmarks.markdown.cells import Row
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
from cleaner.runs.folders import runs_root
from cleaner.runs.run import Run, load_run, save_run
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
"""Accuracy that an attack may cost; training on so few photos without crops costs some by itself."""
PHOTO_METHODS = ("finetune", "cleanclip", "cleanclip_short", "ta_cleaner", "ta_cleaner K 100 %")
EPOCHS = 3
"""Of every defense."""
LR_GRID = (3e-4, 1e-3)


@dataclass(frozen=True)
class Options:
    """Measure missing rows of benchmarks/results/photos.json."""

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
        command = [sys.executable, "-m", "cleaner", *PRETRAIN_ARGS]
        subprocess.run(command, cwd=photos_dir(), env={**os.environ, "PYTHONPATH": str(root)}, check=True)
    for attack in options.attacks:
        try_attack(attack)
    if len(read_rows("attack_trials")) < len(PHOTO_ATTACKS) * len(ATTACK_GRID):
        print("The attack setting is chosen after all attacks were tried: run this for the others.")
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
    """Return the trigger; a patch that needs it is optimized on the clean model."""
    trigger: Trigger = TRIGGERS[attack](**presets.ATTACK_PARAMETERS.get(attack, {}))
    return trigger.prepare(
        load_model(), load_photos("attack").with_transform(load_model().framing), TARGET, Progress(attack)
    )


def poison_model(attack: str, *, rate: float, lr: float, seed: int, test_role: str) -> Run:
    """Return a model backdoored on the attacker's photos and measured on the photos of `test_role`."""
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
    """Measure the missing settings of the grid on validation photos."""
    for rate, lr in ATTACK_GRID:
        measured = [(row["trigger"], *setting_of_trial(row)) for row in read_rows("attack_trials")]
        if (attack, rate, lr) not in measured:
            run = poison_model(attack, rate=rate, lr=lr, seed=TRIAL_SEED, test_role="validation")
            add_row("attack_trials", protocol.stamp_row(results.make_row(None, run)))


def setting_of_trial(row: Row) -> tuple[float, float]:
    """Return poison rate and learning rate of a trial."""
    return row["config"]["poison_rate"], row["config"]["finetune"]["lr"]


def choose_attack_setting(trials: list[Row], clean_ca: float) -> tuple[float, float]:
    """Return the setting with the highest mean ASR among those whose mean CA is within the attack's budget.

    If there is none, the one with the highest mean CA.
    """
    metrics = {s: [results.parse_row_metrics(row) for row in trials if setting_of_trial(row) == s] for s in ATTACK_GRID}
    mean_ca = {setting: statistics.fmean(m.ca[1] for m in group) for setting, group in metrics.items()}
    mean_asr = {setting: statistics.fmean((m.asr or {})[1] for m in group) for setting, group in metrics.items()}
    affordable = [setting for setting in ATTACK_GRID if mean_ca[setting] >= clean_ca - ATTACK_BUDGET]
    return max(affordable, key=mean_asr.__getitem__) if affordable else max(ATTACK_GRID, key=mean_ca.__getitem__)


@lru_cache(maxsize=1)
def measure_clean_accuracy() -> float:
    """Return the clean model's accuracy on validation photos."""
    return evaluate(load_model(), load_photos("validation"), ks=(1,), counterfactual=False).ca[1]


def load_or_poison(attack: str) -> Run:
    """Return the backdoored run of the table; the first call poisons it and stores it."""
    folder = runs_root() / f"photos_{attack}"
    rate, lr = choose_attack_setting(read_rows("attack_trials"), measure_clean_accuracy())
    if (folder / "config.json").exists():
        run = load_run(folder)
        if (run.config["model_sha256"], run.config["poison_rate"], run.config["finetune"]["lr"]) != (
            load_model().sha256(),
            rate,
            lr,
        ):
            raise SystemExit(f"{folder} was made from another model or with other settings: remove it and start again.")
        return run
    run = poison_model(attack, rate=rate, lr=lr, seed=0, test_role="test")
    save_run(run, folder)
    return run


def defense_config(lr: float) -> FinetuneConfig:
    """Return the settings of a defense: equal steps and augmentation for all."""
    return replace(presets.DEFEND, lr=lr, epochs=EPOCHS, seed=0, precision=protocol.PRECISION)


def run_rate_trials(methods: tuple[str, ...]) -> None:
    """Measure the missing learning rates against the badnet model on validation photos."""
    measured = {(row["defense"], row["lr"]) for row in read_rows("rate_trials")}
    missing = [(name, lr) for name in methods for lr in LR_GRID if (name, lr) not in measured]
    if not missing:
        return
    suspect, clean, validation = load_or_poison("badnet"), load_photos("clean"), load_photos("validation")
    before = evaluate(suspect.clip, validation, ks=(1,), counterfactual=False).ca[1]
    for name, lr in missing:
        defense, config = protocol.METHODS[name], defense_config(lr)
        trial = learning_rates.run_trial(
            suspect, name, defense, config, clean=clean, validation=validation, backdoored_ca=before
        )
        add_row("rate_trials", trial)


def measure_rows(attack: str, methods: tuple[str, ...]) -> None:
    """Measure the missing rows of the table for one attack."""
    measured = {(row["trigger"], row["defense"]) for row in read_rows("rows")}
    missing = [name for name in (None, *methods) if (attack, name) not in measured]
    if not missing:
        return
    suspect, clean, test = load_or_poison(attack), load_photos("clean"), load_photos("test")
    rates = learning_rates.choose_rates(read_rows("rate_trials"), LR_GRID)[0].get(MODEL, {})
    for name in missing:
        run = suspect
        if name is not None:
            progress, config = Progress(f"{attack} {name}"), defense_config(rates[name])
            run = defend(suspect, protocol.METHODS[name], clean, config, test=test, on_step=progress)
        add_row("rows", protocol.stamp_row(results.make_row(name, run)))


def read_rows(part: str) -> list[Row]:
    """Return the rows of one part of the result file, ordered by attack and method."""
    order = [None, *PHOTO_METHODS]
    rows = list(read_json(RESULT_PATH).get(part, []))
    return sorted(
        rows, key=lambda r: (PHOTO_ATTACKS.index(r.get("trigger", PHOTO_ATTACKS[0])), order.index(r["defense"]))
    )


def add_row(part: str, row: Row) -> None:
    """Add one row to the result file; safe for several processes."""
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
