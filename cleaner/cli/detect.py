"""The command detect: find poisoned training pairs, or images that carry a trigger."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from cleaner.cli.folders import reserve_run_folder
from cleaner.cli.options import Device, instantiate, stated_default, validate_minima
from cleaner.cli.output import Progress, format_table, print_json
from cleaner.cli.training import OUT_HELP, describe_result, print_result
from cleaner.evaluation.detection import (
    DEFAULT_IMAGES,
    DetectionFigures,
    describe_calibration,
    measure_ranking,
    rank,
)
from cleaner.files import read_json
from cleaner.inspection.pair_detection import (
    MAX_FULL_SIZE_PAIRS,
    MAX_PAIRS,
    REFERENCE_SIZE,
    Scores,
    extract_pair_features,
    find_truth,
    limit_pairs,
    score_pairs,
)
from cleaner.labels import format_count, to_label
from cleaner.registry import DETECTORS
from cleaner.runs.folders import is_run_folder, run_id
from cleaner.runs.request import make_retrain_request, require_test_data
from cleaner.runs.run import Run, load_run
from cleaner.runs.store import missing_run_error
from cleaner.types import CleanerError

if TYPE_CHECKING:
    from cleaner.data.poison import PoisonedData
    from cleaner.inspection.image_detection import ImageDetection

OPTION_QUESTIONS = dict.fromkeys(("reference", "clean_reference", "pairs", "top", "train_without"), "pairs") | {
    "images": "image"
}
"""Option -> the question that it belongs to."""
PAIR_COLUMNS = ("detector", "AUROC, 95% interval", "average precision", "caught at 1%", "caught at 5%", "precision")
OUTCOME_COLUMNS = ("detector", "AUROC, 95% interval", "false alarms allowed", "clean flagged", "caught", "F1")
PAIRS_NOTE = (
    "caught at 1%: share of the poisoned pairs that score above all but 1% of the clean ones; precision: share of "
    "poisoned pairs among as many top ranks as there are poisoned pairs."
)


@dataclass(frozen=True)
class Detect:
    """Detect the poisoned training pairs of a run, or images that carry its trigger."""

    suspect: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="Folder of a run made by poison.")]
    question: Annotated[
        Literal["pairs", "image"],
        tyro.conf.arg(help="Find poisoned training pairs (pairs), or test images that carry the trigger (image)."),
    ] = "pairs"
    detector: Annotated[tuple[str, ...], stated_default(help="Detector and options: dao k=32. Default: all.")] = ()
    reference: Annotated[int, tyro.conf.arg(help="Training pairs that the others are compared with.")] = REFERENCE_SIZE
    clean_reference: Annotated[bool, tyro.conf.arg(help="Compare with pairs of the clean split instead.")] = False
    pairs: Annotated[
        int,
        tyro.conf.arg(
            help=f"Training pairs to score; 0: up to {MAX_PAIRS:,}, full-size models {MAX_FULL_SIZE_PAIRS:,}."
        ),
    ] = 0
    images: Annotated[int, tyro.conf.arg(help="Test images to score.")] = DEFAULT_IMAGES
    top: Annotated[int, tyro.conf.arg(help="Most suspicious pairs to list, of the first detector.")] = 10
    train_without: Annotated[
        int, tyro.conf.arg(help="Train again without this many of the most suspicious pairs, and measure that model.")
    ] = 0
    out: Annotated[Path | None, stated_default(help=OUT_HELP)] = None
    device: Device = "auto"
    json: Annotated[bool, tyro.conf.arg(help="Print the result as JSON.")] = False

    def run(self) -> None:
        from cleaner.cli.inputs import move_clip

        validate_minima(self, reference=1, pairs=0, images=1, top=0, train_without=0)
        if not is_run_folder(self.suspect):
            raise missing_run_error(self.suspect)
        self._validate_question()
        if self.out is not None and not self.train_without:
            raise CleanerError("--out requires --train-without.")
        detectors = self._find_detectors()
        run = load_run(self.suspect, with_clean=bool(self.train_without))
        run.clip = move_clip(run.clip, self.device)
        if self.train_without:
            run.require_clean_clip()  # before the pairs are scored
        if self.question == "image":
            self._detect_images(run, detectors)
        elif self.train_without:
            with reserve_run_folder(self.out, f"{Path(self.suspect).name}_without_flagged") as folder:
                self._detect_pairs(run, detectors, folder)
        else:
            self._detect_pairs(run, detectors)

    def _validate_question(self) -> None:
        """Raise `CleanerError` for an option of the other question."""
        for name, question in OPTION_QUESTIONS.items():
            if question != self.question and getattr(self, name) != getattr(type(self), name):
                raise CleanerError(f"--{name.replace('_', '-')} requires --question {question}.")

    def _find_detectors(self) -> dict[str, Any]:
        """Return name -> detector: the one that was named, or all that answer the question."""
        from cleaner.detectors.base import find_detectors

        kinds = find_detectors(self.question)
        if not self.detector:
            return {name: kind() for name, kind in kinds.items()}
        detector = instantiate(DETECTORS, self.detector)
        if self.detector[0] not in kinds:
            raise CleanerError(f"{self.detector[0]} does not detect {self.question}: choose one of {', '.join(kinds)}.")
        return {self.detector[0]: detector}

    def _detect_pairs(self, run: Run, detectors: dict[str, Any], folder: Path | None = None) -> None:
        """Print the figures of the detectors; with a folder, train again into it."""
        import torch

        from cleaner.cli.inputs import load_split
        from cleaner.evaluation.encode import Encoder
        from cleaner.inspection.training_pairs import load_training_pairs

        pairs = load_training_pairs(Path(self.suspect), run.clip.framing, Progress())
        n = limit_pairs(run.clip, pairs, self.pairs or None)
        if self.train_without > n:
            raise CleanerError(
                f"--train-without {self.train_without} is more than the {n:,} pairs that are scored: lower it, or "
                "score more with --pairs."
            )
        features = extract_pair_features(run.clip, pairs, n, Progress())
        reference = None
        if self.clean_reference:
            clean = load_split(require_test_data(run.config)[:2], "clean", self.reference)
            reference = Encoder(run.clip, on_step=Progress()).encode_rows(clean, torch.arange(len(clean)))
        size = min(self.reference, n) if reference is None else len(reference)
        skipped = [] if self.detector else [name for name, each in detectors.items() if not each.works_with(size)]
        scores = {
            name: score_pairs(features, each, self.reference, reference=reference)
            for name, each in detectors.items()
            if name not in skipped
        }
        truth, images = find_truth(pairs, len(features.image))
        measured = {name: measure_ranking(each, truth, images) for name, each in scores.items()}
        figures = {name: each for name, each in measured.items() if each is not None}
        first = next(iter(scores))
        ranking = rank(scores[first]).tolist()
        result: dict[str, Any] = {"pairs": len(truth), "top": ranking[: self.top]}
        result["figures"] = {name: asdict(each) for name, each in figures.items()}
        result["skipped"] = skipped
        if not self.json:
            if skipped:
                print(f"Skipped, because {format_count(size, 'reference pairs')} are too few: {', '.join(skipped)}.")
            if figures:
                print(format_table([_format_figures(name, each) for name, each in figures.items()], PAIR_COLUMNS))
            else:
                print("Not measured: score more pairs (--pairs), so that they include poisoned and clean ones.")
            print(f"\n{len(truth):,} training pairs of {pairs.name}, {truth.sum():,} poisoned. {PAIRS_NOTE}\n")
            self._print_top(first, scores[first], pairs)
        if folder is not None:
            flagged = ranking[: self.train_without]
            retrained = self._retrain(flagged, first, len(pairs), folder)
            result["retrained"] = describe_result(retrained, folder)
            if not self.json:
                print_result(retrained, folder, label=f"without {len(flagged)} flagged", as_json=False)
        if self.json:
            print_json(result)

    def _print_top(self, name: str, scores: Scores, pairs: PoisonedData) -> None:
        """Print the most suspicious pairs of a detector."""
        rows = [
            (f"{i:,}", f"{scores[i]:.4f}", "poisoned" if pairs.is_poisoned[i] else "clean", pairs.captions[i])
            for i in rank(scores)[: self.top].tolist()
        ]
        print(f"Most suspicious by {to_label(name)}:")
        print(format_table(rows, ("pair", "score", "truth", "caption")))

    def _retrain(self, flagged: list[int], detector: str, total: int, folder: Path) -> Run:
        """Train on all `total` pairs but the flagged ones, into `folder`; return the run."""
        from cleaner.cli.inputs import print_skipped
        from cleaner.jobs.execution import make_loader
        from cleaner.jobs.foreground import train_in_foreground

        config = read_json(Path(self.suspect) / "config.json")
        request = make_retrain_request(config, run_id(Path(self.suspect)), flagged, detector, total=total)
        request = replace(request, finetune=replace(request.finetune, device=self.device))
        return train_in_foreground(request, folder, make_loader(request, Progress(), print_skipped), Progress())

    def _detect_images(self, run: Run, detectors: dict[str, Any]) -> None:
        from cleaner.cli.inputs import load_split
        from cleaner.inspection.image_detection import detect_images

        if run.trigger is None or run.target_class is None:
            raise CleanerError("the trigger of this run is unknown: choose a run made by poison.")
        name, options, size = require_test_data(run.config)
        found = detect_images(
            run.clip,
            detectors,
            test=load_split((name, options), "test", size),
            calibration=load_split((name, options), "validation", size),
            trigger=run.trigger,
            target_class=run.target_class,
            n=self.images,
            on_step=Progress(),
        )
        if self.json:
            print_json({name: each.describe() for name, each in found.items()})
            return
        rows = [row for name, each in found.items() for row in _format_outcomes(name, each)]
        print(format_table(rows, OUTCOME_COLUMNS))
        scored = next(iter(found.values()))
        note = describe_calibration(len(scored.calibration))
        print(f"\nn = {len(scored.clean):,} test images of {name}, without and with trigger. {note}")


def _format_figures(name: str, figures: DetectionFigures) -> tuple[str, ...]:
    low, high = figures.interval
    shares = (figures.average_precision, *figures.caught, figures.top_precision)
    return (name, f"{figures.auroc:.3f} [{low:.3f}, {high:.3f}]", *(f"{share:.3f}" for share in shares))


def _format_outcomes(name: str, found: ImageDetection) -> list[tuple[str, ...]]:
    low, high = found.figures.interval
    auroc = f"{found.figures.auroc:.3f} [{low:.3f}, {high:.3f}]"
    return [
        (name, auroc, f"{o.allowed:.0%}", f"{o.false_alarms:.3f}", f"{o.caught:.3f}", f"{o.f1:.3f}")
        for o in found.outcomes()
    ]
