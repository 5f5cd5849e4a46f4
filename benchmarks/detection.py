"""Attacks x detectors on the backdoored models of protocol 2: python -m benchmarks.detection --seeds 3 4 5

Scores the training pairs of each model, and test images without and with the trigger, with every detector at
its defaults; then trains again without the pairs that one detector flags. Resumable: every finished attack and seed is
a row of the result file.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import tyro

from benchmarks import RESULTS_DIR, protocol
from benchmarks.markdown.cells import Row
from benchmarks.protocol2.suspects import load_suspect
from benchmarks.rows import add_row, read_rows
from cleaner.cli.output import Progress
from cleaner.config import FinetuneConfig
from cleaner.data.base import load_data
from cleaner.data.poison import PoisonedData
from cleaner.detectors.base import find_detectors
from cleaner.evaluation.detection import rank
from cleaner.inspection.image_detection import ImageDetection, detect_images
from cleaner.inspection.pair_detection import PairDetection, detect_pairs
from cleaner.inspection.training_pairs import rebuild_training_pairs
from cleaner.reports import results
from cleaner.retrain import retrain_without
from cleaner.runs.run import Run

RESULT_PATH = RESULTS_DIR / "detection.json"
IMAGES = 1000
"""Test images without and with the trigger, and clean images of the validation split."""
FLAGGING_DETECTOR, FLAGGED_SHARE = "clip_score", 0.1
"""Who flags the pairs that the model is trained without, and how many: three times the poisons. CLIP score, because it
alone ranked the poisons of the shipped example above chance; that example is no row of the table.
"""


@dataclass(frozen=True)
class Options:
    """Measure missing rows."""

    model: str = "scenes-lite"
    """Built-in model."""
    attacks: tuple[str, ...] = protocol.ATTACKS
    """Triggers."""
    seeds: tuple[int, ...] = (3,)
    """Seeds of the poisoning."""
    threads: int = 1
    """Threads; the stored models of protocol 2 were trained on one."""


def main(options: Options) -> None:
    """Run missing rows."""
    protocol.start(options.threads)
    for seed in options.seeds:
        for attack in options.attacks:
            done = {(row["model"], row["trigger"], row["seed"]) for row in read_rows(RESULT_PATH)}
            if (options.model, attack, seed) not in done:
                add_row(RESULT_PATH, measure_row(options.model, attack, seed), find_place)


def find_place(row: Row) -> tuple[Any, ...]:
    """Return the place of a row in the table: the order of the protocol."""
    return row["model"], [*protocol.ATTACKS, *protocol.OTHER_TRIGGERS].index(row["trigger"]), row["seed"]


def measure_row(model: str, attack: str, seed: int) -> Row:
    """Return the row of one backdoored model."""
    run = load_suspect(model, attack, seed)
    row = results.make_row(None, run)
    data = load_data("scenes", split="train", size=run.manifest["pairs"]).with_transform(run.clip.framing)
    pairs = rebuild_training_pairs(data, run.trigger, run.manifest)
    found = detect_pairs(run.clip, pairs, on_step=Progress(f"{attack} {seed}"))
    row |= {
        "images": IMAGES,
        "pairs": describe_pairs(found),
        "image": {name: each.describe() for name, each in score_images(run, attack).items()},
        "retrained": retrain(run, pairs, found, f"{attack} {seed}"),
    }
    return protocol.stamp_row(row)


def describe_pairs(found: PairDetection) -> dict[str, Any]:
    """Return detector -> figures on the training pairs, and the AUROC at each size of the reference."""
    return {
        name: {**asdict(figures), "auroc_by_size": found.auroc_by_size[name]} for name, figures in found.figures.items()
    }


def score_images(run: Run, attack: str) -> dict[str, ImageDetection]:
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
        n=IMAGES,
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


if __name__ == "__main__":
    main(tyro.cli(Options))
