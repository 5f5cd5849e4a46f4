"""Which training pairs are poisoned? Scores stored with the run; reading them imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cleaner.evaluation.detection import DetectionFigures, compute_auroc, measure_ranking
from cleaner.files import FileVersion, read_version
from cleaner.runs.derived import derived_folder, find_derived
from cleaner.runs.npz import NPZ_ERRORS, read_npz, write_npz
from cleaner.types import OnStep, start_progress

if TYPE_CHECKING:
    from torch import Tensor

    from cleaner.data.base import CaptionData
    from cleaner.data.poison import PoisonedData
    from cleaner.detectors.base import PairDetector
    from cleaner.models.clip import Clip

DETECTION_FILE = "detection.npz"
MAX_PAIRS, MAX_FULL_SIZE_PAIRS = 20_000, 1_000
"""Most training pairs that are scored; fewer for a full-size model, which encodes some tens a second on a CPU."""
REFERENCE_SIZE = 256
"""Default rows of a reference: of 180 poisons among 6,000 pairs it holds about 8, fewer than the neighbors k. Poisons
that are dense among their neighbors look normal. Even so, 2,048 rows ranked better on scenes-lite (detection.json)."""
REFERENCE_SIZES = (64, 128, 256, 512, 1024, 2048)
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class PairFeatures:
    """Unit features (N, D) of the first N training pairs."""

    image: Tensor
    caption: Tensor


@dataclass(frozen=True)
class PairDetection:
    """Scores of the first N training pairs of a run, all usable detectors at their defaults.

    Attributes:
        data, pairs: name of the data, and number of training pairs, of which the first N are scored.
        reference_size: rows of the reference, drawn from the pairs themselves.
        scores: detector -> (N,), higher is more suspicious.
        poisoned: (N,) bool.
        coordinates: (N, 2) of the images' features by PCA.
        figures: detector -> how well its scores find the poisoned pairs; empty if none or all of the N are poisoned.
        auroc_by_size: detector -> AUROC at each reference size (size, auroc).
    """

    data: str
    pairs: int
    reference_size: int
    scores: dict[str, Scores]
    poisoned: NDArray[np.bool_]
    coordinates: Scores
    figures: dict[str, DetectionFigures]
    auroc_by_size: dict[str, list[tuple[int, float]]]


def limit_pairs(clip: Clip, pairs: CaptionData, n: int | None = None) -> int:
    """Return how many pairs to score: `n`, or as many as a model of this size encodes in a reasonable time."""
    return min(len(pairs), n or (MAX_FULL_SIZE_PAIRS if clip.is_full_size else MAX_PAIRS))


def extract_pair_features(clip: Clip, pairs: CaptionData, n: int, on_step: OnStep | None = None) -> PairFeatures:
    """Return the features of the first `n` pairs; `on_step` receives the stages "images" and "captions"."""
    import torch

    from cleaner.evaluation.encode import Encoder

    encoder = Encoder(clip, on_step=on_step)
    image = encoder.encode_rows(pairs, torch.arange(n))
    return PairFeatures(image, encoder.encode_texts(pairs.captions[:n]))


def score_pairs(
    features: PairFeatures, detector: PairDetector, reference_size: int, *, reference: Tensor | None = None
) -> Scores:
    """Return the scores (N,); the reference is `reference` (R, D), else a random sample of the pairs."""
    from cleaner.detectors.base import draw_reference

    if reference is not None:
        scores = detector.score(features.image, reference, captions=features.caption)
    else:
        rows = draw_reference(len(features.image), reference_size)
        scores = detector.score(features.image, features.image[rows], rows=rows, captions=features.caption)
    return np.asarray(scores.numpy(), np.float32)


def find_truth(pairs: PoisonedData, n: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return whether each of the first `n` pairs is poisoned, and the number of its image."""
    return pairs.is_poisoned[:n].numpy(), pairs.number_images()[:n].numpy()


