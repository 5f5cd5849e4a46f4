"""Learning rates chosen by clean accuracy alone: the trials of benchmarks.photos, and the rule.

A defender does not know the trigger, so ASR plays no part. Per method: the largest rate of the grid whose validation CA
after the full schedule is within the accuracy budget of the backdoored model's; if there is none, the rate with the
highest CA, marked "lost accuracy". The run of a trial is kept: at the chosen rate it becomes a cell of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import protocol
from cleaner import presets
from cleaner.cli.output import Progress
from cleaner.config import FinetuneConfig
from cleaner.data.base import CaptionData
from cleaner.defenses import Defense
from cleaner.evaluation.equal_accuracy import is_within
from cleaner.evaluation.evaluate import evaluate
from cleaner.files import has_config
from cleaner.runs.folders import runs_root
from cleaner.runs.run import Run, load_run, save_run
from cleaner.workflow import defend

TRAINING_BUDGET = {"clean_pairs": presets.CLEAN_PAIRS, "epochs": presets.DEFEND.epochs}
"""Equal for all methods."""
NEUTRAL_SETTINGS = {"eval_every": 0, "chunk_size": 0}
"""Settings that leave the weights unchanged."""


def is_affordable(trial: dict[str, Any]) -> bool:
    """Return whether a trial loses no more accuracy than the budget."""
    return is_within(trial["backdoored_ca"] - trial["ca"], protocol.ACCURACY_BUDGET)


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

    ASR is recorded for the table; `choose_rates` ignores it.
    """
    run = defend(suspect, defense, clean, config, test=validation, on_step=Progress(f"{name} {config.lr:g}"))
    model, metrics = suspect.clip.name, run.metrics
    assert metrics is not None
    assert metrics.asr is not None
    save_run(run, trial_folder(model, "badnet", name, config))
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
        "commit": protocol.read_started_commit(),
    }


def trial_folder(model: str, attack: str, name: str, config: FinetuneConfig) -> Path:
    """Return the run folder of a trial."""
    words = ["benchmark", model, attack, str(config.seed), *name.replace("%", "").split(), f"{config.lr:g}"]
    return runs_root() / "_".join(words)


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


def choose_rates(
    trials: list[dict[str, Any]], grid: Sequence[float]
) -> tuple[dict[str, dict[str, float]], list[list[str]]]:
    """Return model -> method -> rate, and the (model, method) pairs that lost more accuracy than the budget.

    Trials at rates outside the grid are ignored. Each is judged against the backdoored model that it began with.
    """
    chosen: dict[str, dict[str, float]] = {}
    lost = []
    for model, name in sorted({(t["model"], t["defense"]) for t in trials}):
        of_method = [t for t in trials if (t["model"], t["defense"]) == (model, name) and t["lr"] in grid]
        affordable = [t for t in of_method if is_affordable(t)]
        if not affordable and len(of_method) < len(grid):
            continue
        best = max(affordable, key=lambda t: t["lr"]) if affordable else max(of_method, key=lambda t: t["ca"])
        chosen.setdefault(model, {})[name] = best["lr"]
        if not affordable:
            lost.append([model, name])
    return chosen, lost
