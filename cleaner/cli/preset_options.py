"""Command `presets`, and the option `--preset NAME` of poison and defend: it sets defaults, other options win."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Annotated, Any

import tyro

from cleaner.cli.options import find_preset, options_from_config
from cleaner.cli.output import print_json
from cleaner.cli.training import Defend, Poison, original_model
from cleaner.method import Preset
from cleaner.presets import (
    NOT_RUN,
    OWN_POISON,
    attack_presets,
    defense_presets,
    explain_unpublished,
    scenes_attack_preset,
)
from cleaner.registry import DEFENSES, TRIGGERS
from cleaner.runs.folders import is_run_folder, resolve_run

LISTED_MODEL = "scenes-rn"
"""Model whose settings the list states."""


@dataclass(frozen=True)
class Presets:
    """List the presets of attacks and defenses: settings and source; published ones were not run by us."""

    json: Annotated[bool, tyro.conf.arg(help="Print as JSON.")] = False

    def run(self) -> None:
        attacks = {name: attack_presets(name, LISTED_MODEL) for name in TRIGGERS}
        defenses = {name: defense_presets(name, LISTED_MODEL) for name in DEFENSES}
        if self.json:
            entries = [_to_dict(preset, "trigger") for presets in attacks.values() for preset in presets]
            entries += [_to_dict(preset, "defense") for presets in defenses.values() for preset in presets]
            print_json(entries)
            return
        print(f"This project's settings are those for {LISTED_MODEL}; other models get their own.\n")
        for command, registry, methods in (("poison", TRIGGERS, attacks), ("defend RUN", DEFENSES, defenses)):
            print(f"python -m cleaner {command} --preset NAME")
            for preset in (preset for presets in methods.values() for preset in presets):
                note = f" ({NOT_RUN})" if preset.is_published else ""
                print(f"  {preset.name}{note}\n      {_describe(preset)}")
            unpublished = [name for name in methods if not registry[name].published]
            print(*(f"  {name}: {explain_unpublished(name)}" for name in unpublished), "", sep="\n")


def _describe(preset: Preset) -> str:
    """Return the settings and sources of a preset, one per line."""
    lines = [" ".join((preset.method, *preset.arguments)), f"source: {preset.source}"]
    if preset.unstated:
        lines.append(f"not stated there: {preset.unstated}")
    if preset.training is not None:
        lines.insert(1, preset.training.describe())
        if preset.training.source != preset.source:
            lines.append(f"source of the training: {preset.training.source}")
    return "\n      ".join(lines)


def _to_dict(preset: Preset, kind: str) -> dict[str, Any]:
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
        "published": preset.is_published,
    }


def resolve_preset_defaults(arguments: Sequence[str]) -> Poison | Defend | None:
    """Return the command with the defaults of the preset named by `--preset NAME`, or those of the model to poison.

    None if these are the command's own. Published training has no default data: the user must name some, except to
    defend a run, whose own data stay the default.
    """
    name = find_flag_value(arguments, "--preset")
    if arguments[:1] == ["poison"]:
        model = find_flag_value(arguments, "--model") or Poison().model
        if name is not None:
            preset = find_preset(name, TRIGGERS, partial(attack_presets, model=model))
        elif model in OWN_POISON:
            preset = scenes_attack_preset(Poison().trigger[0], model)
        else:
            return None
        command: Poison | Defend = Poison(trigger=(preset.method,), preset=name, model=model)
    elif arguments[:1] == ["defend"] and name is not None:
        suspect = _find_suspect(arguments[1:])
        preset = find_preset(name, DEFENSES, partial(defense_presets, model=original_model(suspect)))
        command = Defend(suspect=tyro.MISSING, defense=(preset.method,), preset=name)
    else:
        return None
    training = preset.training
    if training is None:
        return command
    if isinstance(command, Poison):
        command = replace(
            command, poison_rate=training.poison_rate or command.poison_rate, model=training.model or command.model
        )
    finetune = options_from_config(type(command.finetune), training.finetune)
    # Without a preset the number of pairs follows the size of the data.
    command = replace(
        command, pairs=None if name is None else training.pairs, lr=training.finetune.lr, finetune=finetune
    )
    if isinstance(command, Defend) and suspect and is_run_folder(suspect):
        return command
    return replace(command, data=(training.data,) if training.data else tyro.MISSING)


def _find_suspect(arguments: Sequence[str]) -> str:
    """Return the folder of the run, or the built-in model, that the arguments of `defend` name; "" if none."""
    from cleaner.models.architectures import BUILT_IN

    names = map(resolve_run, arguments)
    return next((name for name in names if name in BUILT_IN or is_run_folder(name)), "")


def find_flag_value(arguments: Sequence[str], flag: str) -> str | None:
    """Return the last value given to a flag, as `--flag value` or `--flag=value`."""
    values = [word.partition("=")[2] for word in arguments if word.startswith(f"{flag}=")]
    values += [after for word, after in pairwise(arguments) if word == flag]
    return values[-1] if values else None
