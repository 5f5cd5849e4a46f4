"""Do image detectors find the triggers of a zoo? python -m benchmarks.image_detectors --build zoo-build

Scores test images without and with the trigger of each backdoored model, and clean images of the validation split, with
every image detector at its defaults. They were chosen on the shipped models, so the sealed part is the test.
Resumable: every finished model is a row of the result file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from benchmarks import RESULTS_DIR, protocol
from benchmarks.rows import add_row, read_rows
from benchmarks.zoo import describe, read_build
from cleaner.attacks.base import load_trigger
from cleaner.cli.output import Progress
from cleaner.data.base import load_data
from cleaner.detectors.base import find_detectors
from cleaner.evaluation.detection import conformal_p
from cleaner.inspection.image_detection import ImageDetection, detect_images
from cleaner.models.clip import load_clip
from cleaner.presets import home_data
from cleaner.zoo.plan import SEALED

RESULT_PATH = RESULTS_DIR / "image_detectors.json"
IMAGES = 300
"""Test images without and with the trigger, and clean images of the validation split."""
ALPHA = 0.05
"""p-value from which an image is flagged."""


@dataclass(frozen=True)
class Options:
    """Measure missing rows."""

    build: Path = Path("zoo-build")
    """Folder of `zoo build`: its host's, with all answers."""
    model: str = "scenes-lite"
    """Built-in model that the measured models were finetuned from."""


def main(options: Options) -> None:
    """Run missing rows."""
    protocol.start(1)
    source = home_data(options.model)
    test, calibration = (load_data(source, split=split) for split in ("test", "validation"))
    detectors = {name: kind() for name, kind in find_detectors("image").items()}
    for path, answer in read_build(options.build).items():
        done = {row["id"] for row in read_rows(RESULT_PATH)}
        is_asked = (answer["plan"]["split"], answer["plan"]["base"]) == (SEALED, options.model)
        if not is_asked or not answer["backdoored"] or path.parent.name in done:
            continue
        found = detect_images(
            load_clip(path.with_name("model.safetensors")),
            detectors,
            test=test,
            calibration=calibration,
            trigger=load_trigger(answer["trigger"]),
            target_class=answer["target_class"],
            n=IMAGES,
            on_step=Progress(path.parent.name),
        )
        row = describe(answer) | {"images": IMAGES, "detectors": {name: measure(each) for name, each in found.items()}}
        add_row(RESULT_PATH, protocol.stamp_row(row), lambda row: (row["model"], row["attack"], row["id"]))


def measure(found: ImageDetection) -> dict[str, float]:
    """Return the AUROC, and the shares of clean and of triggered images that are flagged."""

    def flag(scores: np.ndarray) -> float:
        return float(np.mean([conformal_p(found.calibration, score) <= ALPHA for score in scores]))

    return {"auroc": found.figures.auroc, "false_alarms": flag(found.clean), "caught": flag(found.triggered)}


if __name__ == "__main__":
    main(tyro.cli(Options))
