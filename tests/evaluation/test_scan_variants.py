"""Settings of a scan: defaults first, one change after the other; a planted setting is found on other images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cleaner.attacks import TRIGGERS
from cleaner.attacks.base import PatchTrigger
from cleaner.data.base import TensorData
from cleaner.data.images import encode_png
from cleaner.evaluation.scan import find_scannable_triggers
from cleaner.evaluation.scan_variants import (
    CONFIRMED,
    MAX_VARIANTS,
    SCREENED_IMAGES,
    describe_variant,
    list_variants,
    scan_variants,
)
from cleaner.models.clip import Clip
from cleaner.types import Cancelled, CleanerError, StepReport
from tests.evaluation.test_scan import plant

PLANTED = TRIGGERS["badnet"](patch_size=56, position="top-left", seed=3)


def test_settings_start_with_the_defaults_and_change_ever_more() -> None:
    triggers, _ = find_scannable_triggers()
    variants = list_variants(triggers)
    assert list(variants)[: len(triggers)] == list(triggers)
    assert all(describe_variant(trigger) == label for label, trigger in variants.items())
    changes = [label.count(",") for label in list(variants)[len(triggers) :]]
    assert changes == sorted(changes)
    counts = {name: sum(label.split(" ")[0] == name for label in variants) for name in triggers}
    assert max(counts.values()) <= MAX_VARIANTS
    expected = {"badnet seed 1", "badnet patch size 16 px of 224, position center", "blended blend ratio 0.4"}
    assert expected <= set(variants)
    assert "sig delta 0.118" in variants
    assert variants["badnet patch size 56 px of 224, position top-left, seed 3"] == PLANTED


@pytest.fixture
def planted(tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch) -> Clip:
    plant(PLANTED, tiny_clip, toy_data, monkeypatch)
    return tiny_clip


def test_a_planted_setting_is_found_and_measured_on_other_images(planted: Clip, toy_data: TensorData) -> None:
    seen: list[StepReport] = []
    triggers = {"badnet": TRIGGERS["badnet"](), "blended": TRIGGERS["blended"]()}
    found = scan_variants(planted, toy_data, triggers, 20, seen.append)
    best = found.results[0]
    assert (best.trigger, best.class_name) == (describe_variant(PLANTED), toy_data.class_names[2])
    assert found.triggers[best.trigger] == PLANTED
    assert (best.before, best.after, best.n) == (0.0, 1.0, 20)
    assert best.interval[0] > 0
    assert 0 < found.tried <= len(list_variants(triggers))
    assert {"badnet", "blended"} <= set(found.triggers)
    assert len(found.triggers) <= CONFIRMED + 2
    assert list(dict.fromkeys(report.stage for report in seen)) == ["screen", "scan"]
    assert seen[-1].step == seen[-1].total


def test_the_images_that_choose_do_not_measure(planted: Clip, toy_data: TensorData) -> None:
    found = scan_variants(planted, toy_data, {"badnet": TRIGGERS["badnet"]()}, 1000)
    assert found.results[0].n == len(toy_data) - min(SCREENED_IMAGES, len(toy_data) // 3)


def test_a_prepared_patch_stays_in_other_settings(planted: Clip, toy_data: TensorData) -> None:
    trigger = TRIGGERS["badclip"](png=encode_png(PLANTED.patch(32)))
    assert all(variant.png == trigger.png for variant in list_variants({"badclip": trigger}).values())
    assert scan_variants(planted, toy_data, {"badclip": trigger}, 20).tried > 1


def test_settings_that_change_nothing_are_tried_once(
    planted: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def paint_white(self: PatchTrigger, side: int) -> Tensor:
        return torch.ones(3, self.scaled_patch_size(side), self.scaled_patch_size(side))

    monkeypatch.setattr(TRIGGERS["badnet"], "patch", paint_white)  # the seed matters for random places alone
    triggers = {"badnet": TRIGGERS["badnet"]()}
    places = {trigger.position for trigger in list_variants(triggers).values()}
    found = scan_variants(planted, toy_data, triggers, 20)
    assert found.tried == 4 * (len(places) - 1) + 4 * 6


def test_too_few_images_are_one_sentence(planted: Clip, toy_data: TensorData) -> None:
    with pytest.raises(CleanerError, match="at least three images"):
        scan_variants(planted, toy_data.subset([0, 1]), {"badnet": TRIGGERS["badnet"]()}, 20)


def test_it_can_be_canceled(planted: Clip, toy_data: TensorData) -> None:
    def cancel(report: StepReport) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        scan_variants(planted, toy_data, {"badnet": TRIGGERS["badnet"]()}, 20, cancel)
