"""The command line that makes the run of a request."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from cleaner import presets
from cleaner.cli.options import AttackFinetune, FinetuneWithoutLr
from cleaner.command_line import cleaner_command
from cleaner.config import FinetuneConfig, parameters
from cleaner.registry import DEFENSES, TRIGGERS
from cleaner.runs.folders import find_run
from cleaner.runs.request import Request


def format_command(request: Request) -> str:
    """Return the `poison` or `defend` command of a request; embedding maps are not part of a command."""
    words: list[str] = []
    if request.stage == "backdoored":
        words += ["poison", "--model", str(request.model), *_format_data(request)]
        words += ["--trigger", *_format_method(TRIGGERS, request.trigger or {})]
        words += ["--target-class", str(request.target_class), "--poison-rate", repr(request.poison_rate)]
        words += ["--clean-label"] if request.clean_label else []
        setting = presets.OWN_POISON.get(str(request.model))
        defaults = setting.finetune if setting else presets.POISON
        options = AttackFinetune
    else:
        suspect = find_run(request.parent) if request.parent else request.model
        words += ["defend", str(suspect), *_format_data(request)]
        words += ["--defense", *_format_method(DEFENSES, request.defense or {})]
        defaults, options = presets.DEFEND, FinetuneWithoutLr
    words += ["--test-pairs", str(request.test_size or 0)]
    return cleaner_command(*words, *_format_finetune(request.finetune, defaults, options))


def _format_data(request: Request) -> list[str]:
    options = [f"{key}={value}" for key, value in request.data_options.items()]
    return ["--data", request.data, *options, "--pairs", str(request.pairs)]


def _format_method(registry: Any, state: Mapping[str, Any]) -> list[str]:
    """Return NAME key=value ... of the parameters in a `state_dict()`, not of results such as a patch."""
    names = [p.name for p in parameters(registry[state["name"]])]
    return [str(state["name"]), *(f"{name}={state[name]}" for name in names if name in state)]


def _format_finetune(config: FinetuneConfig, defaults: FinetuneConfig, options: type[FinetuneConfig]) -> list[str]:
    """Return the learning rate, and the flags of the command's options that differ from its defaults."""
    words, names = ["--lr", repr(config.lr)], {f.name for f in fields(options)}
    for p in parameters(FinetuneConfig):
        value, flag = getattr(config, p.name), p.name.replace("_", "-")
        if p.name not in names or value == getattr(defaults, p.name):
            continue
        if p.kind is bool:
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", str(value)]
    return words
