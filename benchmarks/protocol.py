"""What the comparison keeps equal for all defenses: data, attack, schedule, methods. Used by all benchmarks."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.attacks.base import Trigger, load_trigger
from cleaner.cli.output import Progress
from cleaner.config import FinetuneConfig, file_parameters, parameters
from cleaner.data.base import CaptionData, load_data
from cleaner.defenses import DEFENSES, Defense
from cleaner.files import read_json_cached
from cleaner.jobs import local
from cleaner.models.clip import load_clip
from cleaner.reports import results
from cleaner.runs.folders import runs_root
from cleaner.runs.request import Request
from cleaner.runs.run import Run, load_run, save_run
from cleaner.types import CleanerError
from cleaner.workflow import poison

TARGET_CLASS = "banana"
ATTACKS = ("badnet", "badclip", "blended", "sig", "trojvqa", "ssba")
TRIGGER_IMAGE = {"path": "benchmarks/trigger.png"}
OTHER_TRIGGERS: dict[str, dict[str, str]] = {
    "badnet_stripes": {},
    "blended_stripes": {},
    "triangles": {},
    "text": {},
    "wanet": {},
    "patch_image": TRIGGER_IMAGE,
    "pattern_image": TRIGGER_IMAGE,
}
"""Triggers beyond the paper's six -> parameters; one seed and one defense each. The image is one of Scenes."""
METHODS: dict[str, Defense] = {
    "finetune": DEFENSES["finetune"](),
    "cleanclip": DEFENSES["cleanclip"](),
    "cleanclip_short": DEFENSES["cleanclip_short"](),
    "ta_cleaner": DEFENSES["ta_cleaner"](),
    "ta_cleaner K 100 %": DEFENSES["ta_cleaner"](share=1.0),
    "par": DEFENSES["par"](),
}
FIXED_RATE_METHODS = {
    f"{name} at {rate}": (METHODS[name], float(rate))
    for rate, names in {
        "1e-3": ("cleanclip", "cleanclip_short"),
        "3e-4": ("finetune", "cleanclip", "cleanclip_short", "ta_cleaner"),
        "3e-3": ("finetune", "cleanclip", "cleanclip_short", "ta_cleaner", "ta_cleaner K 100 %"),
    }.items()
    for name in names
}
"""Methods at a fixed rate, whatever it costs in accuracy, in addition to those at a chosen rate.

ResNet: the rivals at the rate that TA-Cleaner can afford, and all at a rate above the grid, because TA-Cleaner met the
budget at the grid's largest. ViT: all at the rate where TA-Cleaner narrowly misses the budget.
"""
ABLATIONS: dict[str, Defense] = {
    "ta_cleaner positives only": DEFENSES["ta_cleaner"](contrast="positives"),
    "ta_cleaner negatives only": DEFENSES["ta_cleaner"](contrast="negatives"),
    "ta_cleaner without t2t": DEFENSES["ta_cleaner"](text_to_text=False),
    "ta_cleaner relation held out": DEFENSES["ta_cleaner"](held_out="relation"),
    "ta_cleaner K 5 %": DEFENSES["ta_cleaner"](share=0.05),
    "ta_cleaner K 50 %": DEFENSES["ta_cleaner"](share=0.5),
}
"""TA-Cleaner without a part or with another K, at the learning rate of the whole method."""
PRECISION = "bf16"
"""Precision of all cells, on every machine."""
TABLE_REBOUND_STEPS = 186
"""Steps of harmless finetuning after a defense, at the rate of `finetune`: two epochs of the same pairs."""
# Up to the attack's own rate: lower rates did not remove the trigger (benchmarks/results/defense_trials.json).
LR_GRID = (3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
ACCURACY_BUDGET = 0.02
"""Clean accuracy that a defense may cost, compared with the backdoored model."""


def load_clean_pairs() -> CaptionData:
    """Return the defender's pairs; the attack has seen none of them."""
    return load_data("scenes", split="clean", size=presets.CLEAN_PAIRS)


def load_or_poison(model: str, attack: str, seed: int) -> Run:
    """Return the backdoored run of a cell; the first call poisons it and stores it."""
    folder = runs_root() / run_name(model, attack, seed)
    clean = load_clip(model)
    if (folder / "config.json").exists():
        run = load_run(folder)
        if run.config["model_sha256"] == clean.sha256():
            return run
        raise SystemExit(f"{folder} was made from other weights of {model}: remove it and start again.")
    preset = presets.scenes_attack_preset(attack, model)
    training = preset.training
    assert training is not None
    data = load_data("scenes", split="train", size=training.pairs)
    requested = TRIGGERS[attack](**preset.parameters, **OTHER_TRIGGERS.get(attack, {}))
    trigger = find_table_trigger(requested, model=model, attack=attack, seed=seed) or requested
    config = replace(training.finetune, seed=seed, precision=PRECISION)
    label = f"{model} {attack} {seed}"
    run = poison(clean, data, trigger, TARGET_CLASS, config=config, on_step=Progress(label))
    return load_run(save_run(run, folder))  # in fp32, like every later call


def make_quick_request(model: str, attack: str = "badnet", **training: Any) -> Request:
    """Return the poisoning of the quick setting for a worker; `training` replaces fields of its FinetuneConfig."""
    config = replace(presets.QUICK_POISON, lr=presets.poison_lr(model))
    return Request(
        "backdoored",
        "scenes",
        presets.QUICK_POISON_PAIRS,
        replace(config, **training),
        model,
        trigger=TRIGGERS[attack]().state_dict(),
        target_class=TARGET_CLASS,
        poison_rate=presets.QUICK_POISON_RATE,
    )


def wait_for_run(folder: Path, interval: float = 0.1) -> None:
    """Wait until a worker has finished a run; raises `SystemExit` if it fails."""
    while (status := local.poll_status(folder)).state in ("new", "queued", "running"):
        time.sleep(interval)
    if status.state != "done":
        raise SystemExit(f"The run ended as {status.state}: {status.message}")


def find_table_trigger(trigger: Trigger, *, model: str, attack: str, seed: int) -> Trigger | None:
    """Return the trigger of the table's backdoored model if it has the settings of `trigger`, else None.

    It includes the optimized patch. Another kind of machine would find another patch, and rows of two machines would
    be of two attacks.
    """
    for row in () if trigger.files() else presets.read_attack_defense_rows():
        if (row["model"], row["trigger"], row["seed"], row["defense"]) == (model, attack, seed, None):
            stored = load_trigger(row["config"]["trigger"])
            if all(getattr(stored, p.name) == getattr(trigger, p.name) for p in parameters(type(trigger))):
                return stored
    return None


def table_part(attack: str, defense: str | None) -> str:
    """Return the part of the table that a cell belongs to; the app groups by it."""
    if attack in OTHER_TRIGGERS:
        return "other triggers"
    if defense in FIXED_RATE_METHODS:
        return "fixed rates"
    return "ablations" if defense in ABLATIONS else "comparison"


def check_attacks(rows: Iterable[dict[str, Any]]) -> None:
    """Stop if rows of one model, attack and seed have two triggers or backdoored models: they are not comparable.

    Older rows do not record their backdoored model.
    """
    seen: dict[tuple[Any, ...], dict[str, Any]] = {}
    suspects: dict[tuple[Any, ...], str] = {}
    for row in rows:
        state, key = row["config"]["trigger"], (row["model"], row["trigger"], row["seed"])
        kind = TRIGGERS[state["name"]]
        trigger = {p.name: p.default for p in parameters(kind)} | state
        for path in file_parameters(kind):
            del trigger[path]  # the hash identifies the image
        if seen.setdefault(key, trigger) != trigger:
            raise SystemExit(
                f"The rows of {row['trigger']} on {row['model']}, seed {row['seed']}, have different triggers "
                f"({row['defense'] or 'the backdoored model'} differs): measure them again."
            )
        suspect = row.get("suspect_sha256")
        if suspect is not None and suspects.setdefault(key, suspect) != suspect:
            raise SystemExit(
                f"The rows of {row['trigger']} on {row['model']}, seed {row['seed']}, come from different backdoored "
                f"models ({row['defense'] or 'the backdoored model'} differs): measure them again."
            )


def run_name(model: str, attack: str, seed: int, defense: str | None = None) -> str:
    """Return the name of a cell's run folder."""
    parts = ["benchmark", model, attack, str(seed), *(defense or "").replace("%", "").split()]
    return "_".join(parts)


def find_method(model: str, name: str) -> tuple[Defense, float]:
    """Return a method and its learning rate; raises `CleanerError` for an unknown method or a missing rate."""
    if name in FIXED_RATE_METHODS:
        return FIXED_RATE_METHODS[name]
    if name in ABLATIONS:
        return ABLATIONS[name], chosen_lr(model, "ta_cleaner")
    if name not in METHODS:
        raise CleanerError(
            f"Unknown method {name!r}: choose one of {', '.join([*METHODS, *FIXED_RATE_METHODS, *ABLATIONS])}."
        )
    return METHODS[name], chosen_lr(model, name)


def chosen_lr(model: str, name: str) -> float:
    """Return the learning rate that the first protocol chose for a method (learning_rates.py, photos.py).

    New trainings start with `presets.defense_lr`. Raises `CleanerError` if none is chosen yet.
    """
    for file in (presets.LEARNING_RATES_RESULT, presets.PHOTOS_RESULT):
        chosen = read_json_cached(presets.RESULTS_DIR / file).get("chosen", {}).get(model, {})
        if name in chosen:
            return float(chosen[name])
    raise CleanerError(
        f"No learning rate is chosen yet for {name} on {model}: run python -m benchmarks.learning_rates first."
    )


def defense_config(lr: float, seed: int) -> FinetuneConfig:
    """Return the settings of a defense: equal steps and augmentation for all, validation after each epoch."""
    steps_per_epoch = presets.CLEAN_PAIRS // presets.DEFEND.batch_size
    return replace(presets.DEFEND, lr=lr, seed=seed, eval_every=steps_per_epoch, precision=PRECISION)


def write_result(path: Path, /, **content: Any) -> None:
    """Write a result file with commit, command and device."""
    results.write_result(path, results.add_provenance(format_command_line(), **content))


def stamp_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a result file with commit, command, device and seed."""
    return results.add_provenance(format_command_line(), seeds=[row["seed"]], **row)


def format_command_line() -> str:
    """Return the command line of this process."""
    return shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
