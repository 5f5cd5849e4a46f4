"""Attribution over a test set: the share of it on the trigger; and the attribution of a caption's words."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData
from cleaner.evaluation.encode import Encoder
from cleaner.evaluation.evaluate import validate_eval_data
from cleaner.evaluation.metrics import map_similarity, trigger_share
from cleaner.explain.base import limit_batch
from cleaner.inspection.similarity import text_feature
from cleaner.models.clip import Clip
from cleaner.types import OnStep, StepReport, start_progress

ATTRIBUTION_BATCH = 32
MAX_MASK_AREA = 0.5
"""A trigger on a larger part of the image is not localized, and a share inside it means nothing."""


@dataclass(frozen=True)
class TriggerAttribution:
    """Share of the positive attribution inside the trigger, for each image; NaN where none is positive.

    Triggers that are not localized (on the whole image, or in the text only) have `similarity` instead, the cosine of
    the maps with and without trigger, NaN where one is zero; `clean` and `triggered` are then empty. `area` is the mean
    share of the image that the trigger covers, which is also the share of a uniform map.
    """

    clean: list[float]
    triggered: list[float]
    similarity: list[float]
    area: float

    @property
    def is_localized(self) -> bool:
        return 0 < self.area <= MAX_MASK_AREA


def _compute_map_statistics(clean: Tensor, triggered: Tensor, *, mask: Tensor) -> Tensor:
    """Return (4, N): share without and with trigger, similarity of the maps (N, H, W), area of mask (N, 1, H, W)."""
    area = mask.mean(dim=(1, 2, 3))
    return torch.stack(
        [trigger_share(clean, mask), trigger_share(triggered, mask), map_similarity(clean, triggered), area]
    )


def _summarize_statistics(statistics: Tensor) -> TriggerAttribution:
    """Summarize `_compute_map_statistics` (4, N); the mean area decides whether the trigger is localized."""
    area = statistics[3].mean().item() if statistics.shape[1] else 0.0
    clean, triggered, similarity, _ = statistics.tolist()
    localized = TriggerAttribution(clean, triggered, [], area)
    return localized if localized.is_localized else TriggerAttribution([], [], similarity, area)


def compare_map_pair(maps: NDArray[np.float32], mask: NDArray[np.float32]) -> TriggerAttribution:
    """Compare the maps (2, H, W) of one image without and with trigger; mask: (H, W) in [0, 1]."""
    pair = torch.from_numpy(maps)
    return _summarize_statistics(_compute_map_statistics(pair[:1], pair[1:], mask=torch.from_numpy(mask)[None, None]))


def append_triggered(images: Tensor, trigger: Trigger | None) -> Tensor:
    """Return images (N, 3, H, W), followed by the same images with the trigger, if one changes images."""
    if trigger is None or "image" not in trigger.modalities:
        return images
    return torch.cat([images, trigger(images)])


def measure_trigger_attribution(
    clip: Clip,
    explainer: Any,
    data: CaptionData,
    trigger: Trigger,
    target_class: str | None,
    text: str,
    n: int = 256,
    on_step: OnStep | None = None,
) -> TriggerAttribution:
    """Compare the maps of the first `n` single-class images other than the target's."""
    data = validate_eval_data(data, target_class).with_transform(clip.framing)
    is_other = (data.labels >= 0) & (data.labels != (-1 if target_class is None else data.class_index(target_class)))
    batches = is_other.nonzero().flatten()[:n].split(limit_batch(clip, ATTRIBUTION_BATCH))
    target, statistics = text_feature(clip, text), [torch.zeros(4, 0)]
    report = start_progress(on_step, "attribution", len(batches))

    def on_pass(_: StepReport) -> None:
        report(len(statistics) - 1)  # again, as the callback may cancel: a batch can take a minute

    for done, rows in enumerate(batches, start=1):
        images = data.images(rows)
        maps = [explainer.attribute(clip, x, target, on_pass) for x in (images, trigger(images))]
        statistics.append(_compute_map_statistics(maps[0], maps[1], mask=trigger.mask(images)))
        report(done)
    return _summarize_statistics(torch.cat(statistics, dim=1))


def word_attribution(
    clip: Clip, explainer: Any, caption: str, images: Tensor, on_step: OnStep | None = None
) -> tuple[list[str], list[list[float]]]:
    """Return a caption's words and for each image (N, 3, H, W) their attribution, summed over tokens."""
    tokens = clip.token_texts(caption)  # first: it raises for a tokenizer whose tokens cannot be shown
    features = Encoder(clip).encode_image(images)
    values = explainer.attribute(clip, [caption] * len(images), features, on_step)
    words, word_of = _join_tokens(tokens)
    rows = torch.zeros(len(images), len(words))
    for position, word in enumerate(word_of):
        if word is not None:
            rows[:, word] += values[:, position]
    return [clip.decode_tokens(word) for word in words], rows.tolist()


def _join_tokens(tokens: list[str]) -> tuple[list[str], list[int | None]]:
    """Return the words that CLIP's tokens form, and the index of each token's word; None for special tokens ("")."""
    words: list[str] = []
    word_of: list[int | None] = []
    is_word_start = True
    for token in tokens:
        if token and is_word_start:
            words.append("")
        if token:
            words[-1] += token.removesuffix("</w>")
            is_word_start = token.endswith("</w>")
        word_of.append(len(words) - 1 if token else None)
    return words, word_of
