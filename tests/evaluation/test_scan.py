"""Scan: finds a planted trigger and its class, nothing in a clean model, and its intervals have coverage."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.stats import binomtest
from torch import Tensor

from cleaner.attacks import TRIGGERS, Trigger
from cleaner.data.base import CaptionData, TensorData
from cleaner.evaluation import scan as scan_module
from cleaner.evaluation.encode import Encoder
from cleaner.evaluation.scan import find_scannable_triggers, paired_interval, scan
from cleaner.models.clip import Clip
from cleaner.types import CleanerError, StepReport

PATCH = TRIGGERS["badnet"](patch_size=8)
OTHER = TRIGGERS["blended"]()


def plant(trigger: Trigger, clip: Clip, data: CaptionData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every model classify all images as class 0, and as class 2 with a patch; `clip` encodes the prompts."""
    prompts = Encoder(clip).build_classifier(data).T

    def encode(self: Clip, images: Tensor) -> Tensor:
        return prompts[[2 if torch.equal(image, trigger(image[None])[0]) else 0 for image in images]]

    monkeypatch.setattr(Clip, "encode_image", encode)


@pytest.fixture
def planted(tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch) -> Clip:
    plant(PATCH, tiny_clip, toy_data, monkeypatch)
    return tiny_clip


def test_a_planted_trigger_ranks_first(planted: Clip, toy_data: TensorData) -> None:
    seen: list[StepReport] = []
    results = scan(planted, toy_data, {"other": OTHER, "patch": PATCH}, n=40, on_step=seen.append)
    assert len(results) == 2 * len(toy_data.class_names)
    first = results[0]
    assert (first.trigger, first.class_name, first.before, first.after) == ("patch", toy_data.class_names[2], 0.0, 1.0)
    assert first.interval == paired_interval(40, 0, n=40, confidence=1 - 0.05 / 8)  # 2 triggers, 4 classes
    assert first.interval[0] > 0
    assert first.n == 40
    assert [result for result in results if result.interval[0] > 0] == [first]
    assert (seen[-1].step, seen[-1].total) == (2, 2)


def test_a_clean_model_has_no_significant_result(planted: Clip, toy_data: TensorData) -> None:
    results = scan(planted, toy_data, {"other": OTHER})
    assert not any(result.interval[0] > 0 for result in results)
    assert {result.rise for result in results} == {0.0}


def test_results_count_each_class(tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    before, after = torch.randint(0, 3, (2, 40), generator=draw)  # nothing is classified as the last class
    answers = iter([before, after])
    monkeypatch.setattr(scan_module, "_classify", lambda *_: next(answers))
    results = scan(tiny_clip, toy_data, {"patch": PATCH}, n=40)
    assert len(results) == len(toy_data.class_names) == 4
    for result in results:
        index = toy_data.class_names.index(result.class_name)
        was, became = before == index, after == index
        assert (result.before, result.after) == (int(was.sum()) / 40, int(became.sum()) / 40)
        gained, lost = int((became & ~was).sum()), int((was & ~became).sum())
        assert result.interval == paired_interval(gained, lost, n=40, confidence=1 - 0.05 / 4)


def test_intervals_of_equal_counts_are_computed_once(
    planted: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(scipy.stats, "binomtest", lambda *a: calls.append(1) or binomtest(*a))
    triggers = {f"other {i}": OTHER for i in range(10)}
    assert len(scan(planted, toy_data, triggers, n=41)) == 40
    assert len(calls) == 2  # 40 lines, all without a change


def test_scan_rejects_invalid_input(tiny_clip: Clip, toy_data: TensorData) -> None:
    single = TensorData(torch.rand(4, 3, 32, 32), ["a cat"] * 4, ["cat"], [0] * 4, name="one")
    for data, triggers in ((single, {"patch": PATCH}), (toy_data, {})):
        with pytest.raises(CleanerError, match="at least two class names"):
            scan(tiny_clip, data, triggers)
    with pytest.raises(CleanerError, match="at least one image"):
        scan(tiny_clip, toy_data, {"patch": PATCH}, n=0)


def test_scan_rejects_a_broken_model(tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clip, "encode_image", lambda self, images: torch.full((len(images), 32), torch.nan))
    with pytest.raises(CleanerError, match="another checkpoint"):
        scan(tiny_clip, toy_data, {"patch": PATCH})


def test_scannable_triggers_are_ready_and_others_have_a_reason() -> None:
    scannable, reasons = find_scannable_triggers()
    assert "badnet" in scannable
    assert not any(trigger.unready_reason for trigger in scannable.values())
    assert set(scannable) | set(reasons) == set(TRIGGERS)
    assert "only the text" in reasons["text_only"]


def test_the_paired_interval_covers_the_true_difference() -> None:
    draw = np.random.default_rng(0)
    for up, down in ((0.02, 0.0), (0.2, 0.1), (0.0, 0.0)):
        hits = 0
        for gained, lost, _ in draw.multinomial(200, (up, down, 1 - up - down), 400):
            low, high = paired_interval(int(gained), int(lost), n=200)
            hits += low <= up - down <= high
        assert hits >= 0.95 * 400
    up, down = (binomtest(count, 200).proportion_ci(0.975) for count in (30, 10))  # each at half the error
    assert paired_interval(30, 10, n=200) == pytest.approx((up.low - down.high, up.high - down.low))
    low, high = paired_interval(0, 0, n=200)
    assert low < 0 < high
    wide = paired_interval(30, 10, n=200, confidence=0.999)
    narrow = paired_interval(30, 10, n=200, confidence=0.95)
    assert wide[0] < narrow[0] < 0.1 < narrow[1] < wide[1]
