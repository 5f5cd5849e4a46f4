"""The line before a run: its time and memory on this machine, and what its test can resolve.

Loads torch, so commands import it where they run.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, replace

from cleaner.config import count_steps
from cleaner.data.base import CaptionData
from cleaner.defenses.base import load_defense
from cleaner.evaluation.result import describe_test
from cleaner.files import read_json
from cleaner.jobs import prediction, timing
from cleaner.jobs.execution import LoadSplit
from cleaner.models.devices import empty_gpu_cache, pick_device, release_freed_memory
from cleaner.presets import is_pretrained
from cleaner.registry import TRIGGERS
from cleaner.runs.folders import find_run
from cleaner.runs.request import Request

MIN_STEPS = 20 * timing.BRIEF_STEPS
MIN_SAMPLED_PAIRS = 4 * (1 + timing.SAMPLED_STEPS) * timing.MICRO_BATCH
"""Steps of a training, and pairs of a full-size model's on a CPU, from which on a measurement takes a small part of its
time."""


def print_forecast(request: Request, load_split: LoadSplit) -> None:
    """Print a forecast of the run on stderr; time and memory are left out if it is shorter than their measurement."""
    # First, as an unknown target class is refused here: training pairs may take minutes to load.
    resolution = _describe_resolution(request, load_split("test", request.test_size))
    data = load_split("train" if request.stage == "backdoored" else "clean", request.pairs)
    expected = _predict(request, load_split, _count_pairs(request, data))
    is_short = len(data) < request.pairs
    fewer = f"Only {len(data):,} of the {request.pairs:,} requested pairs are available." if is_short else ""
    print(*filter(None, [fewer, f"{expected}." if expected else "", resolution]), file=sys.stderr, flush=True)


def _count_pairs(request: Request, data: CaptionData) -> int:
    """Return how many of the loaded pairs the run trains on: some defenses need labeled ones."""
    defense = load_defense(request.defense) if request.defense else None
    return len(data) if defense is None else len(defense.select(data))


def _predict(request: Request, load_split: LoadSplit, pairs: int) -> prediction.Prediction | None:
    """Return the expected time and memory; measure it first if nothing like this run was measured before.

    pairs: those that the run trains on; the request itself names the data that `load_split` has loaded.
    """
    counted = replace(request, pairs=pairs)
    expected = prediction.predict(counted)
    if expected is not None or not prediction.is_measurable(request) or not _is_worth_measuring(counted):
        return expected
    timing.measure(asdict(request), load_split=load_split)
    empty_gpu_cache()
    release_freed_memory()
    return prediction.predict(counted)


def _is_worth_measuring(request: Request) -> bool:
    """Return whether a measurement takes at most about a quarter of the time of the run."""
    steps = count_steps(request.pairs, request.finetune)
    model = prediction.find_model_name(request)
    if is_pretrained(model) and pick_device(request.finetune.device).type == "cpu":  # only a sample is measured
        return steps * request.finetune.batch_size >= MIN_SAMPLED_PAIRS
    return steps >= MIN_STEPS


def _describe_resolution(request: Request, test: CaptionData) -> str:
    """Return what the test data of a run can resolve."""
    config = {} if request.parent is None else read_json(find_run(request.parent) / "config.json")
    target_class, trigger = request.target_class or config.get("target_class"), request.trigger or config.get("trigger")
    modalities = TRIGGERS[trigger["name"]].modalities if trigger else ("image",)
    return describe_test(test, target_class if trigger else None, "images" if "image" in modalities else "captions")
