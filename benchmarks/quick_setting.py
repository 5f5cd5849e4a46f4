"""Choose and confirm the quick setting, a minute of training for pages, lesson, demo and example:

python -m benchmarks.quick_setting attack | trials | confirm

attack: trials of short poisonings, before any defense. trials: each method gets the same number of trials on the
badnet model of a trial seed; its settings are the largest learning rate whose validation accuracy stays within the
budget, ties by accuracy. ASR is logged and never used. confirm: test metrics on five seeds that were drawn beforehand
and that no trial used, each method at its own rate, at TA-Cleaner's and, for CleanCLIP, in the full schedule. Each
trial and row is written when it is done; a second call continues. Two processes may split methods or seeds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import tyro
from filelock import FileLock

from benchmarks import protocol
from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.cli.output import Progress
from cleaner.config import FinetuneConfig, changed_parameters
from cleaner.data.base import CaptionData, load_data
from cleaner.defenses import DEFENSES, Defense
from cleaner.evaluation.evaluate import evaluate
from cleaner.models.clip import load_clip
from cleaner.models.devices import configure_torch
from cleaner.reports import results
from cleaner.runs.run import Run
from cleaner.seed import numpy_generator
from cleaner.workflow import defend, poison

RESULT_PATH = results.RESULTS_DIR / "quick_setting.json"
TRIAL_SEEDS = (200,)
CONFIRM_SEEDS = tuple(sorted(int(s) for s in numpy_generator("quick setting").choice(9000, 5, replace=False) + 1000))
"""Drawn before any trial; nothing was trained with them before `confirm`."""
TRIALS_EACH = 24
"""Trials of each method and trial seed."""
BUDGET = 0.03
"""Validation accuracy that a method may lose against the backdoored model."""
FULL_STEPS = 651
"""Steps of the full schedule, seven epochs of 6,000 pairs."""
ATTACKS = ("badnet", "badclip")


def spread_rates(count: int) -> list[float]:
    """Return learning rates from 1e-4 to 1e-2, evenly spaced in the logarithm."""
    return [float(f"{1e-4 * 100 ** (i / (count - 1)):.2g}") for i in range(count)]


def _ta_cleaner_variants() -> dict[str, Defense]:
    """Return the forms of TA-Cleaner that are tried: formula, style of positives, number of negatives."""
    forms = [("ours", 3), ("ours", 1), ("reviewed", 1)]
    return {
        f"{formula}, {style}, n {n}": DEFENSES["ta_cleaner"](share=1.0, formula=formula, positive=style, negatives=n)
        for formula, n in forms
        for style in ("core", "relation")
    }


VARIANTS: dict[str, dict[str, Defense]] = {
    "finetune": {"": DEFENSES["finetune"]()},
    "cleanclip": {"": DEFENSES["cleanclip"]()},
    "cleanclip_short": {s: DEFENSES["cleanclip_short"](share=1.0, positive=s) for s in ("core", "relation")},
    "ta_cleaner": _ta_cleaner_variants(),
}
"""Method -> its forms. A method with fewer forms tries more rates."""
SETTING = {"pairs": presets.QUICK_CLEAN_PAIRS, "epochs": presets.QUICK_DEFEND.epochs}
"""Clean pairs and epochs of the trials that count; the file keeps others as a log."""
ATTACK_TRIALS = (
    (4000, 4, 0.03, 1e-3),
    (4000, 3, 0.03, 1e-3),
    (4000, 4, 0.03, 2e-3),
    (4000, 4, 0.03, 3e-3),
    (4000, 4, 0.05, 1e-3),
    (4000, 4, 0.05, 2e-3),
    (8000, 2, 0.03, 2e-3),
    (8000, 2, 0.05, 1e-3),
    (8000, 2, 0.05, 2e-3),
    (16000, 1, 0.03, 2e-3),
    (16000, 1, 0.05, 1e-3),
)
"""(pairs, epochs, poison rate, learning rate) of the poisoning."""


@dataclass(frozen=True)
class Options:
    """Run what is missing of one phase."""

    phase: tyro.conf.Positional[Literal["attack", "trials", "confirm"]]
    """What to run."""
    model: str = presets.QUICK_MODEL
    """Built-in model."""
    attacks: tuple[str, ...] = ATTACKS
    """Attacks of the phases attack and confirm."""
    defenses: tuple[str, ...] = ("finetune", "cleanclip", "cleanclip_short", "ta_cleaner")
    """Methods of the phase trials."""
    seeds: tuple[int, ...] = CONFIRM_SEEDS
    """Seeds of the phase confirm."""


def main(options: Options) -> None:
    """Run a phase."""
    configure_torch()
    {"attack": run_attack_trials, "trials": run_defense_trials, "confirm": run_confirmation}[options.phase](options)


def run_attack_trials(options: Options) -> None:
    """Log CA and ASR of short poisonings on validation images."""
    validation = load_data("scenes", split="validation")
    for attack in options.attacks:
        for pairs, epochs, rate, lr in ATTACK_TRIALS:
            for seed in TRIAL_SEEDS:
                key = {
                    "model": options.model,
                    "trigger": attack,
                    "seed": seed,
                    "pairs": pairs,
                    "epochs": epochs,
                    "poison_rate": rate,
                    "lr": lr,
                }
                if is_new("attack_trials", key):
                    run = poison_quickly(
                        options.model,
                        attack,
                        seed,
                        validation,
                        pairs=pairs,
                        rate=rate,
                        config=replace(presets.QUICK_POISON, epochs=epochs, lr=lr),
                    )
                    append("attack_trials", key | validation_figures(run))


def run_defense_trials(options: Options) -> None:
    """Log the validation accuracy of each method, form and rate on the badnet model of the trial seeds."""
    validation = load_data("scenes", split="validation")
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
        before = evaluate(suspect.clip, validation, ks=(1,), counterfactual=False).ca[1]
        for key in missing:
            defense = VARIANTS[key["defense"]][key["form"]]
            run = defend_quickly(suspect, defense, key["lr"], validation, label=f"{key['defense']} {key['form']}")
            append("trials", key | {"backdoored_ca": before} | validation_figures(run))


def trial_plan() -> Iterator[dict[str, Any]]:
    """Yield method, form and rate of each trial: `TRIALS_EACH` a method."""
    for name, forms in VARIANTS.items():
        for form in forms:
            for lr in spread_rates(TRIALS_EACH // len(forms)):
                yield {"defense": name, "form": form, "lr": lr}


def run_confirmation(options: Options) -> None:
    """Measure the chosen settings on test images, with the five seeds."""
    test = load_data("scenes", split="test")
    chosen = choose(read()["trials"])[options.model]
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
                append("rows", key | results.make_row(key["method"], run))


def confirmation_plan(chosen: dict[str, dict[str, Any]]) -> Iterator[tuple[str, Defense | None, float, int]]:
    """Yield name, defense, learning rate and steps (0: those of the quick setting) of each row."""
    yield "none", None, 0.0, 0
    common = chosen["ta_cleaner"]["lr"]
    for name, choice in chosen.items():
        defense = VARIANTS[name][choice["form"]]
        yield name, defense, choice["lr"], 0
        if choice["lr"] != common:
            yield f"{name} at TA-Cleaner's rate", defense, common, 0
    cleanclip = DEFENSES["cleanclip"]()
    yield "cleanclip, full schedule", cleanclip, chosen["cleanclip"]["lr"], FULL_STEPS


def choose(trials: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return model -> method -> chosen form and rate, by the mean validation accuracy over the trial seeds."""
    chosen: dict[str, dict[str, dict[str, Any]]] = {}
    current = [t for t in trials if all(t[name] == value for name, value in SETTING.items())]
    for model, name in sorted({(t["model"], t["defense"]) for t in current}):
        groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
        for trial in current:
            if (trial["model"], trial["defense"]) == (model, name):
                groups.setdefault((trial["form"], trial["lr"]), []).append(trial)
        chosen.setdefault(model, {})[name] = choose_form_and_rate(name, groups)
    return chosen