def detect_pairs(
    clip: Clip,
    pairs: PoisonedData,
    *,
    features: PairFeatures | None = None,
    on_step: OnStep | None = None,
) -> PairDetection:
    """Score training pairs with each pair detector that has enough of them. features: of N pairs, if known."""
    from cleaner.detectors.base import find_detectors
    from cleaner.inspection.projection import project

    features = features or extract_pair_features(clip, pairs, limit_pairs(clip, pairs), on_step)
    truth, images = find_truth(pairs, len(features.image))
    detectors = {name: kind() for name, kind in find_detectors("pairs").items()}
    detectors = {name: each for name, each in detectors.items() if each.works_with(min(REFERENCE_SIZE, len(truth)))}
    scores, figures, by_size = {}, {}, {}
    report = start_progress(on_step, "detect", len(detectors))
    for done, (name, detector) in enumerate(detectors.items(), start=1):
        scores[name] = score_pairs(features, detector, REFERENCE_SIZE)
        if (measured := measure_ranking(scores[name], truth, images)) is not None:
            figures[name] = measured
        by_size[name] = measure_by_size(features, detector, truth) if detector.uses_reference else []
        report(done)
    return PairDetection(
        data=pairs.name,
        pairs=len(pairs),
        reference_size=REFERENCE_SIZE,
        scores=scores,
        poisoned=truth,
        coordinates=project(features.image),
        figures=figures,
        auroc_by_size=by_size,
    )


def measure_by_size(
    features: PairFeatures, detector: PairDetector, poisoned: NDArray[np.bool_], sizes: Sequence[int] = REFERENCE_SIZES
) -> list[tuple[int, float]]:
    """Return the AUROC of a detector at each reference size that the pairs and the detector allow."""
    if poisoned.all() or not poisoned.any():
        return []
    usable = [size for size in sizes if size <= len(poisoned) and detector.works_with(size)]
    return [(size, compute_auroc(score_pairs(features, detector, size), poisoned)) for size in usable]


def locate_detection_file(folder: Path) -> Path:
    """Return the path of a run's detection, which need not exist."""
    return find_derived(folder, DETECTION_FILE)


def read_detection(folder: Path) -> PairDetection | None:
    """Return the stored detection of a run; None if it is missing or broken. Do not change it."""
    return read_version(locate_detection_file(folder), _read_version)


@lru_cache(maxsize=8)
def _read_version(file: Path, version: FileVersion) -> PairDetection | None:
    try:
        fields, arrays = read_npz(file)
        names, scores = fields.pop("detectors"), arrays["scores"]
        figures = fields["figures"]
        fields["figures"] = {name: _parse_figures(figures[name]) for name in names if name in figures}
        fields["auroc_by_size"] = {name: [tuple(p) for p in fields["auroc_by_size"][name]] for name in names}
        found = PairDetection(
            **fields,
            scores=dict(zip(names, scores, strict=True)),
            poisoned=np.unpackbits(arrays["poisoned"], count=scores.shape[1]).astype(bool),
            coordinates=arrays["coordinates"],
        )
    except NPZ_ERRORS:
        return None
    is_valid = found.scores and scores.dtype == np.float32 and found.coordinates.shape == (len(found.poisoned), 2)
    return found if is_valid else None


def _parse_figures(values: dict[str, Any]) -> DetectionFigures:
    pairs = {name: tuple(values[name]) for name in ("interval", "caught")}
    return DetectionFigures(**{**values, **pairs})


def write_detection(detection: PairDetection, file: Path) -> None:
    """Write a detection, atomically."""
    fields = asdict(detection)
    scores, poisoned, coordinates = (fields.pop(name) for name in ("scores", "poisoned", "coordinates"))
    arrays = {"scores": np.stack(list(scores.values())), "poisoned": np.packbits(poisoned), "coordinates": coordinates}
    write_npz(file, {**fields, "detectors": list(scores)}, arrays)


def store_detection(
    folder: Path,
    clip: Clip,
    pairs: PoisonedData,
    *,
    features: PairFeatures | None = None,
    on_step: OnStep | None = None,
) -> PairDetection:
    """Compute a run's detection as `detect_pairs` does, store it and return it."""
    detection = detect_pairs(clip, pairs, features=features, on_step=on_step)
    if (folder / "config.json").exists():  # else deleted meanwhile: writing would create its folder again
        write_detection(detection, derived_folder(folder) / DETECTION_FILE)
    return detection
