"""Choose and confirm the quick setting, a minute of training for pages, lesson, demo and example:

python -m benchmarks.quick_setting trials | confirm

trials: each method gets the same number of trials on the badnet model of a trial seed; its settings are the largest
learning rate whose validation accuracy stays within the budget, ties by accuracy. ASR is logged and never used.
confirm: test metrics on five seeds that were drawn beforehand and that no trial used, each method at its own rate, at
TA-Cleaner's and, for CleanCLIP, in the full schedule. Each trial and row is written when it is done; a second call
continues. Two processes may split methods or seeds. A model's settings are chosen when all its trials are done.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Literal

import tyro
from filelock import FileLock

from benchmarks import RESULTS_DIR, protocol
from benchmarks.poison_setting import quick_poison
from benchmarks.quick_plan import (
    BUDGET,
    CONFIRM_SEEDS,
    SETTING,
    TRIAL_SEEDS,
    TRIALS_EACH,
    VARIANTS,
    choose,
    complete,
    confirmation_plan,
    trial_plan,
)
from benchmarks.tasks import lock_path
from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.cli.output import Progress
from cleaner.config import FinetuneConfig
from cleaner.data.base import CaptionData, load_data
from cleaner.defenses import Defense
from cleaner.models.clip import load_clip
from cleaner.reports import results
from cleaner.runs.run import Run
from cleaner.workflow import defend, poison

RESULT_PATH = RESULTS_DIR / "quick_setting.json"
ATTACKS = ("badnet", "badclip")


@dataclass(frozen=True)
class Options:
    """Run what is missing of one phase."""

    phase: tyro.conf.Positional[Literal["trials", "confirm"]]
    """What to run."""
    model: str = presets.QUICK_MODEL
    """Built-in model."""
    attacks: tuple[str, ...] = ATTACKS
    """Attacks of the phase confirm."""
    defenses: tuple[str, ...] = presets.COMPARED_DEFENSES
    """Methods of the phase trials."""
    seeds: tuple[int, ...] = CONFIRM_SEEDS
    """Seeds of the phase confirm."""


def main(options: Options) -> None:
    """Run a phase."""
    protocol.start()
    {"trials": run_defense_trials, "confirm": run_confirmation}[options.phase](options)


def run_defense_trials(options: Options) -> None:
    """Log the validation accuracy of each method, form and rate on the badnet model of the trial seeds."""
    validation = load_home(options.model, "validation")
    for seed in TRIAL_SEEDS:
        keys = [
            {"model": options.model, "seed": seed, **key, **SETTING}
            for key in trial_plan()
            if key["defense"] in options.defenses
        ]
        missing = [key for key in keys if is_new("trials", key)]
        if not missing:
            continue
        suspect = poison_quickly(options.model, "badnet", seed, validation)
        before = trial_figures(suspect)["ca"]
        for key in missing:
            defense = VARIANTS[key["defense"]][key["form"]]
            run = defend_quickly(suspect, defense, key["lr"], validation, label=f"{key['defense']} {key['form']}")
            append("trials", key | {"backdoored_ca": before} | trial_figures(run))


def run_confirmation(options: Options) -> None:
    """Measure the chosen settings on test images, with the five seeds."""
    test = load_home(options.model, "test")
    chosen = find_choice(options.model)
    for attack in options.attacks:
        for seed in options.seeds:
            plan = list(confirmation_plan(chosen))
            cell: dict[str, Any] = {"model": options.model, "trigger": attack, "seed": seed}
            keys = [cell | {"method": name} for name, *_ in plan]
            if not any(is_new("rows", key) for key in keys):
                continue
            suspect = poison_quickly(options.model, attack, seed, test)
            for key, (_, defense, lr, steps) in zip(keys, plan, strict=True):
                if not is_new("rows", key):
                    continue
                run = suspect
                if defense is not None:
                    run = defend_quickly(
                        suspect, defense, lr, test, label=f"{attack} {seed} {key['method']}", steps=steps
                    )
                append("rows", protocol.stamp_row(key | results.make_row(key["method"], run)))


def find_choice(model: str) -> dict[str, dict[str, Any]]:
    """Return method -> chosen form and rate of a model; ends the program while its trials are incomplete."""
    chosen = choose(complete(read()["trials"]))
    if model not in chosen:
        command = f"python -m benchmarks.quick_setting trials --model {model}"
        raise SystemExit(f"The trials of {model} are not complete: run {command}")
    return chosen[model]


def load_home(model: str, split: str, size: int | None = None, **options: str) -> CaptionData:
    """Return a split of the data that a model was trained on."""
    return load_data(presets.home_data(model), split=split, size=size, **options)


def poison_quickly(
    model: str, attack: str, seed: int, test: CaptionData, *, precision: str = "auto", **changed: Any
) -> Run:
    """Return a backdoored run, measured on `test`; `changed`: fields of the model's `PoisonSetting`."""
    setting = replace(quick_poison(model), **changed)
    preset = presets.scenes_attack_preset(attack, model)
    return poison(
        load_clip(model),
        load_home(model, "train", setting.pairs),
        TRIGGERS[attack](**preset.parameters),
        presets.default_target(test.class_names),
        poison_rate=setting.rate,
        config=replace(presets.QUICK_POISON, epochs=setting.epochs, lr=setting.lr, seed=seed, precision=precision),
        test=test,
        on_step=Progress(f"{attack} {seed}"),
    )