def choose_form_and_rate(name: str, groups: dict[tuple[str, float], list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the choice among (form, rate) -> trials: the largest rate within the budget, ties by accuracy.

    Without any, it is the most accurate one, marked "lost_accuracy".
    """
    ca = {key: mean(trial["ca"] for trial in group) for key, group in groups.items()}
    loss = {key: mean(trial["backdoored_ca"] - trial["ca"] for trial in group) for key, group in groups.items()}
    affordable = [key for key in groups if loss[key] <= BUDGET]
    best = max(affordable, key=lambda key: (key[1], ca[key])) if affordable else max(groups, key=lambda key: ca[key])
    form, lr = best
    return {
        "form": form,
        "parameters": changed_parameters(VARIANTS[name][form]),
        "lr": lr,
        "ca": ca[best],
        "loss": loss[best],
        "lost_accuracy": not affordable,
    }


def poison_quickly(
    model: str,
    attack: str,
    seed: int,
    test: CaptionData,
    *,
    pairs: int = presets.QUICK_POISON_PAIRS,
    rate: float = presets.QUICK_POISON_RATE,
    config: FinetuneConfig = presets.QUICK_POISON,
) -> Run:
    """Return a backdoored run of the quick setting, measured on `test`."""
    preset = presets.scenes_attack_preset(attack, model)
    return poison(
        load_clip(model),
        load_data("scenes", split="train", size=pairs),
        TRIGGERS[attack](**preset.parameters),
        protocol.TARGET_CLASS,
        poison_rate=rate,
        config=replace(config, seed=seed),
        test=test,
        on_step=Progress(f"{attack} {seed}"),
    )


def defend_quickly(suspect: Run, defense: Defense, lr: float, test: CaptionData, *, label: str, steps: int = 0) -> Run:
    """Return a run of one defense, measured on `test`; `steps` > 0 replaces those of the quick setting."""
    clean = load_data("scenes", split="clean", size=presets.CLEAN_PAIRS if steps else presets.QUICK_CLEAN_PAIRS)
    seed = suspect.config["finetune"]["seed"]
    config: FinetuneConfig = replace(presets.QUICK_DEFEND, lr=lr, seed=seed)
    if steps:
        config = replace(config, steps=steps, epochs=presets.DEFEND.epochs)
    return defend(suspect, defense, clean, config, test=test, on_step=Progress(label))


def validation_figures(run: Run) -> dict[str, Any]:
    """Return what a trial logs."""
    metrics = run.metrics
    assert metrics is not None
    assert metrics.asr is not None
    return {
        "ca": metrics.ca[1],
        "n": metrics.n,
        "asr": metrics.asr[1],
        "n_attack": metrics.n_attack,
        "counterfactual_accuracy": metrics.counterfactual_accuracy,
        "steps": len([report for report in run.history if report.stage != "optimise"]),
        "seconds": run.config["seconds"],
        "precision": run.config["precision"],
        "suspect_sha256": run.config["model_sha256"],
        "commit": results.read_git_commit(),
    }


def read() -> dict[str, list[dict[str, Any]]]:
    """Return the lists of the result file; empty if there is none."""
    stored = json.loads(RESULT_PATH.read_text(encoding="utf-8")) if RESULT_PATH.exists() else {}
    return {name: list(stored.get(name, [])) for name in ("attack_trials", "trials", "rows")}


def is_new(name: str, key: dict[str, Any]) -> bool:
    """Return whether a list of the result file lacks an entry."""
    return not any(all(entry.get(field) == value for field, value in key.items()) for entry in read()[name])


def append(name: str, entry: dict[str, Any]) -> None:
    """Add an entry to a list of the result file; the choice is made anew."""
    with FileLock(Path(tempfile.gettempdir()) / "ta-cleaner-quick-setting.lock"):
        lists = read()
        lists[name].append(entry)
        _write(lists)


def _write(lists: dict[str, list[dict[str, Any]]]) -> None:
    result = results.add_provenance(
        protocol.format_command_line(),
        trial_seeds=TRIAL_SEEDS,
        seeds=CONFIRM_SEEDS,
        trials_each=TRIALS_EACH,
        budget=BUDGET,
        setting=SETTING,
        chosen=choose(lists["trials"]),
        **lists,
    )
    results.write_result(RESULT_PATH, result)


if __name__ == "__main__":
    main(tyro.cli(Options))
