"""The backdoored models of the second protocol, for benchmarks that defend nothing: inversion and detection."""

from __future__ import annotations

from benchmarks.protocol2 import measure
from benchmarks.protocol2.records import results_path
from benchmarks.protocol2.tasks import Log, Task, decide_attacks
from cleaner.files import read_json_lines
from cleaner.runs.run import Run
from cleaner.types import CleanerError


def load_suspect(model: str, attack: str, seed: int) -> Run:
    """Return the model of an attack's chosen setting on the first target; trained and stored where it is missing.

    Raises `CleanerError` while the trials that choose settings and targets are missing.
    """
    attacks = decide_attacks(model, Log(read_json_lines(results_path(model))))
    if attacks.missing:
        command = f"python -m benchmarks.attack_defense --protocol 2 --model {model} --parts attacks"
        raise CleanerError(f"the attack trials of {model} are not complete: run {command}")
    setting = attacks.settings[attack]
    return measure.load_or_poison(model, Task("cell", attack, attacks.targets[0], seed, setting=setting))
