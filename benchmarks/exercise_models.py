"""Can students find the trigger of their own model? python -m benchmarks.exercise_models

Trains the model of some IDs as `ta-cleaner class new` does, and scans each with every size and place that the exercise
names: the hidden setting must move more images to the target than any other.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import tyro

from benchmarks import RESULTS_DIR, protocol
from cleaner.attacks import TRIGGERS
from cleaner.cli.output import Progress
from cleaner.data.base import load_data
from cleaner.evaluation.scan import scan
from cleaner.exercises.content import read_exercises
from cleaner.exercises.course import train_model
from cleaner.exercises.tasks import HIDDEN, draw_tasks
from cleaner.models.clip import load_clip

RESULT_PATH = RESULTS_DIR / "exercise_models.json"
SECRET = "benchmark"
"""Secret of this course, which is public."""


@dataclass(frozen=True)
class Options:
    """Train the models, scan them, and write the result file."""

    students: int = 4
    """IDs s01, s02, ..."""
    images: int = 200
    """Test images of a scan."""
    out: Path = RESULT_PATH
    """Result file."""


def main(options: Options) -> int:
    """Measure and write; return the number of models whose hidden setting does not stand out."""
    protocol.read_started_commit()
    rows = [measure(f"s{i:02d}", options.images) for i in range(1, options.students + 1)]
    protocol.write_result(options.out, seeds=[], rows=rows)
    print(*rows, sep="\n")
    return sum(row["rise"] <= row["other_rise"] for row in rows)


def measure(student: str, images: int) -> dict[str, Any]:
    """Return what the attack reached, and the increase of the hidden setting and of the best other one."""
    task = draw_tasks(SECRET, student)[HIDDEN]
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.safetensors"
        attack = train_model(path, task, Progress(student))
        clip = load_clip(str(path))
    settings = read_exercises()[HIDDEN].settings
    hidden = f"{task['size']} {task['position']}"
    triggers = {
        f"{size} {position}": TRIGGERS["badnet"](patch_size=size, position=position)
        for size, position in product(settings["sizes"], settings["positions"])
    }
    data = load_data("scenes", split="test", size=images)
    results = scan(clip, data, triggers, images, Progress(student))
    rises = {result.trigger: round(result.rise, 3) for result in results if result.class_name == task["target"]}
    others = {name: rise for name, rise in rises.items() if name != hidden}
    best = max(others, key=others.__getitem__)
    elsewhere = max(rise for name, rise in rises.items() if not name.endswith(f" {task['position']}"))
    return {
        "suite": "exercise_models",
        "student": student,
        **task,
        **attack,
        "rise": rises[hidden],
        "other": best,
        "other_rise": others[best],
        "elsewhere_rise": elsewhere,
    }


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
