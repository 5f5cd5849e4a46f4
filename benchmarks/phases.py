"""cleaner/phases.json: phases of the built-in models, from which durations are predicted: python -m benchmarks.phases

The seconds of a step are those of step.json; the other phases those of the runs of clocks.json, for other models longer
by the ratio of their steps. Writes the file, with the calibration of this machine, which must be the one of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from benchmarks import RESULTS_DIR
from cleaner.files import read_json, source_root, write_json
from cleaner.jobs import calibration
from cleaner.runs.request import TEST_SIZE, Request

PATH = source_root() / "cleaner" / "phases.json"
CALIBRATIONS = 8
"""Calibrations of this machine, of which the fastest counts: other programs make it slower, none faster."""
BASE = "finetune"
"""Method whose step is the unit of the other phases."""


def main() -> None:
    """Write the file."""
    steps, clocks = read_json(RESULTS_DIR / "step.json"), read_json(RESULTS_DIR / "clocks.json")
    assert steps["device"] == clocks["device"]
    measured = [calibration.measure() for _ in range(CALIBRATIONS)]
    content = {
        "machine": f"{steps['device']}; torch {steps['torch']}; commits {steps['commit']}, {clocks['commit']}",
        "calibration": {name: min(each[name] for each in measured) for name in calibration.OPERATIONS},
        "data": "scenes",
        "batch_size": steps["batch_size"],
        "test_size": TEST_SIZE,
        "validation_size": Request.validation_size,
        "rows": list(make_rows(steps["models"], clocks)),
    }
    write_json(PATH, content)
    print(f"{len(content['rows'])} rows in {PATH}")


def make_rows(models: list[dict[str, Any]], clocks: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the phases of each model and method."""
    timed = [row["phases"] for row in clocks["rows"]]
    others = {name: median(phases.get(name, phases.get("look")) for phases in timed) for name in OTHER_PHASES}
    bases = {model["model"]: next(row["seconds"] for row in model["rows"] if row["method"] == BASE) for model in models}
    for model in models:
        ratio = bases[model["model"]] / bases[clocks["model"]]
        phases = {name: seconds * (1 if name == "start" else ratio) for name, seconds in others.items()}
        for row in model["rows"]:
            seconds = {"step": row["seconds"], **phases}
            rounded = {name: round(value, 4) for name, value in seconds.items()}
            yield {"model": model["model"], "method": parse_method(row["method"]), "phases": rounded}


OTHER_PHASES = ("start", "validation", "evaluate")


def parse_method(name: str) -> dict[str, Any]:
    """Return the method in a row of step.json, such as "ta_cleaner reviewed, K 10%", with what changes its cost."""
    words, _, share = name.partition(", K ")
    method, _, formula = words.partition(" ")
    kept = {"share": float(share.rstrip("%")) / 100} if share else {}
    return {"name": method, **({"formula": formula} if formula else {}), **kept}


if __name__ == "__main__":
    main()
