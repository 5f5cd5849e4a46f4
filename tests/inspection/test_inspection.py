"""Inspection: trigger attribution over a test set, words of a caption, best classes, features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cleaner.attacks import TRIGGERS
from cleaner.attacks.badnet import BadNet
from cleaner.data.base import TensorData
from cleaner.evaluation.evaluate import evaluate
from cleaner.evaluation.metrics import silhouette
from cleaner.explain import EXPLAINERS
from cleaner.inspection.attribution import (
    append_triggered,
    compare_map_pair,
    measure_trigger_attribution,
    word_attribution,
)
from cleaner.inspection.features import (
    compute_embedding_metrics,
    compute_feature_shifts,
    concatenate_features,
    extract_features,
)
from cleaner.inspection.similarity import best_classes, compute_similarities, text_feature
from cleaner.models import clip as clip_module
from cleaner.models.clip import Clip
from cleaner.types import CleanerError, StepReport
from tests.conftest import make_clip

PATCH = TRIGGERS["badnet"]()


def test_share_of_a_uniform_map_is_the_area() -> None:
    mask = PATCH.mask(torch.rand(1, 3, 32, 32))[0, 0].numpy()
    result = compare_map_pair(np.stack([np.ones_like(mask), mask]), mask)
    assert result.clean == pytest.approx([result.area])
    assert result.triggered == pytest.approx([1.0])
    everywhere = compare_map_pair(np.ones((2, 8, 8), np.float32), np.ones((8, 8), np.float32))
    assert not everywhere.is_localized
    assert everywhere.similarity == pytest.approx([1.0])
    assert everywhere.clean == []


def test_trigger_attribution_excludes_the_target_class(tiny_clip: Clip, toy_data: TensorData) -> None:
    steps = []
    explainer = EXPLAINERS["rollout"]()
    result = measure_trigger_attribution(
        tiny_clip, explainer, toy_data, PATCH, "banana", "a banana", on_step=steps.append
    )
    assert len(result.clean) == len(result.triggered) == 36  # of 48, a quarter shows a banana
    assert [report.step for report in steps] == [1, 2]
    few = measure_trigger_attribution(tiny_clip, explainer, toy_data, PATCH, "banana", "a banana", n=5)
    assert few.triggered == pytest.approx(result.triggered[:5], rel=1e-3)
    first = toy_data.images([0])
    maps = explainer.attribute(tiny_clip, append_triggered(first, PATCH), text_feature(tiny_clip, "a banana"))
    one = compare_map_pair(maps.numpy(), PATCH.mask(first)[0, 0].numpy())
    assert (result.clean[0], result.triggered[0]) == pytest.approx((one.clean[0], one.triggered[0]), rel=1e-3)
    whole = measure_trigger_attribution(tiny_clip, explainer, toy_data, PATCH, None, "a banana")
    assert len(whole.clean) == 48, "data without the target class"
    with pytest.raises(CleanerError, match="spoon"):
        measure_trigger_attribution(tiny_clip, explainer, toy_data, PATCH, "spoon", "a spoon")
    with pytest.raises(CleanerError, match="is of the target class"):
        measure_trigger_attribution(tiny_clip, explainer, toy_data.subset([1, 5]), PATCH, "banana", "a banana")


def test_trigger_attribution_of_a_full_size_model_has_smaller_batches(
    tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_module, "FULL_SIZE_PARAMETERS", 1)
    steps: list[StepReport] = []
    explainer = EXPLAINERS["rollout"]()
    measure_trigger_attribution(tiny_clip, explainer, toy_data, PATCH, "banana", "a banana", on_step=steps.append)
    assert [report.step for report in steps] == list(range(1, 10))  # 36 images


def test_trigger_attribution_can_be_canceled_between_passes(tiny_clip: Clip, toy_data: TensorData) -> None:
    steps: list[StepReport] = []
    explainer = EXPLAINERS["integrated_gradients"](steps=8)
    measure_trigger_attribution(tiny_clip, explainer, toy_data, PATCH, "banana", "a banana", 33, steps.append)
    # 32 images without and with trigger, a point of the path in each pass; then one image.
    assert [report.step for report in steps] == [*[0] * 16, 1, 2]


def test_trigger_attribution_excludes_images_without_a_label(tiny_clip: Clip, partly_labeled: TensorData) -> None:
    explainer = EXPLAINERS["rollout"]()
    result = measure_trigger_attribution(tiny_clip, explainer, partly_labeled, PATCH, "banana", "a banana")
    assert len(result.clean) == len(result.triggered) == 24  # of 32 with a label


def test_mean_area_decides_whether_a_trigger_is_localized(tiny_clip: Clip) -> None:
    class Brighter(type(PATCH)):
        """Covers the whole image if it is bright, nothing if it is dark."""

        def mask(self, clean_images: torch.Tensor) -> torch.Tensor:
            return (clean_images.mean(dim=(1, 2, 3), keepdim=True) > 0.5).float().expand(-1, 1, 32, 32)

    for dark, bright in ((40, 8), (8, 40)):  # more than one batch, which alone would decide otherwise
        images = torch.cat([torch.full((dark, 3, 32, 32), 0.1), torch.full((bright, 3, 32, 32), 0.9)])
        data = TensorData(images, ["a cat"] * 48, ["cat", "banana"], [0] * 48)
        result = measure_trigger_attribution(tiny_clip, EXPLAINERS["rollout"](), data, Brighter(), "banana", "a banana")
        assert result.area == pytest.approx(bright / 48)
        counted = (len(result.clean), len(result.triggered), len(result.similarity))
        assert counted == ((48, 48, 0) if result.is_localized else (0, 0, 48))


class KeyedPatch(BadNet):
    """A patch that works with a word in the prompt, as TrojVQA's."""

    modalities = ("image", "text")

    def text(self, caption: str) -> str:
        return f"purple {caption}"


