"""How far predicted durations are from real ones: python -m benchmarks.clocks

Starts without runs of this machine: the first round is predicted from the shipped phases and a calibration; from the
second round on, the runs of the first one correct the predictions. Measure on an idle machine.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import tyro

from benchmarks import RESULTS_DIR, protocol
from cleaner import presets
from cleaner.config import with_eval_interval
from cleaner.defenses import DEFENSES
from cleaner.files import read_json
from cleaner.jobs import calibration, local
from cleaner.runs import store
from cleaner.runs.folders import run_id
from cleaner.runs.request import Request

RESULT_PATH = RESULTS_DIR / "clocks.json"


@dataclass(frozen=True)
class Options:
    """Measure and write the result file."""

    model: str = presets.QUICK_MODEL
    """Built-in model."""
    triggers: tuple[str, ...] = ("badnet", "blended")
    """Attacks; the defenses start from the first one."""
    defenses: tuple[str, ...] = presets.COMPARED_DEFENSES
    """Defenses."""
    steps: int = 60
    """Training steps of a run."""
    rounds: int = 2
    """Runs of each method."""


def main(options: Options) -> None:
    """Measure, write and print."""
    protocol.read_started_commit()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        os.environ["CLEANER_RUNS"] = str(Path(place) / "runs")
        os.environ["CLEANER_CACHE"] = str(Path(place) / "cache")
        calibration.ensure()
        local.keep_worker("cpu")
        for number in range(1, options.rounds + 1):
            requests = [make_attack(options, name) for name in options.triggers]
            folders = [run(request) for request in requests]
            parent = run_id(folders[0])
            folders += [run(make_defense(options, name, parent)) for name in options.defenses]
            for folder, name in zip(folders, (*options.triggers, *options.defenses), strict=True):
                timing = read_json(folder / "config.json")["timing"]
                rows.append({"round": number, "method": name, **timing})
    for row in rows:
        middle = sum(row["predicted"]) / 2
        row["error"] = round(max(row["real"] / middle, middle / row["real"]), 3)
    error = median(row["error"] for row in rows)
    protocol.write_result(RESULT_PATH, seeds=[0], model=options.model, median_error=error, rows=rows)
    print(*rows, sep="\n")


def make_attack(options: Options, trigger: str) -> Request:
    """Return a poisoning with ten validation passes, as the pages start it."""
    request = protocol.make_quick_request(options.model, trigger, steps=options.steps, device="cpu")
    return replace(request, finetune=with_eval_interval(request.pairs, request.finetune))


def make_defense(options: Options, name: str, parent: str) -> Request:
    """Return a defense with ten validation passes, as the pages start it."""
    pairs, config = presets.QUICK_CLEAN_PAIRS, replace(presets.QUICK_DEFEND, device="cpu", steps=options.steps)
    state = DEFENSES[name]().state_dict()
    return Request("defended", "scenes", pairs, with_eval_interval(pairs, config), parent=parent, defense=state)


def run(request: Request) -> Path:
    """Run a request and return its folder."""
    folder = store.create_run(request)
    local.start(folder)
    protocol.wait_for_run(folder)
    return folder


if __name__ == "__main__":
    main(tyro.cli(Options))
