"""python -m cleaner presets, and `--preset NAME` of poison and defend: a preset gives the defaults, options win."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Annotated, Any

import tyro

from cleaner.attacks import TRIGGERS
from cleaner.cli.commands import Defend, Poison
from cleaner.cli.options import FinetuneWithoutLr, find_preset, options_from_config
from cleaner.cli.output import print_json
from cleaner.defenses import DEFENSES
from cleaner.presets import (
    NOT_RUN,
    RECIPE_ATTACK,
    RECIPE_DEFENSES,
    RESULTS_DIR,
    attack_presets,
    defense_presets,
    explain_unpublished,
)
from cleaner.published import Preset

RUN_BY_US = "run by us"


@dataclass(frozen=True)
class Presets:
    """List the presets of attacks and defences: what each sets, who states it, whether we ran it."""

    json: Annotated[bool, tyro.conf.arg(help="Print as JSON.")] = False

    def run(self) -> None:
        rows = _read_result_settings()
        kinds = (("poison", "trigger", TRIGGERS, attack_presets), ("defend RUN", "defense", DEFENSES, defense_presets))
        found = [
            (p, kind, has_results(p, rows))
            for _, kind, registry, of in kinds
            for method in registry
            for p in of(method)
        ]
        if self.json:
            print_json([_to_dict(preset, kind, known) for preset, kind, known in found])
            return
        for command, kind, registry, of in kinds:
            print(f"python -m cleaner {command} --preset NAME")
            for preset, known in [(preset, known) for preset, other, known in found if other == kind]:
                print(f"  {preset.name} ({RUN_BY_US if known else NOT_RUN})\n      {_describe(preset)}")
            missing = [method for method in registry if len(of(method)) == 1]
            print(*(f"  {method}-published: {explain_unpublished(method)}" for method in missing), "", sep="\n")
        parts = " and ".join((RECIPE_ATTACK, *RECIPE_DEFENSES))
        print(f"python -m cleaner recipe ({NOT_RUN})\n  {parts} in one go, measured on ImageNet.")


def _describe(preset: Preset) -> str:
    """Return what a preset sets and its sources, in lines."""
    own = " ".join((preset.method, *preset.arguments))
    lines = [own, f"source: {preset.source}"]
    if preset.unstated:
        lines.append(f"not stated there: {preset.unstated}")
    if preset.training is not None:
        lines.insert(1, preset.training.describe())
        if preset.training.source != preset.source:
            lines.append(f"source of the training: {preset.training.source}")
    return "\n      ".join(lines)


def _to_dict(preset: Preset, kind: str, is_run: bool) -> dict[str, Any]:
    training = preset.training and {
        "pairs": preset.training.pairs,
        "poison_rate": preset.training.poison_rate,
        "model": preset.training.model,
        "finetune": vars(preset.training.finetune),
        "source": preset.training.source,
    }
    return {
        "name": preset.name,
        kind: preset.method,
        "parameters": dict(preset.parameters),
        "source": preset.source,
        "not_stated": preset.unstated,
        "training": training,
        "ran": is_run,
    }


def _read_result_settings() -> list[dict[str, Any]]:
    """Return the settings of all rows of the result files that say with which they were made."""
    rows: list[dict[str, Any]] = []
    for path in sorted(RESULTS_DIR.glob("*.json")):
        stored = json.loads(path.read_text(encoding="utf-8"))
        for row in (row for key in ("rows", "trials") for row in stored.get(key) or []):
            if "config" in row:
                rows.append(row["config"])
            elif "clean_pairs" in row:
                settings = {name: row[name] for name in ("lr", "epochs")}
                rows.append({"pairs": row["clean_pairs"], "finetune": settings, "defense": {"name": row["defense"]}})
    return rows


def has_results(preset: Preset, rows: Iterable[dict[str, Any]]) -> bool:
    """Return whether a row of the results was made with the preset's pairs, rate and schedule, as far as it tells.

    Parameters that a row lists must be the preset's.
    """
    training = preset.training
    if training is None:
        return False
    wanted = {name: getattr(training.finetune, name) for name in ("lr", "epochs", "batch_size")}
    key = "trigger" if training.poison_rate is not None else "defense"
    for row in rows:
        state = {"name": preset.method, **preset.parameters}
        same = all((row.get(key) or {}).get(name) == value for name, value in state.items())
        used = row["finetune"]
        sizes = (row["pairs"], row.get("poison_rate")) == (training.pairs, training.poison_rate)
        if same and sizes and all(used.get(name, value) == value for name, value in wanted.items()):
            return True
    return False


def resolve_preset_defaults(arguments: Sequence[str]) -> Poison | Defend | None:
    """Return the defaults of the command that the arguments' `--preset NAME` gives; None without one.

    Published training is for data of one's own: they must then be named, nothing is trained on Scenes unasked.
    """
    name = _flag_value(arguments, "--preset")
    if name is None or not arguments or arguments[0] not in ("poison", "defend"):
        return None
    if arguments[0] == "poison":
        model = _flag_value(arguments, "--model") or Poison().model
        preset = find_preset(name, TRIGGERS, partial(attack_presets, model=model))
        command: Poison | Defend = Poison(trigger=(preset.method,), preset=name)
    else:
        preset = find_preset(name, DEFENSES, defense_presets)
        command = Defend(suspect=tyro.MISSING, defense=(preset.method,), preset=name)
    training = preset.training
    if training is None:
        return command
    if isinstance(command, Poison):
        command = replace(
            command, poison_rate=training.poison_rate or command.poison_rate, model=training.model or command.model
        )
    finetune = options_from_config(FinetuneWithoutLr, training.finetune)
    command = replace(command, pairs=training.pairs, lr=training.finetune.lr, finetune=finetune)
    return replace(command, data=(training.data,) if training.data else tyro.MISSING)


def _flag_value(arguments: Sequence[str], flag: str) -> str | None:
    """Return the last value given to a flag, as `--flag value` or `--flag=value`."""
    values = [word.partition("=")[2] for word in arguments if word.startswith(f"{flag}=")]
    values += [after for word, after in pairwise(arguments) if word == flag]
    return values[-1] if values else None
