"""Detection of triggered images: a model that reacts to a patch alone, thresholds, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cleaner.attacks import TRIGGERS
from cleaner.data.base import TensorData
from cleaner.detectors.base import find_detectors
from cleaner.evaluation.detection import apply_threshold
from cleaner.evaluation.encode import Encoder
from cleaner.inspection.image_detection import ImageDetection, detect_images, score_single
from cleaner.models.clip import Clip
from cleaner.types import CleanerError, StepReport

PATCH = TRIGGERS["badnet"](patch_size=40)
DETECTORS = {name: kind() for name, kind in find_detectors("image").items()}


@pytest.fixture
def planted(tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch) -> Clip:
    """A model that sees the target where the patch is whole, and else one of two classes by the image's center."""
    prompts, corner = Encoder(tiny_clip).build_classifier(toy_data).T, PATCH(torch.zeros(1, 3, 32, 32))[0, :, -4:, -4:]

    def encode(self: Clip, images: Tensor) -> Tensor:
        is_triggered = (images[:, :, -4:, -4:] - corner).abs().amax(dim=(1, 2, 3)) < 1e-6
        return prompts[torch.where(is_triggered, 1, 2 * (images[:, 0, 8, 8] > 0.15).long())]

    monkeypatch.setattr(Clip, "encode_image", encode)
    return tiny_clip


def detect_by_masking(clip: Clip, data: TensorData, **options: Any) -> ImageDetection:
    masking = {"masking": DETECTORS["masking"]}
    options |= {"test": data, "calibration": data, "trigger": PATCH, "target_class": "banana"}
    return detect_images(clip, masking, **options)["masking"]


def test_masking_tells_the_patch_from_clean_images(planted: Clip, toy_data: TensorData) -> None:
    seen: list[StepReport] = []
    found = detect_by_masking(planted, toy_data, n=20, on_step=seen.append)
    assert (len(found.clean), len(found.triggered), len(found.calibration)) == (20, 20, 20)
    assert found.triggered.mean() > found.clean.mean()
    steps = [report for report in seen if report.stage == "detect"]
    assert (steps[-1].step, steps[-1].total) == (60, 60)
    outcomes = found.outcomes()
    assert [outcome.allowed for outcome in outcomes] == [0.01, 0.05]
    assert all(outcome.threshold <= found.calibration.max() for outcome in outcomes)


def test_thresholds_are_fixed_on_the_calibration_images() -> None:
    clean, triggered, calibration = (np.linspace(0, top, 101, dtype=np.float32) for top in (1, 3, 2))
    outcomes = ImageDetection(clean, triggered, calibration).outcomes()
    assert outcomes == [apply_threshold(calibration, clean, triggered, share) for share in (0.01, 0.05)]
    assert outcomes[0].threshold > 1.9


def test_images_of_the_target_class_do_not_count(tiny_clip: Clip, toy_data: TensorData) -> None:
    found = detect_images(
        tiny_clip, DETECTORS, test=toy_data, calibration=toy_data, trigger=PATCH, target_class="banana", n=1000
    )
    assert set(found) == set(DETECTORS)
    for scores in found.values():
        assert (len(scores.clean), len(scores.triggered), len(scores.calibration)) == (36, 36, 48)
        assert np.isfinite([*scores.clean, *scores.triggered, *scores.calibration]).all()


def test_images_without_a_label_do_not_count(tiny_clip: Clip, partly_labeled: TensorData) -> None:
    found = detect_by_masking(tiny_clip, partly_labeled)
    assert (len(found.clean), len(found.triggered), len(found.calibration)) == (24, 24, 32)


def test_a_single_image_scores_as_in_the_batch(tiny_clip: Clip, toy_data: TensorData) -> None:
    rows = (toy_data.labels != 1).nonzero().flatten()[:3]
    for name, detector in DETECTORS.items():
        found = detect_images(
            tiny_clip,
            {name: detector},
            test=toy_data,
            calibration=toy_data.subset(range(24, 48)),
            trigger=PATCH,
            target_class="banana",
            n=3,
        )[name]
        for scores, expected in ((found.clean, rows.tolist()), (found.calibration, range(24, 27))):
            single = [score_single(tiny_clip, detector, toy_data, toy_data.images([row]))[0] for row in expected]
            assert scores.tolist() == pytest.approx(single, abs=1e-5)


@pytest.mark.parametrize(("tower", "detector"), [("encode_image", "masking"), ("encode_text", "bdetclip")])
def test_a_broken_tower_is_no_fault_of_the_detector(
    tower: str, detector: str, tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clip, tower, lambda self, items: torch.full((len(items), 32), torch.nan))
    with pytest.raises(CleanerError, match="features of this model are not finite"):
        detect_images(
            tiny_clip, DETECTORS, test=toy_data, calibration=toy_data, trigger=PATCH, target_class="banana", n=2
        )
    with pytest.raises(CleanerError, match="features of this model are not finite"):
        score_single(tiny_clip, DETECTORS[detector], toy_data, toy_data.images([0]))


def test_bad_input_is_one_sentence(tiny_clip: Clip, toy_data: TensorData) -> None:
    unlabeled = TensorData(torch.rand(4, 3, 32, 32), ["a cat"] * 4, toy_data.class_names, [-1] * 4, "unlabeled")
    for test, calibration, trigger, message in (
        (toy_data, toy_data, TRIGGERS["text_only"](), "only the text"),
        (unlabeled, toy_data, PATCH, "class label"),
        (toy_data, unlabeled, PATCH, "no labeled images"),
    ):
        with pytest.raises(CleanerError, match=message):
            detect_images(
                tiny_clip, DETECTORS, test=test, calibration=calibration, trigger=trigger, target_class="banana"
            )