def defend_quickly(
    suspect: Run, defense: Defense, lr: float, test: CaptionData, *, label: str, steps: int = 0, **clean_options: str
) -> Run:
    """Return a run of one defense with seed and precision of the backdoored run, measured on `test`.

    `steps` > 0 replaces those of the quick setting; `clean_options` are options of the data of the clean pairs.
    """
    model, size = suspect.config["model"], presets.CLEAN_PAIRS if steps else presets.QUICK_CLEAN_PAIRS
    clean = load_home(model, "clean", size, **clean_options)
    shared = {name: suspect.config["finetune"][name] for name in ("seed", "precision")}
    config: FinetuneConfig = replace(presets.QUICK_DEFEND, lr=lr, **shared)
    if steps:
        config = replace(config, steps=steps, epochs=presets.DEFEND.epochs)
    return defend(suspect, defense, clean, config, test=test, on_step=Progress(label))


def trial_figures(run: Run) -> dict[str, Any]:
    """Return what a trial logs of a backdoored or defended run."""
    metrics = run.metrics
    assert metrics is not None
    assert metrics.asr is not None
    return {
        "ca": metrics.ca[1],
        "n": metrics.n,
        "asr": metrics.asr[1],
        "n_attack": metrics.n_attack,
        "counterfactual_accuracy": metrics.counterfactual_accuracy,
        "steps": len([report for report in run.history if report.stage != "optimize"]),
        "seconds": run.config["seconds"],
        "precision": run.config["precision"],
        "suspect_sha256": results.make_row(None, run)["suspect_sha256"],
        "commit": protocol.read_started_commit(),
    }


def read() -> dict[str, Any]:
    """Return the result file; its lists are empty if there is none."""
    stored = json.loads(RESULT_PATH.read_text(encoding="utf-8")) if RESULT_PATH.exists() else {}
    return stored | {name: stored.get(name, []) for name in ("trials", "rows")}


def is_new(name: str, key: dict[str, Any]) -> bool:
    """Return whether a list of the result file lacks an entry."""
    return not any(all(entry.get(field) == value for field, value in key.items()) for entry in read()[name])


def append(name: str, entry: dict[str, Any]) -> None:
    """Add an entry to a list of the result file and update the choice."""
    with FileLock(lock_path(RESULT_PATH, "append")):
        stored = read()
        stored[name].append(entry)
        plan = {"trial_seeds": TRIAL_SEEDS, "seeds": CONFIRM_SEEDS, "trials_each": TRIALS_EACH, "budget": BUDGET}
        stored |= {**plan, "setting": SETTING, "chosen": choose(complete(stored["trials"]))}
        if "command" not in stored:  # each trial and row states its own commit
            stored |= protocol.add_provenance()
        results.write_result(RESULT_PATH, stored)


if __name__ == "__main__":
    main(tyro.cli(Options))
