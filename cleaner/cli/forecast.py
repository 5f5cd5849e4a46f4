"""The line before a run: its time and memory on this machine, and what its test can resolve.

Loads torch, so commands import it where they run.
"""

import sys
from dataclasses import replace

from cleaner.data.base import CaptionData
from cleaner.defenses.base import load_defense
from cleaner.evaluation.result import describe_test
from cleaner.files import read_json
from cleaner.jobs import calibration, prediction
from cleaner.jobs.execution import LoadSplit
from cleaner.models.devices import pick_device
from cleaner.registry import TRIGGERS
from cleaner.runs.folders import find_run
from cleaner.runs.request import Request


def print_forecast(request: Request, load_split: LoadSplit) -> None:
    """Print a forecast of the run on stderr; time and memory are left out while they are unknown."""
    # First, as an unknown target class is refused here: training pairs may take minutes to load.
    resolution = _describe_resolution(request, load_split("test", request.test_size))
    data = load_split("train" if request.stage == "backdoored" else "clean", request.pairs)
    calibration.ensure()
    defense = load_defense(request.defense) if request.defense else None
    counted = replace(request, pairs=len(data if defense is None else defense.select(data)))  # some need labeled pairs
    device = pick_device(request.finetune.device).type
    resolved = replace(counted, finetune=replace(request.finetune, device=device))
    expected = prediction.predict(counted) or prediction.predict(resolved)
    is_short = len(data) < request.pairs
    fewer = f"Only {len(data):,} of the {request.pairs:,} requested pairs are available." if is_short else ""
    print(*filter(None, [fewer, f"{expected}." if expected else "", resolution]), file=sys.stderr, flush=True)


def _describe_resolution(request: Request, test: CaptionData) -> str:
    """Return what the test data of a run can resolve."""
    config = {} if request.parent is None else read_json(find_run(request.parent) / "config.json")
    target_class, trigger = request.target_class or config.get("target_class"), request.trigger or config.get("trigger")
    modalities = TRIGGERS[trigger["name"]].modalities if trigger else ("image",)
    return describe_test(test, target_class if trigger else None, "images" if "image" in modalities else "captions")
