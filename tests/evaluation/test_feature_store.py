"""The feature store: full-size models encode each image and prompt once; nothing damaged is ever a result."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cleaner.evaluation import encode, feature_store
from cleaner.evaluation.encode import Encoder
from cleaner.evaluation.evaluate import evaluate
from cleaner.inspection.film_recorder import make_recorder
from cleaner.models import clip as clip_module
from cleaner.models.architectures import FEW_TEMPLATES, TEMPLATES
from cleaner.models.clip import Clip
from cleaner.types import Cancelled, CleanerError, StepReport
from tests.conftest import make_clip, make_toy_data

IMAGES = make_toy_data().images(range(6))


@pytest.fixture(autouse=True)
def full_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Treat the tiny model as a full-size one, in a cache of its own; return the database."""
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path))
    monkeypatch.setattr(clip_module, "FULL_SIZE_PARAMETERS", 1)
    return tmp_path / "features.sqlite"


class Counter:
    """Counts what the towers of a model encode; equal texts of a call are encoded once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images, self.texts = 0, 0
        encode_image = Clip.encode_image

        def count_images(clip: Clip, images: torch.Tensor) -> torch.Tensor:
            self.images += len(images)
            return encode_image(clip, images)

        def count_texts(encode_text: Callable[[Clip, list[str]], torch.Tensor]) -> Callable[..., torch.Tensor]:
            def count(clip: Clip, texts: list[str]) -> torch.Tensor:
                self.texts += len(set(texts))
                return encode_text(clip, texts)

            return count

        monkeypatch.setattr(Clip, "encode_image", count_images)
        for name in ("encode_text", "encode_text_trees"):
            monkeypatch.setattr(Clip, name, count_texts(getattr(Clip, name)))


def test_each_image_and_text_is_encoded_once(monkeypatch: pytest.MonkeyPatch, full_size: Path) -> None:
    data, counter = make_toy_data(), Counter(monkeypatch)
    first = evaluate(make_clip(), data, ks=(1,))
    assert counter.images == len(data)
    assert counter.texts > 0
    counter.images = counter.texts = 0
    second = evaluate(make_clip(), data, ks=(1,))
    assert (counter.images, counter.texts) == (0, 0)
    assert second == first
    full_size.unlink()
    assert evaluate(make_clip(), data, ks=(1,)) == first
    assert counter.images == len(data)


def test_other_weights_activation_precision_pixels_and_prompts_are_other_keys() -> None:
    clip = make_clip()
    others = [
        make_clip(seed=1),
        replace(clip, architecture=replace(clip.architecture, quick_gelu=True)),
        replace(clip, precision="bf16"),
        replace(clip, architecture=replace(clip.architecture, mean=(0.0, 0.0, 0.0))),
    ]
    stores = [feature_store.FeatureStore(each) for each in (clip, *others)]
    assert len({store.image_key(IMAGES[0]) for store in stores}) == len(stores)
    keys = [stores[0].image_key(IMAGES[0]), stores[0].image_key(IMAGES[0] + 1 / 255)]
    keys += [stores[0].text_key(texts) for texts in (["a b"], ["a", "b"], ["b", "a"])]
    assert len(set(keys)) == len(keys)


def test_weights_changed_in_place_are_hashed_again() -> None:
    clip = make_clip()
    before = clip.sha256()
    assert clip.sha256() == before
    with torch.no_grad():
        clip.model.logit_scale.add_(1)
    assert clip.sha256() != before


def test_small_models_and_monitors_leave_the_store_alone(monkeypatch: pytest.MonkeyPatch, full_size: Path) -> None:
    evaluate(make_clip(), make_toy_data(), ks=(1,), use_store=False)
    monkeypatch.setattr(clip_module, "FULL_SIZE_PARAMETERS", 10**9)
    evaluate(make_clip(), make_toy_data(), ks=(1,))
    assert not full_size.exists()


def test_a_gpu_reads_prompts_from_the_store_and_encodes_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_module.Clip, "is_slow", False)
    data, counter = make_toy_data(), Counter(monkeypatch)
    for texts_are_new in (True, False):
        counter.images = counter.texts = 0
        evaluate(make_clip(), data, ks=(1,))
        assert (counter.images, counter.texts > 0) == (len(data), texts_are_new)


@pytest.mark.parametrize("content", [b"", b"no database" * 1000])
def test_a_damaged_database_is_replaced(content: bytes, full_size: Path) -> None:
    expected = Encoder(make_clip(), use_store=False).encode_image(IMAGES)
    full_size.write_bytes(content)
    for _ in range(2):
        assert torch.allclose(Encoder(make_clip()).encode_image(IMAGES), expected, atol=1e-6)
    with sqlite3.connect(full_size) as database:
        assert database.execute("SELECT count(*) FROM features").fetchone() == (len(IMAGES),)


def test_a_locked_or_read_only_store_costs_only_time(
    full_size: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(feature_store, "BUSY_SECONDS", 0.05)
    expected = Encoder(make_clip()).encode_image(IMAGES)
    other = sqlite3.connect(full_size)
    other.execute("BEGIN EXCLUSIVE")
    assert torch.allclose(Encoder(make_clip()).encode_image(IMAGES), expected, atol=1e-6)
    other.close()
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "file" / "folder"))
    assert torch.allclose(Encoder(make_clip()).encode_image(IMAGES), expected, atol=1e-6)


def test_the_database_is_bounded_and_drops_the_oldest(full_size: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "MAX_BYTES", 100_000)
    monkeypatch.setattr(feature_store, "PAGE_BYTES", 4096)
    store = feature_store.FeatureStore(make_clip())
    keys = [store.text_key([str(i)]) for i in range(2000)]
    for start in range(0, len(keys), 50):
        store.write({key: torch.full((32,), 1.0) for key in keys[start : start + 50]})
    assert full_size.stat().st_size < 150_000
    found = store.read(keys)
    assert keys[-1] in found
    assert keys[0] not in found
    assert 100 < len(found) < 1000


def test_a_canceled_classifier_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "SLOW_TEXT_BATCH", 4)
    data, reports = make_toy_data(), []

    def cancel(report: StepReport) -> None:
        reports.append(report)
        if report.step >= 8:
            raise Cancelled

    with pytest.raises(Cancelled):
        Encoder(make_clip(), on_step=cancel).build_classifier(data)
    assert [(r.stage, r.step, r.total) for r in reports] == [("prompts", 4, 16), ("prompts", 8, 16)]
    counter = Counter(monkeypatch)
    classifier = Encoder(make_clip(), on_step=reports.append).build_classifier(data)
    assert counter.texts == 8
    assert [(r.stage, r.step, r.total) for r in reports[2:]] == [("prompts", 4, 8), ("prompts", 8, 8)]
    assert torch.allclose(classifier, Encoder(make_clip(), use_store=False).build_classifier(data), atol=1e-6)


@pytest.mark.parametrize(
    ("classes", "templates", "chosen"), [(4, None, 80), (101, None, 7), (101, 80, 80), (4, 7, 7), (4, 1, 1)]
)
def test_templates_by_cost(classes: int, templates: int | None, chosen: int) -> None:
    data = make_toy_data()
    data.class_names = [f"class {i}" for i in range(classes)]
    clip: Any = replace(make_clip(), templates=TEMPLATES)
    assert len(Encoder(clip, templates).choose_templates(data)) == chosen


def test_few_templates_only_where_it_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_toy_data()
    data.class_names = [f"class {i}" for i in range(101)]
    clip = replace(make_clip(), templates=TEMPLATES)
    assert Encoder(clip).choose_templates(data) == FEW_TEMPLATES
    assert Encoder(make_clip()).choose_templates(data) == data.templates
    monkeypatch.setattr(clip_module, "FULL_SIZE_PARAMETERS", 10**9)
    assert Encoder(clip).choose_templates(data) == TEMPLATES
    with pytest.raises(CleanerError, match="1, 7, 80"):
        Encoder(clip, 3).choose_templates(data)


def test_metrics_say_how_many_prompts_were_used() -> None:
    data = make_toy_data()
    assert evaluate(make_clip(), data, ks=(1,), counterfactual=False).templates == len(data.templates)
    assert evaluate(make_clip(), data, ks=(1,), counterfactual=False, templates=7).templates == 7
    seven = Encoder(make_clip(), 7).build_classifier(data)
    assert not torch.allclose(seven, Encoder(make_clip()).build_classifier(data))


def test_weights_that_an_optimizer_changed_have_their_own_features() -> None:
    clip, text = make_clip(), ["a red car"]
    before = Encoder(clip).encode_texts(text)
    clip.model.requires_grad_(True)
    optimizer = torch.optim.AdamW(clip.model.parameters(), lr=0.1, fused=True)
    clip.encode_text(text).sum().backward()
    optimizer.step()
    after = Encoder(clip).encode_texts(text)
    assert not torch.allclose(before, after)
    with torch.inference_mode():
        torch.testing.assert_close(after, clip.encode_text(text))


def test_a_model_in_training_leaves_nothing_in_the_store(full_size: Path) -> None:
    data = make_toy_data()
    recorder = make_recorder(make_clip(), data, None, None)
    assert recorder is not None
    recorder.take(make_clip(), 0)
    assert not full_size.exists()


def test_equal_captions_are_encoded_once_whatever_their_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "SLOW_TEXT_BATCH", 2)
    counter, texts = Counter(monkeypatch), ["a cat", "a dog", "a bird", "a cat", "a dog"]
    features = Encoder(make_clip()).encode_texts(texts)
    assert counter.texts == 3
    assert torch.equal(features[:2], features[3:])
    assert torch.allclose(features, make_clip().encode_text(texts), atol=1e-5)