def test_attack_success_uses_the_text_key(tiny_clip: Clip, toy_data: TensorData) -> None:
    trigger = KeyedPatch()
    rates = {
        name: (
            extract_features(tiny_clip, toy_data, 48, trigger, name).attack_success.float().mean().item(),
            evaluate(tiny_clip, toy_data, trigger, name, ks=(1,), protocol="all_images"),
        )
        for name in toy_data.class_names
    }
    assert all(taken == pytest.approx((metrics.asr or {})[1]) for taken, metrics in rates.values())
    assert any(metrics.asr != metrics.base_rate for _, metrics in rates.values())  # the key moves this model


def test_a_key_in_the_text_alone_triggers_no_image(tiny_clip: Clip, toy_data: TensorData) -> None:
    found = extract_features(tiny_clip, toy_data, 48, TRIGGERS["text_only"](), "banana")
    assert len(found.triggered) == len(found.attack_success) == 0
    assert "trigger_pull" not in compute_embedding_metrics(found, toy_data.labels, 1)


def test_word_attribution_is_the_sum_of_its_tokens(tiny_clip: Clip, toy_data: TensorData) -> None:
    caption = "an extraordinarily yellowish banana"
    images = append_triggered(toy_data.images([0]), PATCH)
    explainer = EXPLAINERS["token_gradients"]()
    words, rows = word_attribution(tiny_clip, explainer, caption, images)
    assert words == caption.split()
    with torch.no_grad():
        tokens = explainer.attribute(tiny_clip, [caption] * 2, tiny_clip.encode_image(images))
    assert tokens.shape[1] > len(words) + 2
    assert [sum(row) for row in rows] == pytest.approx(tokens.sum(1).tolist(), abs=1e-6)
    assert rows[0] != rows[1]


def test_word_attribution_of_a_model_in_train_mode_is_that_in_eval_mode(toy_data: TensorData) -> None:
    clip, explainer, images = make_clip("rn"), EXPLAINERS["token_gradients"](), toy_data.images([0, 1])
    before = clip.sha256(), word_attribution(clip, explainer, "a banana", images)
    clip.model.train()
    after = word_attribution(clip, explainer, "a banana", images)
    assert (clip.sha256(), after) == before


def test_words_keep_their_spelling(tiny_clip: Clip, toy_data: TensorData) -> None:
    caption = "a café in 日本 😀"
    words, rows = word_attribution(tiny_clip, EXPLAINERS["token_gradients"](), caption, toy_data.images([0]))
    assert words == caption.split()
    assert len(rows[0]) == 5


