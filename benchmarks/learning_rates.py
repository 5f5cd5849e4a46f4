"""Choose each method's learning rate by clean accuracy alone: python -m benchmarks.learning_rates --model scenes-rn

A defender does not know the trigger, so no ASR enters the choice. Once per method and architecture, on the badnet
seed-0 model: the largest rate of the grid whose validation CA at the end of the full schedule is within the accuracy
budget of the backdoored model's; if none is, the one with the highest CA, marked "lost accuracy". Rates are tried from
the largest down; with --all the rest of the grid is measured too. Every trial is kept; a second call goes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tyro

from benchmarks import protocol
from cleaner import presets
from cleaner.cli.output import Progress
from cleaner.config import FinetuneConfig
from cleaner.data.base import CaptionData, load_data
from cleaner.defenses import Defense
from cleaner.evaluation.evaluate import evaluate
from cleaner.models.devices import configure_torch
from cleaner.reports import results
from cleaner.runs.store import Run, runs_root, save_run
from cleaner.workflow import defend

RESULT_PATH = results.RESULTS_DIR / "learning_rates.json"
TRAINING_BUDGET = {"clean_pairs": presets.CLEAN_PAIRS, "epochs": presets.DEFEND.epochs}
"""What every method gets."""


@dataclass(frozen=True)
class Options:
    """Choose learning rates by validation accuracy."""

    model: str = "scenes-rn"
    """Built-in model."""
    defenses: tuple[str, ...] = tuple(protocol.METHODS)
    """Methods; two processes may measure different ones at the same time."""
    rates: tuple[float, ...] = protocol.LR_GRID
    """Rates of the grid; two processes may share those of one method."""
    all: bool = False
    """Measure the whole grid, also below the chosen rate."""


def main(options: Options) -> None:
    """Run the trials that are missing and write them with the choice."""
    configure_torch()
    suspect = protocol.load_or_poison(options.model, "badnet", 0)
    clean, validation = protocol.load_clean_pairs(), load_data("scenes", split="validation")
    before = evaluate(suspect.clip, validation, ks=(1,), counterfactual=False).ca[1]
    for name in options.defenses:
        defense = protocol.METHODS[name]
        for lr in sorted(options.rates, reverse=True):
            known = [
                t
                for t in current_trials(read_trials())
                if (t["model"], t["defense"], t["lr"]) == (options.model, name, lr)
            ]
            if not known:
                known = [
                    run_trial(suspect, name, defense, clean, protocol.defense_config(lr, seed=0), validation, before)
                ]
                write_trials(read_trials() + known)
            if known[0]["ca"] >= known[0]["backdoored_ca"] - protocol.ACCURACY_BUDGET and not options.all:
                break


def run_trial(
    suspect: Run,
    name: str,
    defense: Defense,
    clean: CaptionData,
    config: FinetuneConfig,
    validation: CaptionData,
    backdoored_ca: float,
) -> dict[str, Any]:
    """Defend with one learning rate and return the clean accuracy on the validation pictures; `backdoored_ca`: untreated.

    The attack success stands beside it for the curve that is shown; `choose_rates` does not look at it. The run is kept:
    with the chosen rate it is a cell of the table, which then only lacks the test figures.
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
    """Return the trials with as many pairs and epochs as the comparison has now; others stay in the file as a log."""
    return [t for t in trials if all(t[key] == value for key, value in TRAINING_BUDGET.items())]


def choose_rates(
    trials: list[dict[str, Any]], grid: Sequence[float] = protocol.LR_GRID
) -> tuple[dict[str, dict[str, float]], list[list[str]]]:
    """Return model -> method -> rate, and the (model, method) pairs that lost more accuracy than the budget.

    Trials at a rate that the grid does not have choose nothing.
    """
    chosen: dict[str, dict[str, float]] = {}
    lost = []
    for model, name in sorted({(t["model"], t["defense"]) for t in trials}):
        own = [t for t in trials if (t["model"], t["defense"]) == (model, name) and t["lr"] in grid]
        kept = [t for t in own if t["ca"] >= t["backdoored_ca"] - protocol.ACCURACY_BUDGET]
        if not kept and len(own) < len(grid):
            continue
        best = max(kept, key=lambda t: t["lr"]) if kept else max(own, key=lambda t: t["ca"])
        chosen.setdefault(model, {})[name] = best["lr"]
        if not kept:
            lost.append([model, name])
    return chosen, lost


def write_trials(trials: list[dict[str, Any]]) -> None:
    """Write trials and choice, atomically."""
    chosen, lost = choose_rates(current_trials(trials))
    result = results.add_provenance(
        protocol.format_command_line(),
        seeds=[0],
        split="scenes/validation",
        budget=protocol.ACCURACY_BUDGET,
        grid=protocol.LR_GRID,
        **TRAINING_BUDGET,
        chosen=chosen,
        lost_accuracy=lost,
        trials=trials,
    )
    results.write_result(RESULT_PATH, result)


if __name__ == "__main__":
    main(tyro.cli(Options))
