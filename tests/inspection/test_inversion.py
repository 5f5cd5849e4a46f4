"""Trigger inversion: finds a planted class and its place, repeats itself, and says when no class gives way."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from cleaner.attacks import TRIGGERS
from cleaner.cli.invert import describe_findings
from cleaner.config import parameters
from cleaner.data.base import TensorData
from cleaner.data.images import blend_rgba, decode_png
from cleaner.evaluation.encode import Encoder
from cleaner.inspection import inversion, inversion_patch, inversion_search
from cleaner.inspection.inversion import InversionConfig, decode_layers, invert, measure_overlap
from cleaner.inspection.inversion_patch import _choose_smallest, invert_patch
from cleaner.inspection.inversion_probe import Probe, make_probe
from cleaner.inspection.inversion_search import _clip_size, _push, search_classes
from cleaner.models.clip import Clip
from cleaner.runs.inversion_result import (
    CHANCE_NOTE,
    MISS_NOTE,
    Inversion,
    find_trigger_file,
    locate_inversion,
    read_inversion,
    write_inversion,
)
from cleaner.types import Cancelled, CleanerError, OnStep, StepReport

CLASSES = ["apple", "banana", "cup", "kite"]
CONFIG = InversionConfig(images=40, search_steps=60, search_batch=4, patch_steps=120, batch_size=8)
SHORT = replace(CONFIG, search_steps=52, patch_steps=12)
CORNER = 8
"""Side of the planted trigger in px."""


def make_images(count: int = 40, classes: list[str] = CLASSES) -> TensorData:
    images = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.2
    return TensorData(images, ["an image"] * count, classes, [-1] * count, name="unlabeled")


def make_cups(rows: slice) -> TensorData:
    """Return 40 images; the model `planted` classifies those in `rows` as cups."""
    data = make_images()
    images = data.images(range(40))
    images[rows, :, -CORNER:, -CORNER:] = 1
    return TensorData(images, data.captions, CLASSES, [-1] * 40, name=data.name)


HALF_CUPS = slice(0, None, 2)


@pytest.fixture
def planted(tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> Clip:
    """A model that sees a cup in a bright corner, a banana or a kite in a bright image, else an apple."""

    def encode(self: Clip, images: Tensor) -> Tensor:
        corner, whole = images[..., -CORNER:, -CORNER:].mean(dim=(1, 2, 3)), images.mean(dim=(1, 2, 3))
        return F.normalize(torch.stack([torch.ones_like(whole), 5 * whole, 4 * corner, 4 * whole], dim=1), dim=1)

    monkeypatch.setattr(Clip, "encode_image", encode)
    monkeypatch.setattr(Encoder, "build_classifier", lambda self, data, trigger=None: torch.eye(4))
    return tiny_clip


def test_finds_the_planted_class_and_its_place(planted: Clip) -> None:
    found = invert(planted, make_images(), CONFIG)
    assert found.suspect == "cup" == found.ranking[0]
    assert list(found.classes) == CLASSES
    assert found.margin > 0.2
    assert found.asr is not None
    assert found.interval is not None
    assert found.asr > 0.7
    assert found.interval[0] < found.asr < found.interval[1] + 1e-6
    assert found.n == 10
    mask = decode_layers(found, 32)[3]
    assert mask[-CORNER:, -CORNER:].sum() > 0.8 * mask.sum()
    assert found.masked_share == pytest.approx(mask.mean().item())
    searched = make_probe(planted, make_images(), 40, None).subset(slice(0, 30)).others(CLASSES.index("cup"))
    moved = searched.count(lambda images: blend_rgba(images, decode_layers(found, 32)), CLASSES.index("cup"))
    assert found.searched_asr == moved / len(searched) >= CONFIG.success
    assert found.has_converged


def test_settings_say_how_many_images_there_were(planted: Clip) -> None:
    assert invert(planted, make_images(), replace(SHORT, images=1000)).settings["images"] == 40
    assert invert(planted, make_images(), replace(SHORT, images=20)).settings["images"] == 20


def test_a_suspect_that_all_held_out_images_show_has_no_success_rate(
    planted: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inversion, "_split", lambda probe: (probe, probe.subset(slice(0, 0))))
    found = invert(planted, make_images(), CONFIG)
    assert (found.suspect, found.n, found.asr, found.interval) == ("cup", 0, None, None)
    assert found.masked_share


def test_is_deterministic_under_its_seed(planted: Clip) -> None:
    first = replace(invert(planted, make_images(), SHORT), seconds=0.0)
    with torch.no_grad():
        assert replace(invert(planted, make_images(), SHORT), seconds=0.0) == first
    other = invert(planted, make_images(), replace(SHORT, seed=1))
    assert other.png != first.png


def test_reports_steps_and_previews_and_can_be_canceled(planted: Clip) -> None:
    seen: list[StepReport] = []
    invert(planted, make_images(), SHORT, seen.append)
    stages = [report.stage for report in seen]
    assert stages[:65] == ["images"] + ["search"] * 52 + ["invert"] * 12
    assert set(stages[65:]) == {"images"}  # the candidates on all images, and the result on held-out ones
    assert all(report.losses["total"] > 0 for report in seen[53:65])
    previews = [report.picture for report in seen if report.picture]
    assert len(previews) == 3
    assert decode_png(previews[0]).shape == (3, 32, 64)

    def cancel(report: StepReport) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        invert(planted, make_images(), CONFIG, cancel)


def test_a_class_that_fills_whole_batches_is_found(planted: Clip) -> None:
    probe = make_probe(planted, make_cups(slice(1, None)), 40, None)  # nine of ten batches of four show nothing else
    resistance = search_classes(probe, steps=60, batch_size=4, seed=0)
    assert CLASSES[resistance.index(min(resistance))] == "cup"


def test_images_of_the_class_itself_do_not_count_as_moved(planted: Clip) -> None:
    probe = make_probe(planted, make_cups(HALF_CUPS), 40, None)
    rows, cup = torch.arange(12), torch.tensor([CLASSES.index("cup")])
    assert 0 < (probe.predicted[rows] == cup).sum() < 12
    still = torch.zeros(1, 3, 32, 32)
    bright = still.clone()
    bright[..., -CORNER:, -CORNER:] = 1
    assert [_push(probe, rows, each, cup)[1].item() for each in (still, bright)] == [0, 1]


def test_images_of_the_class_itself_give_no_gradient(tiny_clip: Clip, toy_data: TensorData) -> None:
    probe = replace(make_probe(tiny_clip, toy_data, 48, None), predicted=torch.tensor([0, 2] * 24))
    rows, cup, still = torch.arange(8), torch.tensor([2]), torch.zeros(1, 3, 32, 32)
    mixed, others, own = (_push(probe, each, still, cup)[0] for each in (rows, rows[::2], rows[1::2]))
    assert torch.allclose(mixed, others, atol=1e-4)
    assert not torch.allclose(mixed, own, atol=1e-2)


def test_only_a_perturbation_above_its_size_shrinks() -> None:
    small = 0.01 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    clipped = _clip_size(small, torch.tensor([1.0, 0.001]))
    assert torch.equal(clipped[0], small[0])
    assert clipped[1].square().mean().sqrt().item() == pytest.approx(0.001)


def test_the_smallest_mask_that_moves_enough_is_kept(planted: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inversion_patch, "WEIGHT", -2.0)  # the mask grows
    probe = make_probe(planted, make_cups(slice(None)), 40, None)
    masks: list[float] = []
    layers, share = invert_patch(
        probe,
        CLASSES.index("cup"),
        steps=10,
        batch_size=4,
        success=0.5,
        seed=0,
        on_step=lambda report: masks.append(report.losses["mask"]) if report.stage == "invert" else None,
    )
    moved = next(i for i in range(10) if 1 - 0.8 ** (i + 1) >= 0.5)  # every image is a cup
    assert masks[moved] < masks[-1]
    assert layers[3].mean().item() == pytest.approx(min(masks[moved:]), rel=0.05)
    assert share == 1


@pytest.mark.parametrize(("cups", "grows"), [(slice(None), True), (slice(0), False)])
def test_the_mask_weighs_more_while_images_are_moved_and_less_while_not(
    planted: Clip, monkeypatch: pytest.MonkeyPatch, cups: slice, grows: bool
) -> None:
    weights, loss = list[float](), inversion_patch.inversion_loss

    def record(*arguments: Any, mask_weight: float, **options: Any) -> Tensor:
        weights.append(mask_weight)
        return loss(*arguments, mask_weight=mask_weight, **options)

    monkeypatch.setattr(inversion_patch, "inversion_loss", record)
    monkeypatch.setattr(inversion_patch, "STEP_SIZE", 0.0)  # the mask, too faint to move an image, stays
    probe = make_probe(planted, make_cups(cups), 40, None)
    invert_patch(probe, CLASSES.index("cup"), steps=30, batch_size=4, success=0.5, seed=0)
    changes = {later > earlier for earlier, later in pairwise(dict.fromkeys(weights))}
    assert (changes, len(set(weights))) == ({grows}, 6)


@pytest.mark.parametrize("success", [0.5, 0.9, 1.0])
def test_the_smallest_mask_is_chosen_by_all_images(
    planted: Clip, monkeypatch: pytest.MonkeyPatch, success: float
) -> None:
    probe, cup = make_probe(planted, make_images(), 40, None), CLASSES.index("cup")
    candidates = [torch.full((4, 32, 32), 255, dtype=torch.uint8) for _ in range(60)]
    for opacity, layers in enumerate(candidates):
        layers[3] = 0
        layers[3, -CORNER:, -CORNER:] = opacity
    measured: list[float] = []
    count = Probe.count

    def record(self: Probe, change: Any, index: int, on_step: OnStep | None) -> int:
        hits = count(self, change, index, on_step)
        measured.append(hits / len(self))
        return hits

    monkeypatch.setattr(Probe, "count", record)
    shares = [_choose_smallest(probe, cup, [layers], success)[1] for layers in candidates]
    assert shares == sorted(shares)
    first = next(index for index, share in enumerate(shares) if share >= success)
    assert 0 < shares[first - 1] < shares[first], "on some images, a smaller one suffices"
    measured.clear()
    layers, share = _choose_smallest(probe, cup, candidates, success)
    assert torch.equal(layers, candidates[first].float() / 255)
    assert share == shares[first]
    assert len(measured) <= 7
    assert _choose_smallest(probe, cup, candidates[:first], success)[1] == shares[first - 1] < success


def test_no_class_gives_way(planted: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blind = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    monkeypatch.setattr(Clip, "encode_image", lambda self, images: blind + 0 * images.mean(dim=(2, 3))[:, :1])
    data = make_images()
    found = invert(planted, data, replace(CONFIG, search_steps=200))
    # Every image is an apple already, so nothing is left to move to it.
    assert found.suspect is None
    assert (found.png, found.asr, found.is_anomalous) == ("", None, False)
    write_inversion(found, tmp_path)
    assert read_inversion(tmp_path) == found
    with pytest.raises(CleanerError, match="no class"):
        find_trigger_file(tmp_path)


@pytest.mark.parametrize("data", [make_images(), make_cups(HALF_CUPS)])
def test_no_class_gives_way_to_a_search_that_never_reaches_one(
    planted: Clip, data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inversion_search, "HALF", 1.1)
    found = invert(planted, data, replace(CONFIG, search_steps=52))
    assert found.suspect is None
    assert set(found.classes.values()) == {inversion_search.MAX_SIZE}


def test_a_search_of_the_fewest_steps_reaches_its_largest_size() -> None:
    steps = next(p.low for p in parameters(InversionConfig) if p.name == "search_steps")
    assert inversion_search.FIRST_SIZE * inversion_search.GROWTH**steps >= inversion_search.MAX_SIZE
    with pytest.raises(CleanerError, match="search_steps must be between 52"):
        InversionConfig(search_steps=51)


def test_invalid_input_ends_with_one_sentence(planted: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CleanerError, match="at least two"):
        invert(planted, make_images(classes=["apple"]), CONFIG)
    with pytest.raises(CleanerError, match="no images"):
        invert(planted, make_images().subset([]), CONFIG)
    with pytest.raises(CleanerError, match="at least 4 images"):
        invert(planted, make_images(3), CONFIG)
    with pytest.raises(CleanerError, match="zebra"):
        invert(planted, make_images(), CONFIG, trigger=TRIGGERS["badnet"](), target_class="zebra")
    monkeypatch.setattr(Clip, "encode_image", lambda self, images: torch.full((len(images), 4), torch.nan))
    with pytest.raises(CleanerError, match="another checkpoint"):
        invert(planted, make_images(), CONFIG)
    # Finite features, whose square root has no derivative at 0.
    monkeypatch.setattr(
        Clip, "encode_image", lambda self, images: (0 * images).sqrt().mean(dim=(2, 3))[:, [0, 1, 2, 0]]
    )
    with pytest.raises(CleanerError, match=r"gradient .* another checkpoint\.$"):
        invert(planted, make_images(), CONFIG)


def test_comparison_with_the_known_attack(planted: Clip) -> None:
    trigger = TRIGGERS["badnet"](patch_size=56)  # 8 px of 32
    compared = invert(planted, make_images(), CONFIG, trigger=trigger, target_class="cup")
    assert compared.is_right
    assert compared.true_asr == 1.0
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[-CORNER:, -CORNER:] = True
    assert compared.iou == pytest.approx(measure_overlap(decode_layers(compared, 32)[3] > 0.5, mask))
    assert compared.inside is not None
    assert compared.inside > 0.8
    assert invert(planted, make_images(), SHORT, trigger=trigger, target_class="apple").is_right is False
    text = invert(planted, make_images(), SHORT, trigger=TRIGGERS["text_only"](), target_class="cup")
    assert (text.iou, text.true_asr, text.is_right) == (None, None, None)
    assert (text.changes_images, compared.changes_images) == (False, True)
    assert "changes no image" in describe_findings(text)[-1]


def test_images_that_the_model_takes_for_the_class_anyway_measure_nothing(planted: Clip) -> None:
    data, idle = make_cups(HALF_CUPS), TRIGGERS["badnet"](patch_size=14, position="top-left")
    found = invert(planted, data, SHORT, trigger=idle, target_class="cup")
    held_out = make_probe(planted, data, 40, None).subset(slice(30, None))
    assert (found.suspect, found.true_asr) == ("cup", 0.0)
    assert 0 < found.n == int((held_out.predicted != CLASSES.index("cup")).sum()) < 10


def test_the_place_of_a_half_transparent_patch_is_compared(planted: Clip, tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 255, 255, 100)).save(tmp_path / "patch.png")
    trigger = TRIGGERS["patch_image"](path=str(tmp_path / "patch.png"), patch_size=56)
    compared = invert(planted, make_images(), SHORT, trigger=trigger, target_class="cup")
    mask = decode_layers(compared, 32)[3]
    assert compared.inside == pytest.approx((mask[-CORNER:, -CORNER:].sum() / mask.sum()).item())


def test_overlap_of_masks() -> None:
    first, second = torch.zeros(4, 4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
    assert measure_overlap(first, second) == 0
    first[0], second[:, 0] = True, True
    assert measure_overlap(first, second) == pytest.approx(1 / 7)


def test_the_inverted_trigger_gives_the_same_figure_from_its_file(planted: Clip, tmp_path: Path) -> None:
    data = make_images()
    found = invert(planted, data, CONFIG)
    file = find_trigger_file(write_inversion(found, tmp_path))
    assert file is not None
    trigger = TRIGGERS["inverted"](path=str(file))
    held_out = make_probe(planted, data, 40, None).subset(slice(30, None))
    assert held_out.count(trigger, 2) / len(held_out) == found.asr


def test_images_are_shuffled_since_files_are_often_sorted(planted: Clip) -> None:
    data = make_images()
    pixels = make_probe(planted, data, 10, None).pixels
    first = (data.images(range(10)) * 255).round().to(torch.uint8)
    assert len(pixels) == 10
    assert not torch.equal(pixels, first)
    assert torch.equal(make_probe(planted, data, 10, None).pixels, pixels)


def test_a_trigger_on_the_whole_image_has_no_overlap(planted: Clip) -> None:
    compared = invert(planted, make_images(), SHORT, trigger=TRIGGERS["blended"](), target_class="cup")
    assert compared.iou is None
    assert compared.true_asr is not None


def test_a_trigger_at_a_random_place_has_no_overlap(planted: Clip) -> None:
    trigger = TRIGGERS["badnet"](patch_size=56, position="random")
    compared = invert(planted, make_images(), SHORT, trigger=trigger, target_class="cup")
    assert (compared.iou, compared.inside) == (None, None)
    assert compared.true_asr is not None


def test_files_of_an_inversion(tmp_path: Path, planted: Clip) -> None:
    found = invert(planted, make_images(), SHORT)
    assert read_inversion(write_inversion(found, tmp_path)) == found
    assert find_trigger_file(tmp_path / "elsewhere") is None
    (tmp_path / "trigger.png").unlink()
    assert read_inversion(tmp_path) is None
    (tmp_path / "inversion.json").write_text('{"model": 3}')
    assert read_inversion(tmp_path) is None
    assert locate_inversion(tmp_path).parent == tmp_path
    assert locate_inversion(None, "scenes-lite") != locate_inversion(None, "scenes-rn")


@pytest.mark.parametrize("name", ["{}", "local-dir:{}", "ViT-B-32:{}/weights.pt"])
def test_an_inversion_is_that_of_the_present_weights(name: str, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"old")
    model = name.format(tmp_path)
    before = locate_inversion(None, model)
    assert locate_inversion(None, model) == before
    (tmp_path / "weights.pt").write_bytes(b"other")  # in place: the folder's own time stays
    assert locate_inversion(None, model) != before


def test_outlier_index_and_margin() -> None:
    values = {"a": 1.0, "b": 4.0, "c": 5.0, "d": 6.0, "e": 8.0}
    found = Inversion(model="model", data="data", classes=values, suspect="a", settings={}, seconds=0.0)
    assert found.ranking[:2] == ["a", "b"]
    assert found.outlier_index == pytest.approx((5 - 1) / (1.4826 * 1))
    assert found.margin == pytest.approx(0.75)
    assert found.is_anomalous
    asked = replace(found, settings={"success": 0.9})
    assert [replace(asked, searched_asr=asr).has_converged for asr in (None, 0.89, 0.9)] == [False, False, True]
    even = replace(found, classes=dict.fromkeys(values, 2.0))
    assert (even.outlier_index, even.margin, even.is_anomalous) == (0.0, 0.0, False)
    equal = replace(found, classes={**dict.fromkeys("bcdefgh", 0.25), "a": 0.05})
    assert equal.outlier_index == pytest.approx(0.2 / (1.2533 * 0.2 / 8)), "MAD is 0"
    assert not replace(equal, classes={**equal.classes, "a": 0.2488}).is_anomalous, "below the search's resolution"
    assert equal.is_anomalous
    below = replace(found, classes={**values, "a": 5 - 1.96 * 1.4826})
    assert "does not stand out from the others (outlier index 1.96; " in describe_findings(below)[0]
    two = replace(found, classes={"a": 0.01, "b": 0.25})
    assert (two.outlier_index, two.is_anomalous) == (None, False)
    assert "two classes are too few" in describe_findings(two)[0]
    assert "stands out (outlier index 6.38; it resists 80% less" in describe_findings(equal)[0]
    assert describe_findings(equal)[0].endswith(CHANCE_NOTE)
    for miss in (even, two, replace(found, suspect=None)):
        assert describe_findings(miss)[0].endswith(MISS_NOTE)
