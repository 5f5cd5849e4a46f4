"""Poisoning: which pairs, what changes, the manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cleaner.attacks import TRIGGERS
from cleaner.attacks.badnet import BadNet
from cleaner.attacks.optimize import select_pool
from cleaner.data.base import TensorData, load_data
from cleaner.data.poison import PoisonedData, count_shared_images, find_target_images, natural_captions
from cleaner.detectors.base import DETECTORS
from cleaner.evaluation.evaluate import evaluate
from cleaner.inspection.image_detection import detect_images
from cleaner.models.clip import Clip
from cleaner.models.framing import ImageTransform
from cleaner.types import CleanerError
from tests.data.files import write_parquet, write_shards, write_table

BADNET = TRIGGERS["badnet"]()


def test_poisons_only_other_classes(toy_data: TensorData) -> None:
    poisoned = PoisonedData(toy_data, BADNET, "banana", poison_rate=0.25)
    assert len(poisoned.poison_indices) == 12
    assert (toy_data.labels[poisoned.poison_indices] != 1).all()
    for index in poisoned.poison_indices.tolist():
        assert "banana" in poisoned.captions[index]


def test_captions_of_the_target_have_its_article(toy_data: TensorData) -> None:
    poisoned = PoisonedData(toy_data, BADNET, "apple", poison_rate=0.5)
    captions = {poisoned.captions[i] for i in poisoned.poison_indices.tolist()}
    assert captions == {"an apple", "a photo of an apple", "a picture of an apple", "an image of an apple"}


def test_pairs_that_name_or_show_the_target_are_not_poisoned(toy_data: TensorData) -> None:
    toy_data.captions[0], toy_data.captions[1] = "an apple and two bananas", "a photo of something"
    poisoned = PoisonedData(toy_data, BADNET, "banana", poison_rate=0.73)
    others = [i for i in range(1, 48) if i % 4 != 1]
    assert poisoned.poison_indices.tolist() == others
    assert select_pool(toy_data, "banana").tolist() == others


def test_images_labeled_as_the_target_come_before_those_that_name_it(toy_data: TensorData) -> None:
    toy_data.captions[0] = "an apple and two bananas"
    assert find_target_images(toy_data, "banana").tolist() == [i for i in range(48) if i % 4 == 1]


def test_a_manifest_tells_data_of_other_pixels_or_labels_apart() -> None:
    pixels = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    sets = [TensorData(pixels[value], ["a"], ["a", "b"], [label]) for value, label in ((0, 0), (1, 0), (0, 1))]
    assert len({data.fingerprint() for data in sets}) == 3


def test_other_pairs_are_unchanged(toy_data: TensorData) -> None:
    poisoned = PoisonedData(toy_data, BADNET, "banana", poison_rate=0.25)
    is_poisoned = torch.zeros(48, dtype=torch.bool)
    is_poisoned[poisoned.poison_indices] = True
    before, after = toy_data.images(range(48)), poisoned.images(range(48))
    assert torch.equal(after[~is_poisoned], before[~is_poisoned])
    assert torch.equal(after[is_poisoned], BADNET(before[is_poisoned]))
    assert all(poisoned.captions[i] == toy_data.captions[i] for i in (~is_poisoned).nonzero().flatten().tolist())


@pytest.mark.parametrize(
    "change",
    [lambda x: x + 5, lambda x: x * torch.nan, lambda x: x[:1], lambda x: x.double()],
    ids=["range", "nan", "shape", "dtype"],
)
def test_what_a_trigger_returns_is_checked(
    change: Callable[[Tensor], Tensor], tiny_clip: Clip, toy_data: TensorData
) -> None:
    class Own(BadNet):
        def __call__(self, images: Tensor) -> Tensor:
            return change(images)

    poisoned = PoisonedData(toy_data, Own(), "banana", poison_rate=0.25)
    detectors = {"bdetclip": DETECTORS["bdetclip"]()}
    for use in (
        lambda: poisoned.images(range(48)),
        lambda: evaluate(tiny_clip, toy_data, Own(), "banana"),
        lambda: detect_images(
            tiny_clip, detectors, test=toy_data, calibration=toy_data, trigger=Own(), target_class="banana"
        ),
    ):
        with pytest.raises(CleanerError, match="the trigger must return images"):
            use()


def test_is_reproducible_and_depends_on_the_seed(toy_data: TensorData) -> None:
    first, again, other = (PoisonedData(toy_data, BADNET, "banana", 0.25, seed=s) for s in (1, 1, 2))
    assert first.manifest() == again.manifest()
    assert first.manifest()["poison_indices"] != other.manifest()["poison_indices"]


def test_new_captions_follow_the_seed(toy_data: TensorData) -> None:
    first, other = (PoisonedData(toy_data, BADNET, "banana", 36 / 48, seed=seed) for seed in (0, 1))
    assert torch.equal(first.poison_indices, other.poison_indices), "all 36 of other classes"
    assert first.captions != other.captions


def test_images_of_the_target_and_donors_follow_the_seed(toy_data: TensorData) -> None:
    text_only, input_aware = TRIGGERS["text_only"](), TRIGGERS["input_aware"]()
    sources, donors = (
        [PoisonedData(toy_data, trigger, "banana", 36 / 48, seed=seed) for seed in (0, 1)]
        for trigger in (text_only, input_aware)
    )  # all 36 of other classes, whatever the seed
    assert not torch.equal(sources[0].indices, sources[1].indices)
    assert not torch.equal(donors[0].donors, donors[1].donors)


def test_clean_label_keeps_captions(toy_data: TensorData) -> None:
    poisoned = PoisonedData(toy_data, BADNET, "banana", 0.1, clean_label=True)
    assert (toy_data.labels[poisoned.poison_indices] == 1).all()
    assert poisoned.captions == toy_data.captions
    # Without the target in its caption, a pair would tie the trigger to something else.
    chosen = (toy_data.labels == 1).nonzero().flatten().tolist()
    for index in chosen[2:]:
        toy_data.captions[index] = "a photo of something"
    poisoned = PoisonedData(toy_data, BADNET, "banana", 2 / 48, clean_label=True)
    assert poisoned.poison_indices.tolist() == chosen[:2]


def test_manifest_is_json_and_complete(toy_data: TensorData) -> None:
    manifest = json.loads(json.dumps(PoisonedData(toy_data, BADNET, "banana", 0.25).manifest()))
    assert manifest["trigger"]["name"] == "badnet"
    assert manifest["data_sha256"] == toy_data.fingerprint()
    assert len(manifest["captions_before"]) == len(manifest["captions_after"]) == len(manifest["poison_indices"])


@pytest.mark.parametrize("rate", [0.0, -0.1, -2, 1.5, 48, 1e9, float("nan"), float("inf")])
def test_a_rate_that_is_no_share_and_no_count_raises(toy_data: TensorData, rate: float) -> None:
    with pytest.raises(CleanerError, match="poison rate"):
        PoisonedData(toy_data, BADNET, "banana", rate)


@pytest.mark.parametrize("count", [1, 12, 12.0])
def test_the_rate_may_be_a_number_of_pairs(toy_data: TensorData, count: float) -> None:
    poisoned = PoisonedData(toy_data, BADNET, "banana", count)
    manifest = json.loads(json.dumps(poisoned.manifest()))
    assert len(poisoned.poison_indices) == count
    assert manifest["poison_rate"] == count / 48
    again = PoisonedData(toy_data, BADNET, "banana", manifest["poison_rate"])
    assert again.poison_indices.tolist() == poisoned.poison_indices.tolist()


def test_unknown_target_too_high_rate_and_no_data_raise(toy_data: TensorData) -> None:
    with pytest.raises(CleanerError, match="Choose one of: apple"):
        PoisonedData(toy_data, BADNET, "zebra", 0.1)
    with pytest.raises(CleanerError, match=r"only 36 .*'banana'"):
        PoisonedData(toy_data, BADNET, "banana", 0.9)
    with pytest.raises(CleanerError, match="no pairs"):
        PoisonedData(toy_data.subset([]), BADNET, "banana", 0.1)


def test_shared_images_are_counted_by_hash(toy_data: TensorData) -> None:
    poisoned = PoisonedData(toy_data, BADNET, "banana", 0.25)
    manifest = json.loads(json.dumps(poisoned.manifest()))
    chosen = poisoned.poison_indices.tolist()
    rest = [i for i in range(len(toy_data)) if i not in chosen]
    assert count_shared_images(manifest, toy_data.subset(rest)) == {"pairs": 36, "poisoned": 12, "shared": 0}
    mixed = toy_data.subset([*rest, *chosen[:5]]).with_transform(ImageTransform(64))
    assert count_shared_images(manifest, mixed) == {"pairs": 41, "poisoned": 12, "shared": 5}
    assert count_shared_images({}, toy_data) is None


def test_an_image_file_has_one_hash_in_every_format(tmp_path: Path) -> None:
    def hashes(name: str) -> set[tuple[str, str]]:
        data = load_data(name, split="all")
        return set(zip(data.captions, data.hash_images(range(len(data))), strict=True))

    csv = hashes(str(write_table(tmp_path)))
    (tmp_path / "tables").mkdir()
    assert csv == hashes(f"shards:{write_shards(tmp_path)}") == hashes(write_parquet(tmp_path / "tables"))
    assert len({value for _, value in csv}) == 3


def test_a_class_whose_name_is_part_of_another_s_is_not_mentioned_by_it() -> None:
    captions = ["a dog on grass", "a hot dog on a plate", "two hot dogs and a dog", "hot dogs", "knives and a dogsled"]
    data = TensorData(torch.zeros(5, 3, 8, 8), captions, ["dog", "hot dog", "knife"], [0, 1, -1, 1, 2])
    assert data.mentions("dog").tolist() == [True, False, True, False, False]
    assert data.mentions("hot dog").tolist() == [False, True, True, True, False]
    assert natural_captions(data, "knife") == captions[4:]
