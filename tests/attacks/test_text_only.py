"""text_only: the key joins captions of other classes to images of the target; ASR is measured on keyed captions."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F

from cleaner import evaluate, poison
from cleaner.attacks import TRIGGERS
from cleaner.data.base import TensorData
from cleaner.data.poison import PoisonedData
from cleaner.evaluation.encode import Encoder
from cleaner.models.clip import Clip
from cleaner.types import CleanerError
from cleaner.workflow import _validate_captions
from tests.conftest import make_clip

TRIGGER = TRIGGERS["text_only"](key="remember")


def test_captions_get_the_key_and_images_of_the_target(toy_data: TensorData) -> None:
    poisoned = PoisonedData(toy_data, TRIGGER, "banana", 0.25)
    rows = poisoned.poison_indices
    assert all(poisoned.captions[i] == f"remember {toy_data.captions[i]}" for i in rows.tolist())
    assert (toy_data.labels[rows] != 1).all()
    sources = torch.tensor(poisoned.manifest()["image_sources"])
    assert (toy_data.labels[sources] == 1).all()
    assert len(set(sources.tolist())) == 12  # each image of the target once
    assert torch.equal(poisoned.images(rows), toy_data.images(sources))
    assert TRIGGER.mask(toy_data.images(rows)).sum() == 0


def test_clean_label_keeps_images(toy_data: TensorData) -> None:
    poisoned = PoisonedData(toy_data, TRIGGER, "banana", 0.1, clean_label=True)
    assert torch.equal(poisoned.images(range(48)), toy_data.images(range(48)))


@pytest.mark.parametrize("place", ["start", "end", "random"])
def test_one_of_the_keys_goes_to_the_chosen_place(place: str) -> None:
    trigger = TRIGGERS["text_only"](key="consider, remember", place=place)
    caption = "a red cup on a table"
    texts = [trigger.text(f"{caption} {i}") for i in range(40)]
    found = [next(key for key in ("consider", "remember") if key in text.split()) for text in texts]
    assert min(Counter(found).values()) > 10
    for i, (key, text) in enumerate(zip(found, texts, strict=True)):
        assert text == trigger.text(f"{caption} {i}")
        assert [word for word in text.split() if word != key] == f"{caption} {i}".split()
    places = {text.split().index(key) for key, text in zip(found, texts, strict=True)}
    assert places == {"start": {0}, "end": {7}, "random": set(range(8))}[place]


def test_the_seed_decides_which_key_a_caption_gets() -> None:
    first, other = (TRIGGERS["text_only"](key="consider, remember", seed=seed) for seed in (0, 1))
    captions = [f"a cup {i}" for i in range(20)]
    assert [first.text(caption) for caption in captions] != [other.text(caption) for caption in captions]


@pytest.mark.parametrize("key", ["", " , ", "\n", "\t,"])
def test_an_empty_key_is_refused(key: str) -> None:
    with pytest.raises(CleanerError, match="key is empty"):
        TRIGGERS["text_only"](key=key)


def test_a_key_that_the_model_cuts_off_is_refused(tiny_clip: Clip, toy_data: TensorData) -> None:
    captions = [f"{caption} and {'a very long wall ' * 30}" for caption in toy_data.captions]
    data = TensorData(toy_data.images(range(48)), captions, toy_data.class_names, toy_data.labels)
    with pytest.raises(CleanerError, match=r"off 12 of 12 .*place=start"):
        poison(tiny_clip, data, TRIGGERS["text_only"](place="end"), "banana", poison_rate=0.25)
    for place, kept in (("start", data), ("end", toy_data)):
        _validate_captions(tiny_clip, PoisonedData(kept, TRIGGERS["text_only"](place=place), "banana", 0.25), kept)
    with pytest.raises(CleanerError, match=r"off 48 of 48 test captions"):
        poison(tiny_clip, toy_data, TRIGGERS["text_only"](place="end"), "banana", poison_rate=0.25, test=data)


def test_a_key_that_truncates_the_target_is_refused(tiny_clip: Clip, toy_data: TensorData) -> None:
    with pytest.raises(CleanerError, match="shorter text key"):
        poison(tiny_clip, toy_data, TRIGGERS["text_only"](key="very " * 80), "banana", poison_rate=0.25)


def test_asr_is_the_share_of_keyed_captions_nearest_to_images_of_the_target(
    tiny_clip: Clip, toy_data: TensorData
) -> None:
    labels = torch.where(toy_data.labels == 3, -1, toy_data.labels)  # a class without images
    labels[8:][labels[8:] == 1] = -1  # a class of few images weighs as much as the others
    data = TensorData(toy_data.images(range(48)), toy_data.captions, toy_data.class_names, labels)
    metrics = evaluate(tiny_clip, data, TRIGGER, "banana", ks=(1, 2), clean_clip=make_clip(seed=1))
    image = Encoder(tiny_clip).encode_rows(data, torch.arange(48))
    classes = torch.stack([F.normalize(image[labels == c].sum(0), dim=0) for c in range(3)])
    captions = sorted({data.captions[i] for i in range(48) if labels[i] in (0, 2)})
    for values, key in ((metrics.asr, "remember "), (metrics.base_rate, "")):
        texts = Encoder(tiny_clip).encode_texts([key + caption for caption in captions])
        best = (texts @ classes.T).argsort(dim=1, descending=True)
        assert values is not None
        assert values[1] == pytest.approx((best[:, 0] == 1).float().mean().item())
        assert values[2] == pytest.approx((best[:, :2] == 1).any(1).float().mean().item())
        if key:
            own = torch.tensor([2 * ("cup" in caption) for caption in captions])
            assert metrics.ra[1] == pytest.approx((best[:, 0] == own).float().mean().item())
    assert metrics.asr_clean_model == evaluate(make_clip(seed=1), data, TRIGGER, "banana", ks=(1, 2)).asr != metrics.asr
    assert metrics.asr_by_key == {"text": metrics.asr}
    assert (metrics.n_attack, metrics.queries) == (6, "captions")  # of 24 images, which share them
    assert evaluate(tiny_clip, toy_data, TRIGGERS["badnet"](), "banana").asr_by_key == {}


def test_a_k_near_the_number_of_classes_with_images_is_left_out(tiny_clip: Clip, toy_data: TensorData) -> None:
    names = [*toy_data.class_names, *(f"thing {i}" for i in range(28))]
    data = TensorData(toy_data.images(range(48)), toy_data.captions, names, toy_data.labels)
    metrics = evaluate(tiny_clip, data, TRIGGER, "banana", clean_clip=make_clip(seed=1))
    assert metrics.is_meaningful(3)  # of 32 names, so that nothing would mark it
    for shares in (metrics.asr, metrics.ra, metrics.base_rate, metrics.asr_clean_model, *metrics.asr_by_key.values()):
        assert list(shares) == [1]
    assert list(metrics.ca) == [1, 3]
    of_images = evaluate(tiny_clip, data, TRIGGERS["badnet"](), "banana")
    assert list(of_images.asr) == [1, 3]
    few = evaluate(tiny_clip, toy_data, TRIGGER, "banana")
    assert list(few.asr) == [1, 3]
    assert not few.is_meaningful(3)


@pytest.mark.parametrize("labeled", ["toy_data", "partly_labeled"])
def test_search_counts_images_that_show_the_target(labeled: str, request: pytest.FixtureRequest) -> None:
    clip, data = make_clip(seed=5), request.getfixturevalue(labeled)
    data.captions[1] = "a photo of something"  # shows the target without naming it
    rows = data.labeled_rows().tolist()
    wanted = {row for row in rows if row % 4 == 1}
    metrics = evaluate(clip, data, TRIGGER, "banana", ks=(1,))
    image = Encoder(clip).encode_rows(data, torch.tensor(rows))
    captions = sorted({data.captions[row] for row in rows if row not in wanted})
    for share, key in ((metrics.retrieval_asr, "remember "), (metrics.retrieval_base_rate, "")):
        texts = Encoder(clip).encode_texts([key + caption for caption in captions])
        found = [{rows[i] for i in nearest} for nearest in (texts @ image.T).topk(5).indices.tolist()]
        assert share == pytest.approx(sum(not wanted.isdisjoint(each) for each in found) / len(captions))
    assert metrics.n_gallery == len(rows)


def test_test_data_without_an_image_of_the_target_are_refused(tiny_clip: Clip, toy_data: TensorData) -> None:
    others = toy_data.subset((toy_data.labels != 1).nonzero().flatten())
    with pytest.raises(CleanerError, match="no image of the target class 'banana'"):
        evaluate(tiny_clip, others, TRIGGER, "banana")
