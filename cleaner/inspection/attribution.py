"""TODO docstring."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData
from cleaner.evaluation.evaluate import validate_eval_data
from cleaner.evaluation.metrics import map_similarity, trigger_share
from cleaner.models.clip import Clip
from cleaner.types import OnStep, StepReport

ATTRIBUTION_BATCH = 32
MAX_MASK_AREA = 0.5
"""A trigger on more than this part of the picture has no place in which a share would mean something."""


@dataclass(frozen=True)
class TriggerAttribution:
    """Share of the positive attribution in the trigger's place, one value for each picture; NaN where none is positive.

    `similarity` is for triggers without a place, all over the picture or in the text alone: the cosine of the maps
    with and without trigger, NaN where one is zero; `clean` and `triggered` are then empty. `area` is the mean part of
    the picture under the trigger: the share of a map that looks everywhere alike.
    """

    clean: list[float]
    triggered: list[float]
    similarity: list[float]
    area: float

    @property
    def is_localized(self) -> bool:
        return 0 < self.area <= MAX_MASK_AREA


def text_feature(clip: Clip, text: str) -> Tensor:
    """Return the unit feature (D,) of a text."""
    with torch.no_grad():
        return clip.encode_text([text])[0]


def compare_maps(clean: Tensor, triggered: Tensor, mask: Tensor) -> TriggerAttribution:
    """Compare maps (N, H, W) of the same pictures without and with trigger; mask: (N, 1, H, W) in [0, 1]."""
    return _summarize_statistics(_compute_map_statistics(clean, triggered, mask))


def _compute_map_statistics(clean: Tensor, triggered: Tensor, mask: Tensor) -> Tensor:
    """Return (4, N): share without and with trigger, similarity of the maps, area of the mask."""
    area = mask.mean(dim=(1, 2, 3))
    return torch.stack(
        [trigger_share(clean, mask), trigger_share(triggered, mask), map_similarity(clean, triggered), area]
    )


def _summarize_statistics(statistics: Tensor) -> TriggerAttribution:
    """Return what `_compute_map_statistics` found on all pictures together: whether there is a place is asked once, of their mean."""
    area = statistics[3].mean().item() if statistics.shape[1] else 0.0
    clean, triggered, similarity, _ = statistics.tolist()
    placed = TriggerAttribution(clean, triggered, [], area)
    return placed if placed.is_localized else TriggerAttribution([], [], similarity, area)


def compare_map_pair(maps: NDArray[np.float32], mask: NDArray[np.float32]) -> TriggerAttribution:
    """Return `compare_maps` of one picture; maps: (2, H, W), without and with trigger; mask: (H, W)."""
    both = torch.from_numpy(maps)
    return compare_maps(both[:1], both[1:], torch.from_numpy(mask)[None, None])


def append_triggered(images: Tensor, trigger: Trigger | None) -> Tensor:
    """Return pictures (N, 3, H, W), and after them the same ones with the trigger, where there is one."""
    return images if trigger is None else torch.cat([images, trigger(images)])


def measure_trigger_attribution(
    clip: Clip,
    explainer: Any,
    data: CaptionData,
    trigger: Trigger,
    target_class: str,
    text: str,
    n: int = 256,
    on_step: OnStep | None = None,
) -> TriggerAttribution:
    """Measure `compare_maps` on the first `n` pictures of `data` whose one class is not the target.

    Raises `CleanerError` if there is none.
    """
    data = validate_eval_data(data, target_class).with_transform(clip.framing)
    other = (data.labels >= 0) & (data.labels != data.class_index(target_class))
    batches = other.nonzero().flatten()[:n].split(ATTRIBUTION_BATCH)
    target, begun, found = text_feature(clip, text), time.perf_counter(), [torch.zeros(4, 0)]
    for done, rows in enumerate(batches, start=1):
        images = data.images(rows)
        maps = [explainer.attribute(clip, x, target) for x in (images, trigger(images))]
        found.append(_compute_map_statistics(maps[0], maps[1], trigger.mask(images)))
        if on_step is not None:
            on_step(StepReport("look", done, len(batches), time.perf_counter() - begun))
    return _summarize_statistics(torch.cat(found, dim=1))


def compute_image_similarities(clip: Clip, images: Tensor, text: str) -> list[float]:
    """Return the cosine of each picture (N, 3, H, W) with one text."""
    with torch.no_grad():
        found: list[float] = (clip.encode_image(images) @ text_feature(clip, text)).tolist()
    return found


def word_attribution(clip: Clip, explainer: Any, caption: str, images: Tensor) -> tuple[list[str], list[list[float]]]:
    """Return the words of a caption, and what each adds to the cosine with each picture (N, 3, H, W).

    `explainer` reads captions; the values of a word's tokens are summed.
    """
    with torch.no_grad():
        features = clip.encode_image(images)
    tokens = clip.token_texts(caption)  # first: some models have none that can be shown
    values = explainer.attribute(clip, [caption] * len(images), features)
    words: list[str] = []
    owners: list[int] = []
    begins = True
    for token in tokens:
        if token and begins:
            words.append("")
        if token:
            words[-1] += token.removesuffix("</w>")
            begins = token.endswith("</w>")
        owners.append(len(words) - 1 if token else -1)
    rows = torch.zeros(len(images), len(words))
    for position, owner in enumerate(owners):
        if owner >= 0:
            rows[:, owner] += values[:, position]
    return [clip.decode_tokens(word) for word in words], rows.tolist()
