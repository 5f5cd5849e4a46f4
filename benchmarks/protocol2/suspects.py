"""The backdoored models of the second protocol, for benchmarks of other things than its defenses."""

from __future__ import annotations

from benchmarks.json_lines import read_json_lines
from benchmarks.protocol2 import measure
from benchmarks.protocol2.records import results_path
from benchmarks.protocol2.tasks import Attacks, Log, Task, decide_attacks
from cleaner.runs.run import Run
from cleaner.types import CleanerError


def load_suspect(model: str, attack: str, seed: int, target: str = "") -> Run:
    """Return the model of an attack's chosen setting on a target, by default the first; trained if it is not stored.

    Raises `CleanerError` while the trials that choose settings and targets are missing.
    """
    attacks = _decide(model)
    setting = attacks.settings[attack]
    return measure.load_or_poison(model, Task("cell", attack, target or attacks.targets[0], seed, setting=setting))


def list_targets(model: str) -> list[str]:
    """Return the targets of a model. Raises `CleanerError` as `load_suspect`."""
    return _decide(model).targets


def _decide(model: str) -> Attacks:
    attacks = decide_attacks(model, Log(read_json_lines(results_path(model))))
    if attacks.missing:
        command = f"python -m benchmarks.attack_defense --protocol 2 --model {model} --parts attacks"
        raise CleanerError(f"the attack trials of {model} are not complete: run {command}")
    return attacks