def test_best_classes_follow_the_cosines(tiny_clip: Clip, toy_data: TensorData) -> None:
    toy_data.templates = ("a {}",)
    image = toy_data.images([3])
    (best,) = best_classes(tiny_clip, toy_data, image)
    assert len(best) == 4  # of four classes
    expected = {name: compute_similarities(tiny_clip, image, [f"a {name}"])[0][0] for name in toy_data.class_names}
    assert [name for name, _, _ in best] == sorted(expected, key=lambda name: -expected[name])
    logits = tiny_clip.logit_scale.cpu() * torch.tensor([cosine for _, _, cosine in best])
    assert [p for _, p, _ in best] == pytest.approx(logits.softmax(0).tolist(), rel=1e-4)
    assert best[0][2] == pytest.approx(max(expected.values()), abs=1e-5)


def test_best_classes_need_class_names(tiny_clip: Clip, toy_data: TensorData) -> None:
    bare = TensorData(toy_data.images([0]), ["a cup"], [], [-1])
    with pytest.raises(CleanerError, match="classes=FILE"):
        best_classes(tiny_clip, bare, bare.images([0]))


def test_extracted_features_are_those_of_the_model(tiny_clip: Clip, toy_data: TensorData) -> None:
    result = extract_features(tiny_clip, toy_data, 8, PATCH, "banana")
    assert [len(getattr(result, kind)) for kind in ("image", "triggered", "caption", "prompt")] == [8, 8, 8, 4]
    assert torch.allclose(result.caption[2], tiny_clip.encode_text([toy_data.captions[2]])[0], atol=1e-5)
    assert concatenate_features([result, result]).shape == (56, 32)
    best = (result.triggered @ result.prompt.T).argmax(1)
    assert result.attack_success.tolist() == (best == 1).tolist()
    clean = extract_features(tiny_clip, toy_data, 8, None, None)
    assert len(concatenate_features([clean])) == 20
    assert set(compute_embedding_metrics(clean, toy_data.labels[:8], None)) == {
        "modality_gap",
        "alignment",
        "uniformity",
    }
    figures = compute_embedding_metrics(result, toy_data.labels[:8], 1)
    squared = torch.cdist(result.image, result.image).square()[*torch.triu_indices(8, 8, offset=1)]
    assert figures["uniformity"] == pytest.approx((-2 * squared).exp().mean().log().item(), abs=1e-5)
    assert figures["alignment"] == pytest.approx(2 - 2 * (result.image * result.caption).sum(1).mean().item(), abs=1e-5)
    other = toy_data.labels[:8] != 1
    pull = ((result.triggered - result.image)[other] @ result.prompt[1]).mean().item()
    assert figures["trigger_pull"] == pytest.approx(pull, abs=1e-6)
    groups = torch.tensor([0] * int(other.sum()) + [1] * int(other.sum()))
    apart = silhouette(torch.cat([result.image[other], result.triggered[other]]), groups)
    assert figures["silhouette"] == pytest.approx(apart)
    gap = (result.image.mean(0) - result.caption.mean(0)).norm().item()
    assert figures["modality_gap"] == pytest.approx(gap)
    one = extract_features(tiny_clip, toy_data, 1, PATCH, "banana")
    only_target = compute_embedding_metrics(one, torch.tensor([1]), 1)
    assert set(only_target) == {"modality_gap", "alignment"}, "no pair of images, and none outside the target class"
    assert max(compute_feature_shifts(result, result)["image"]) == pytest.approx(0, abs=1e-6)
    assert "triggered" not in compute_feature_shifts(clean, clean)


def test_extracted_captions_are_those_of_the_labeled_images(tiny_clip: Clip, partly_labeled: TensorData) -> None:
    result = extract_features(tiny_clip, partly_labeled, 8, None, None)
    rows = [1, 2, 4, 5, 7, 8, 10, 11]
    with torch.no_grad():
        images = tiny_clip.encode_image(partly_labeled.images(rows))
        captions = tiny_clip.encode_text([partly_labeled.captions[row] for row in rows])
    assert torch.allclose(result.image, images, atol=1e-5)
    assert torch.allclose(result.caption, captions, atol=1e-5)
