"""Models, data and triggers as the command line names them; what is found out about a file is shown before its use."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cleaner.attacks import TRIGGERS, Trigger
from cleaner.cli.options import instantiate
from cleaner.cli.output import Progress
from cleaner.data.base import CaptionData, load_data, resolve_data_paths
from cleaner.evaluation.evaluate import evaluate
from cleaner.files import read_json
from cleaner.models.clip import Clip, load_clip
from cleaner.models.lookup import describe_model_file
from cleaner.runs.request import get_test_data, parse_data_arguments
from cleaner.runs.store import is_run_folder, load_run, load_run_trigger
from cleaner.types import CleanerError

MODEL_HELP = "Built-in model, file, local-dir: or hf-hub: name, ARCHITECTURE:FILE, or architecture/tag of open_clip."
DATA_HELP = "Scenes, a table, a folder of pictures, a .tar or .zip, and options: pairs.csv classes=cat,dog."
OWN_DATA_HELP = f"{DATA_HELP} Default: those of the run, else Scenes."
TRIGGER_HELP = "Trigger and options, badnet patch_size=16, or a run folder: its trigger, patch and all."
PRECHECK_SIZE = 500
"""Test pictures that a foreign model is looked at with before it is trained."""


def load_model(name: str) -> Clip:
    """Return a model; a file's SHA-256 is shown before the file is opened."""
    show_file(name)
    return load_clip(name)


def load_run_or_model(name: str) -> Clip:
    """Return the model of a run folder, or any other one."""
    return load_run(name).clip if is_run_folder(name) else load_model(name)


def resolve_trigger(spec: Sequence[str]) -> Trigger:
    """Return the trigger of a run folder as it was used, its patch included, or the one that the words describe."""
    if len(spec) == 1 and is_run_folder(spec[0]):
        trigger = load_run_trigger(Path(spec[0]))
        if trigger is None:
            raise CleanerError(f"the run {spec[0]} has no known trigger: name a run made by poison, or a trigger.")
        return trigger
    known: Trigger = instantiate(TRIGGERS, spec)
    return known


def show_file(model: str) -> None:
    """Show name, size and SHA-256 of a model's file, which is not opened."""
    facts = describe_model_file(model)
    if facts is not None:
        print(facts, file=sys.stderr, flush=True)


def resolve_data(spec: Sequence[str], model: str) -> tuple[str, dict[str, Any]]:
    """Return name and options of the data that the command line names, else of a run's own, else of Scenes."""
    return (
        resolve_data_paths(*parse_data_arguments(spec))
        if spec
        else get_test_data(read_json(Path(model) / "config.json"))[:2]
    )


def show_accuracy(model: str, data: tuple[str, dict[str, Any]]) -> None:
    """Show how well a model sees some test pictures of the data, before anything is done with it."""
    name, options = data
    metrics = evaluate(
        load_clip(model), load_data(name, split="test", size=PRECHECK_SIZE, **options), ks=(1,), counterfactual=False
    )
    low, high = metrics.interval("ca")
    print(
        f"{model}: clean accuracy {metrics.ca[1]:.3f} [{low:.3f}, {high:.3f}] before anything is done, on "
        f"{metrics.n:,} pictures of {metrics.data}; by chance {1 / metrics.classes:.3f}",
        file=sys.stderr,
        flush=True,
    )


def show_broken(data: CaptionData) -> None:
    """Show which pictures were left out."""
    if data.skipped_items:
        print(
            f"{data.name}: {len(data.skipped_items)} left out: {'; '.join(data.skipped_items[:5])}",
            file=sys.stderr,
            flush=True,
        )


def load_split(data: tuple[str, dict[str, Any]], split: str, size: int | None = None) -> CaptionData:
    """Return one split of data, by name and options; pictures that were left out are shown."""
    name, options = data
    found = load_data(name, split=split, on_step=Progress(), **({"size": size} if size else {}), **options)
    show_broken(found)
    return found
