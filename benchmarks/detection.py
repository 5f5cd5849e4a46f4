"""Attacks x detectors on the backdoored models of protocol 2: python -m benchmarks.detection --seeds 3 4 5

Scores the training pairs of each model, and test images without and with the trigger, with every detector at
its defaults; then trains again without the pairs that one detector flags. Resumable: every finished attack and seed is
a file in benchmarks/results/detection/; the table file collects them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks import protocol
from benchmarks.protocol2.suspects import load_suspect
from cleaner.cli.output import Progress
from cleaner.config import FinetuneConfig
from cleaner.data.base import load_data
from cleaner.data.poison import PoisonedData
from cleaner.detectors.base import find_detectors
from cleaner.evaluation.detection import rank
from cleaner.inspection.image_detection import ImageDetection, detect_images
from cleaner.inspection.pair_detection import PairDetection, detect_pairs
from cleaner.inspection.training_pairs import rebuild_training_pairs
from cleaner.models.devices import configure_torch
from cleaner.reports import results
from cleaner.retrain import retrain_without
from cleaner.runs.run import Run

CELLS_DIR = results.RESULTS_DIR / "detection"
RESULT_PATH = results.RESULTS_DIR / "detection.json"
IMAGES = 1000
"""Test images without and with the trigger, and clean images of the validation split."""
FLAGGING_DETECTOR, FLAGGED_SHARE = "clip_score", 0.1
"""Who flags the pairs that the model is trained without, and how many: three times the poisons. CLIP score, because it
alone ranked the poisons of the shipped example above chance; that example is no row of the table.
"""


@dataclass(frozen=True)
class Options:
    """Measure missing cells and collect all."""

    model: str = "scenes-lite"
    """Built-in model."""
    attacks: tuple[str, ...] = protocol.ATTACKS
    """Triggers."""
    seeds: tuple[int, ...] = (3,)
    """Seeds of the poisoning."""
    images: int = IMAGES
    """Test images; cells with another number are measured again, or left out of the table file."""
    threads: int = 1
    """Threads; the stored models of protocol 2 were trained on one."""
    gather: bool = False
    """Run nothing; collect the finished cells in the table file."""


def main(options: Options) -> None:
    """Run missing cells, then write the table file."""
    configure_torch()
    torch.set_num_threads(options.threads)
    for seed in () if options.gather else options.seeds:
        for attack in options.attacks:
            path = CELLS_DIR / f"{protocol.run_name(options.model, attack, seed)}.json"
            if not path.exists() or read_cell(path)["images"] != options.images:
                results.write_result(path, measure_cell(options, attack, seed))
            gather(options.images)
    gather(options.images)


def read_cell(path: Path) -> dict[str, Any]:
    """Return the row of a finished cell."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def measure_cell(options: Options, attack: str, seed: int) -> dict[str, Any]:
    """Return the row of one backdoored model."""
    run = load_suspect(options.model, attack, seed)
    row = results.make_row(None, run)
    data = load_data("scenes", split="train", size=run.manifest["pairs"]).with_transform(run.clip.framing)
    pairs = rebuild_training_pairs(data, run.trigger, run.manifest)
    found = detect_pairs(run.clip, pairs, pairs.is_poisoned.numpy(), on_step=Progress(f"{attack} {seed}"))
    row |= {
        "images": options.images,
        "pairs": describe_pairs(found),
        "image": {name: each.describe() for name, each in score_images(options, run, attack).items()},
        "retrained": retrain(run, pairs, found, f"{attack} {seed}"),
    }
    return protocol.stamp_row(row)


def describe_pairs(found: PairDetection) -> dict[str, Any]:
    """Return detector -> figures on the training pairs, and the AUROC at each size of the reference."""
    return {
        name: {**asdict(figures), "auroc_by_size": found.auroc_by_size[name]} for name, figures in found.figures.items()
    }


def score_images(options: Options, run: Run, attack: str) -> dict[str, ImageDetection]:
    """Return detector -> scores of test images; empty for an attack that changes no image."""
    if run.trigger is None or "image" not in run.trigger.modalities:
        return {}
    return detect_images(
        run.clip,
        {name: kind() for name, kind in find_detectors("image").items()},
        test=load_data("scenes", split="test"),
        calibration=load_data("scenes", split="validation"),
        trigger=run.trigger,
        target_class=str(run.target_class),
        n=options.images,
        on_step=Progress(attack),
    )


def retrain(run: Run, pairs: PoisonedData, found: PairDetection, label: str) -> dict[str, Any]:
    """Return the metrics of the model that is trained without the flagged pairs."""
    flagged = rank(found.scores[FLAGGING_DETECTOR])[: round(FLAGGED_SHARE * len(pairs))].tolist()
    config = FinetuneConfig(**run.config["finetune"])
    test = load_data("scenes", split="test")
    trained = retrain_without(
        run, pairs, flagged, config, detector=FLAGGING_DETECTOR, test=test, on_step=Progress(label)
    )
    assert trained.metrics is not None
    return {
        "detector": FLAGGING_DETECTOR,
        "flagged": len(flagged),
        "caught": int(pairs.is_poisoned[flagged].sum()),
        "poisoned": int(pairs.is_poisoned.sum()),
        "metrics": trained.metrics.to_dict(),
    }


def gather(images: int = IMAGES) -> None:
    """Write the cells with so many test images to one table file, in the order of the protocol."""
    rows = [row for path in CELLS_DIR.glob("*.json") if (row := read_cell(path))["images"] == images]
    order = [*protocol.ATTACKS, *protocol.OTHER_TRIGGERS]
    rows.sort(key=lambda row: (row["model"], order.index(row["trigger"]), row["seed"]))
    protocol.check_attacks(rows)
    seeds = sorted({row["seed"] for row in rows})
    protocol.write_result(RESULT_PATH, seeds=seeds, rows=rows)


if __name__ == "__main__":
    main(tyro.cli(Options))
