"""What the comparison of defences holds equal: data, attack, schedule, methods. Read by all benchmarks."""

from __future__ import annotations

import shlex
import sys
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
from cleaner.models.clip import load_clip
from cleaner.runs.store import Run, load_run, runs_root, save_run
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
    "text_only": {},
}
"""Triggers beyond the paper's six -> parameters; one seed and one defence each. The picture is one of Scenes' own."""
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
"""Methods at one rate, whatever accuracy that costs, beside those with a chosen rate.

On the ResNet the rivals at the rate that TA-Cleaner can afford, and all at one above the grid, because TA-Cleaner kept
the grid's largest; on the ViT all at the one where its accuracy misses the budget by a hair.
"""
ABLATIONS: dict[str, Defense] = {
    "ta_cleaner positives only": DEFENSES["ta_cleaner"](contrast="positives"),
    "ta_cleaner negatives only": DEFENSES["ta_cleaner"](contrast="negatives"),
    "ta_cleaner without t2t": DEFENSES["ta_cleaner"](text_to_text=False),
    "ta_cleaner relation held out": DEFENSES["ta_cleaner"](held_out="relation"),
    "ta_cleaner K 5 %": DEFENSES["ta_cleaner"](share=0.05),
    "ta_cleaner K 50 %": DEFENSES["ta_cleaner"](share=0.5),
}
"""TA-Cleaner with a part taken away or another K, each at the learning rate of the whole method."""
PRECISION = "bf16"
"""Of all cells, whatever is fast on the machine that measures them."""
TABLE_REBOUND_STEPS = 186
"""Steps of harmless finetuning after a defence, at the rate of `finetune`: two epochs of the same pairs."""
# Up to the attack's own rate: below it nothing removed the trigger (benchmarks/results/defense_trials.json).
LR_GRID = (3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
ACCURACY_BUDGET = 0.02
"""How much clean accuracy a defence may cost, against the backdoored model."""


def load_clean_pairs() -> CaptionData:
    """Return the defender's pairs: none of them was seen by the attack."""
    return load_data("scenes", split="clean", size=presets.CLEAN_PAIRS)


def load_or_poison(model: str, attack: str, seed: int) -> Run:
    """Return the backdoored run of a cell; poisoned at the first call and kept in the run store."""
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
    asked = TRIGGERS[attack](**preset.parameters, **OTHER_TRIGGERS.get(attack, {}))
    trigger = find_table_trigger(model, attack, seed, asked) or asked
    config = replace(training.finetune, seed=seed, precision=PRECISION)
    label = f"{model} {attack} {seed}"
    run = poison(clean, data, trigger, TARGET_CLASS, config=config, on_step=Progress(label))
    return load_run(save_run(run, folder))  # as every later call finds it, in fp32


def find_table_trigger(model: str, attack: str, seed: int, trigger: Trigger) -> Trigger | None:
    """Return the trigger of the table's backdoored model, if that was made with the same settings, else None.

    It holds the optimised patch, which another kind of machine would not find again: rows that were measured on two
    machines would be of two attacks.
    """
    for row in () if trigger.files() else presets.read_attack_defense_rows():
        if (row["model"], row["trigger"], row["seed"], row["defense"]) == (model, attack, seed, None):
            known = load_trigger(row["config"]["trigger"])
            if all(getattr(known, p.name) == getattr(trigger, p.name) for p in parameters(type(trigger))):
                return known
    return None


def table_part(attack: str, defense: str | None) -> str:
    """Return the part of the table that a cell belongs to, by which the app shows it."""
    if attack in OTHER_TRIGGERS:
        return "other triggers"
    if defense in FIXED_RATE_METHODS:
        return "fixed rates"
    return "ablations" if defense in ABLATIONS else "comparison"


def check_attacks(rows: Iterable[dict[str, Any]]) -> None:
    """Stop if rows of one model, attack and seed are of two triggers, so that they cannot be compared."""
    seen: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        state, key = row["config"]["trigger"], (row["model"], row["trigger"], row["seed"])
        kind = TRIGGERS[state["name"]]
        trigger = {p.name: p.default for p in parameters(kind)} | state
        for place in file_parameters(kind):
            del trigger[place]  # of a picture the hash tells
        if seen.setdefault(key, trigger) != trigger:
            raise SystemExit(
                f"the rows of {row['trigger']} on {row['model']}, seed {row['seed']}, are of different triggers "
                f"({row['defense'] or 'the backdoored model'} is one that differs): measure those again."
            )


def run_name(model: str, attack: str, seed: int, defense: str | None = None) -> str:
    """Return the name of a cell's run folder."""
    words = ["benchmark", model, attack, str(seed), *(defense or "").replace("%", "").split()]
    return "_".join(words)


def find_method(model: str, name: str) -> tuple[Defense, float]:
    """Return a method and its learning rate; raises `CleanerError` if none was chosen yet."""
    if name in FIXED_RATE_METHODS:
        return FIXED_RATE_METHODS[name]
    if name in ABLATIONS:
        return ABLATIONS[name], chosen_lr(model, "ta_cleaner")
    if name not in METHODS:
        raise CleanerError(
            f"there is no method {name!r}: choose {', '.join([*METHODS, *FIXED_RATE_METHODS, *ABLATIONS])}."
        )
    return METHODS[name], chosen_lr(model, name)


def chosen_lr(model: str, name: str) -> float:
    """Return the learning rate that was chosen for a method; raises `CleanerError` if none was yet."""
    rate = presets.recommended_lr(model, name, default=0.0)
    if rate == 0:
        raise CleanerError(f"no learning rate was chosen yet for {name} on {model}: run learning_rates first.")
    return rate


def defense_config(lr: float, seed: int) -> FinetuneConfig:
    """Return the settings of a defence: the same steps and augmentation for all, a look at each epoch's end."""
    looks = presets.CLEAN_PAIRS // presets.DEFEND.batch_size
    return replace(presets.DEFEND, lr=lr, seed=seed, eval_every=looks, precision=PRECISION)


def format_command_line() -> str:
    """Return the command line that is running."""
    return shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
