"""Load the models, data and triggers that the command line names, and print facts about them before use.

Loads torch, so commands import it where they run.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cleaner import presets
from cleaner.attacks import TRIGGERS, Trigger
from cleaner.cli.options import PRECHECK_SIZE, instantiate
from cleaner.cli.output import Progress
from cleaner.data.base import CaptionData, load_data, resolve_data_paths
from cleaner.evaluation.evaluate import evaluate
from cleaner.files import read_json
from cleaner.inspection.activation import try_activations
from cleaner.inspection.description import describe_metadata
from cleaner.models.architectures import BUILT_IN
from cleaner.models.checkpoints import list_tags
from cleaner.models.clip import Clip, load_clip
from cleaner.models.devices import pick_device
from cleaner.models.lookup import describe_model_file
from cleaner.models.resolve import ModelName
from cleaner.runs.folders import is_run_folder, resolve_run
from cleaner.runs.inversion_result import find_trigger_file
from cleaner.runs.manifest import get_requested_pairs
from cleaner.runs.record import find_attack_config
from cleaner.runs.request import get_test_data, parse_data_arguments, require_test_data
from cleaner.runs.run import load_run_clip, load_run_trigger
from cleaner.runs.store import suggest_run
from cleaner.types import CleanerError, printable

SAMPLE_SIZE = 100
"""Test pairs that are read to learn the classes of data, and to count its training pairs."""


def load_model(name: str, device: str = "cpu") -> Clip:
    """Return a model; the SHA-256 of a file is printed before the file is opened."""
    print_model_file(name)
    return move_clip(load_clip(name), device)


def load_run_or_model(name: str, device: str = "cpu") -> Clip:
    """Return the model of a run folder, or the model of that name."""
    return move_clip(load_run_clip(name), device) if is_run_folder(name) else load_model(name, device)


def move_clip(clip: Clip, device: str) -> Clip:
    """Return a model that was loaded, on a device; the model itself if it is there."""
    target = pick_device(device)
    is_there = clip.device.type == target.type and target.index in (None, clip.device.index)
    return clip if is_there else clip.to(target)


def validate_run_or_model(name: str) -> None:
    """Raise `CleanerError` if no run and no model has this name; files and folders are checked where they are read."""
    if os.path.exists(name) or ModelName.parse(name).kind not in ("built-in", "tag"):
        return
    models = [*BUILT_IN, *list_tags()]
    if name not in models:
        raise CleanerError(
            f"there is no run or model {name!r}{suggest_run(name, models)}. List the runs: python -m cleaner runs; "
            "the models: python -m cleaner list"
        )


def resolve_trigger(spec: Sequence[str]) -> Trigger:
    """Return the trigger of a run or an inversion, or the one that `NAME key=value ...` describes."""
    if len(spec) == 1 and spec[0] not in TRIGGERS:
        spec = [resolve_run(spec[0])]
    if len(spec) == 1 and (file := find_trigger_file(Path(spec[0]))) is not None:
        spec = ["inverted", f"path={file}"]
    if len(spec) == 1 and is_run_folder(spec[0]):
        run_trigger = load_run_trigger(Path(spec[0]))
        if run_trigger is None:
            raise CleanerError(f"the run {spec[0]} has no known trigger: name a run made by poison, or a trigger.")
        return run_trigger
    if len(spec) == 1 and spec[0] not in TRIGGERS:
        hint = suggest_run(spec[0], TRIGGERS)
        raise CleanerError(
            f"there is no trigger or run {spec[0]!r}{hint}. Choose one of: {', '.join(TRIGGERS)}. List the runs: "
            "python -m cleaner runs"
        )
    trigger: Trigger = instantiate(TRIGGERS, spec)
    return trigger


def resolve_data(spec: Sequence[str], model: str) -> tuple[str, dict[str, Any]]:
    """Return name and options of the data in `spec`; if it is empty, those of the run, else of the built-in model."""
    if spec:
        return resolve_data_paths(*parse_data_arguments(spec))
    return require_test_data(read_json(Path(model) / "config.json") or {"data_name": presets.home_data(model)})[:2]


def load_split(data: tuple[str, dict[str, Any]], split: str, size: int | None = None) -> CaptionData:
    """Return one split of data, given by name and options; skipped images are printed."""
    name, options = data
    pairs = load_data(name, split=split, size=size or None, on_step=Progress(), **options)
    print_skipped(pairs)
    return pairs


def load_sample(data: tuple[str, dict[str, Any]]) -> CaptionData:
    """Return some test pairs of data, given by name and options."""
    name, options = data
    return load_data(name, split="test", size=SAMPLE_SIZE, on_step=Progress(), **options)


def choose_pairs(default: int, data: CaptionData, used: int = 0) -> int:
    """Return `presets.choose_pairs` for the size of the data, and print it if it is not `default`."""
    available = data.count_training_pairs()
    pairs = presets.choose_pairs(default, available, used)
    if pairs != default:
        print(f"{pairs:,} of {available:,} pairs; change it with --pairs", file=sys.stderr, flush=True)
    return pairs


def choose_clean_pairs(data: tuple[str, dict[str, Any]], suspect: str) -> int:
    """Return how many clean pairs to train on unless --pairs says it; the attacker's images are left out."""
    config = find_attack_config(read_json(Path(suspect) / "config.json"))
    is_shared = config.get("stage") == "backdoored" and get_test_data(config)[0] == data[0]
    used = get_requested_pairs(config) if is_shared else 0
    sample = load_sample(data)
    try:
        return choose_pairs(presets.CLEAN_PAIRS, sample, used)
    except CleanerError as error:
        raise CleanerError(f"{str(error).rstrip('.')}, or take some of them with --pairs, or other --data.") from error


def print_model_file(model: str) -> None:
    """Print name, size and SHA-256 of a model's file on stderr, without opening the model."""
    facts = describe_model_file(model)
    if facts is not None:
        print(facts, file=sys.stderr, flush=True)


def print_clean_accuracy(model: str, data: tuple[str, dict[str, Any]], device: str) -> None:
    """Print a model's clean accuracy on some test images of the data, on stderr."""
    name, options = data
    test = load_data(name, split="test", size=PRECHECK_SIZE, on_step=Progress(), **options)
    clip = move_clip(load_clip(model), device)
    print_metadata(clip)
    print_activation(clip, test)
    metrics = evaluate(clip, test, ks=(1,), counterfactual=False, on_step=Progress())
    low, high = metrics.interval("ca")
    print(
        f"{model}: clean accuracy {metrics.ca[1]:.3f} [{low:.3f}, {high:.3f}] before training, on "
        f"{metrics.n:,} images of {metrics.data}; chance level {1 / metrics.classes:.3f}",
        file=sys.stderr,
        flush=True,
    )


def print_activation(clip: Clip, data: CaptionData) -> None:
    """Print on stderr whether GELU or QuickGELU fits the images, if the model's file does not say."""
    trial = try_activations(clip, data, Progress())
    if trial is not None:
        print(f"{clip.name}: {trial}", file=sys.stderr, flush=True)


def print_metadata(clip: Clip) -> None:
    """Print on stderr whether the model's own metadata say that it was poisoned or defended."""
    if clip.metadata.get("stage") in ("backdoored", "defended"):
        print(f"{clip.name}: {describe_metadata(clip)}", file=sys.stderr, flush=True)


def print_skipped(data: CaptionData) -> None:
    """Print on stderr what was left out or changed when the files were read."""
    if skipped := data.describe_skipped():
        print(printable(f"{data.name}: {skipped}"), file=sys.stderr, flush=True)
