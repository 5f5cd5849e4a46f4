"""Linear probe and transfer before any defense: python -m benchmarks.undefended

The references of protocol 2's columns: its backdoored models, and the clean model with the same triggers. A backdoored
model that is not stored is trained first; the stored lines are of those that PAR was measured on.
Resumable: every finished model is a line of benchmarks/results/undefended.jsonl. Several processes may run at the same
time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import tyro

from benchmarks import RESULTS_DIR, protocol
from benchmarks.markdown.cells import Row
from benchmarks.protocol2 import plan
from benchmarks.protocol2.probe import probe_labels
from benchmarks.protocol2.records import describe_processor
from benchmarks.protocol2.suspects import list_targets, load_suspect
from benchmarks.tasks import TaskFile
from cleaner.data.base import load_data
from cleaner.evaluation.evaluate import transfer_accuracy
from cleaner.models.clip import load_clip

LINES_PATH = RESULTS_DIR / "undefended.jsonl"


@dataclass(frozen=True)
class Options:
    """Measure what is missing."""

    model: str = "scenes-lite"
    """Built-in model."""
    threads: int = 1
    """Threads; the stored models of protocol 2 were trained on one."""


def main(options: Options) -> None:
    """Measure the missing lines of a model."""
    protocol.start(options.threads)
    TaskFile(LINES_PATH).run_phase(options.model, tasks(options.model))


def tasks(model: str) -> dict[str, Callable[[], Row]]:
    """Return the backdoored models of the main tables: all attacks on the first target, BadCLIP on the others too."""
    own, (first, *others) = plan.MODELS[model], list_targets(model)
    cells = [
        (attack, first, seed)
        for attack in own.attacks
        for seed in (own.seeds if attack in plan.JUDGES else own.few_seeds)
    ]
    cells += [("badclip", target, own.seeds[0]) for target in others if "badclip" in own.attacks]
    return {" ".join(map(str, cell)): partial(measure, model, *cell) for cell in cells}


def measure(model: str, attack: str, target: str, seed: int) -> Row:
    """Return probe and transfer of a backdoored model, and of the clean one with the same trigger."""
    suspect, test = load_suspect(model, attack, seed, target), load_data("scenes", split="test")
    clean = replace(suspect, clip=load_clip(model))
    row = {
        "model": model,
        "attack": attack,
        "target": target,
        "seed": seed,
        "backdoored": {"probe": probe_labels(suspect, test), "transfer": transfer_accuracy(suspect.clip, test)},
        "clean": {"probe": probe_labels(clean, test), "transfer": measure_clean_transfer(model)},
        "suspect_sha256": suspect.clip.sha256(),
        "processor": describe_processor(),
    }
    return protocol.stamp_row(row)


@cache
def measure_clean_transfer(model: str) -> dict[str, Any]:
    """Return the accuracy of the clean model on the variants of the test images."""
    return transfer_accuracy(load_clip(model), load_data("scenes", split="test"))


if __name__ == "__main__":
    main(tyro.cli(Options))
