"""Choose each method's learning rate by clean accuracy alone: python -m benchmarks.learning_rates --model scenes-rn

A defender does not know the trigger, so ASR plays no part. Once per method and architecture, on the badnet seed-0
model: the largest rate of the grid whose validation CA after the full schedule is within the accuracy budget of the
backdoored model's; if there is none, the rate with the highest CA, marked "lost accuracy". Rates are tried from the
largest down; --all also measures the rest of the grid. Every trial is kept; a second call continues.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tyro
from filelock import FileLock

from benchmarks import protocol
from benchmarks.tasks import lock_path
from cleaner import presets
from cleaner.cli.output import Progress
from cleaner.config import FinetuneConfig
from cleaner.data.base import CaptionData, load_data
from cleaner.defenses import Defense
from cleaner.evaluation.equal_accuracy import is_within
from cleaner.evaluation.evaluate import evaluate
from cleaner.models.devices import configure_torch
from cleaner.reports import results
from cleaner.runs.folders import runs_root
from cleaner.runs.run import Run, save_run
from cleaner.workflow import defend

RESULT_PATH = results.RESULTS_DIR / "learning_rates.json"
TRAINING_BUDGET = {"clean_pairs": presets.CLEAN_PAIRS, "epochs": presets.DEFEND.epochs}
"""Equal for all methods."""


@dataclass(frozen=True)
class Options:
    """Choose learning rates by validation accuracy."""

    model: str = "scenes-rn"
    """Built-in model."""
    defenses: tuple[str, ...] = tuple(protocol.METHODS)
    """Methods; two processes may measure different ones at the same time."""
    rates: tuple[float, ...] = protocol.LR_GRID
    """Rates of the grid; two processes may split those of one method."""
    all: bool = False
    """Measure the whole grid, including rates below the chosen one."""


def main(options: Options) -> None:
    """Run missing trials; write all trials and the choice."""
    configure_torch()
    suspect = protocol.load_or_poison(options.model, "badnet", 0)
    clean, validation = protocol.load_clean_pairs(), load_data("scenes", split="validation")
    before, digest = evaluate(suspect.clip, validation, ks=(1,), counterfactual=False).ca[1], suspect.clip.sha256()
    for name in options.defenses:
        defense = protocol.METHODS[name]
        for lr in sorted(options.rates, reverse=True):
            trial = find_trial(options.model, name, lr, digest)
            if trial is None:
                config = protocol.defense_config(lr, seed=0)
                trial = run_trial(
                    suspect, name, defense, config, clean=clean, validation=validation, backdoored_ca=before
                )
                append_trial(trial)
            if is_affordable(trial) and not options.all:
                break


def is_affordable(trial: dict[str, Any]) -> bool:
    """Return whether a trial loses no more accuracy than the budget."""
    return is_within(trial["backdoored_ca"] - trial["ca"], protocol.ACCURACY_BUDGET)


def find_trial(model: str, name: str, lr: float, suspect_sha256: str) -> dict[str, Any] | None:
    """Return the stored trial of a method at a rate against a backdoored model, or None.

    Older trials do not record theirs; they count.
    """
    for trial in current_trials(read_trials()):
        is_same = trial.get("suspect_sha256", suspect_sha256) == suspect_sha256
        if is_same and (trial["model"], trial["defense"], trial["lr"]) == (model, name, lr):
            return trial
    return None


def run_trial(
    suspect: Run,
    name: str,
    defense: Defense,
    config: FinetuneConfig,
    *,
    clean: CaptionData,
    validation: CaptionData,
    backdoored_ca: float,
) -> dict[str, Any]:
    """Defend at one learning rate and return CA on validation images; `backdoored_ca`: CA before the defense.

    ASR is recorded for the table; `choose_rates` ignores it. The run is kept: at the chosen rate it becomes a cell of
    the table and only needs test metrics.
    """
    run = defend(suspect, defense, clean, config, test=validation, on_step=Progress(f"{name} {config.lr:g}"))
    model, metrics = suspect.clip.name, run.metrics
    assert metrics is not None
    assert metrics.asr is not None
    save_run(run, runs_root() / protocol.run_name(model, "badnet", config.seed, f"{name} {config.lr:g}"))
    return {
        "model": model,
        "defense": name,
        "lr": config.lr,
        "clean_pairs": len(clean),
        "epochs": config.epochs,
        "ca": metrics.ca[1],
        "n": metrics.n,
        "ca_interval": metrics.interval("ca"),
        "backdoored_ca": backdoored_ca,
        "suspect_sha256": suspect.clip.sha256(),
        "asr": metrics.asr[1],
        "n_attack": metrics.n_attack,
        "seconds": run.config["seconds"],
        "cpu_seconds": run.config["cpu_seconds"],
        "commit": results.read_git_commit(),
    }


def read_trials() -> list[dict[str, Any]]:
    """Return the trials in the result file."""
    return list(json.loads(RESULT_PATH.read_text(encoding="utf-8"))["trials"]) if RESULT_PATH.exists() else []


def current_trials(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the trials with the pairs and epochs of the current comparison; the file keeps others as a log."""
    return [t for t in trials if all(t[key] == value for key, value in TRAINING_BUDGET.items())]


def choose_rates(
    trials: list[dict[str, Any]], grid: Sequence[float] = protocol.LR_GRID, *, one_suspect: bool = True
) -> tuple[dict[str, dict[str, float]], list[list[str]]]:
    """Return model -> method -> rate, and the (model, method) pairs that lost more accuracy than the budget.

    Trials at rates outside the grid are ignored, and with `one_suspect` those against another backdoored model than
    most of a method's.
    """
    chosen: dict[str, dict[str, float]] = {}
    lost = []
    for model, name in sorted({(t["model"], t["defense"]) for t in trials}):
        of_method = [t for t in trials if (t["model"], t["defense"]) == (model, name) and t["lr"] in grid]
        of_method = select_suspect(of_method) if one_suspect else of_method
        affordable = [t for t in of_method if is_affordable(t)]
        if not affordable and len(of_method) < len(grid):
            continue
        best = max(affordable, key=lambda t: t["lr"]) if affordable else max(of_method, key=lambda t: t["ca"])
        chosen.setdefault(model, {})[name] = best["lr"]
        if not affordable:
            lost.append([model, name])
    return chosen, lost


def select_suspect(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the trials against the backdoored model that most of them record, and those that record none."""
    counts = Counter(t["suspect_sha256"] for t in trials if "suspect_sha256" in t)
    kept = [digest for digest, _ in counts.most_common(1)]
    return [t for t in trials if "suspect_sha256" not in t or t["suspect_sha256"] in kept]


def append_trial(trial: dict[str, Any]) -> None:
    """Add a trial to the result file and update the choice."""
    with FileLock(lock_path(RESULT_PATH, "append")):
        trials = [*read_trials(), trial]
        chosen, lost = choose_rates(current_trials(trials))
        protocol.write_result(
            RESULT_PATH,
            seeds=[0],
            split="scenes/validation",
            budget=protocol.ACCURACY_BUDGET,
            grid=protocol.LR_GRID,
            **TRAINING_BUDGET,
            chosen=chosen,
            lost_accuracy=lost,
            trials=trials,
        )


if __name__ == "__main__":
    main(tyro.cli(Options))
