"""Looking into models: attribution over a test set, features of pictures and texts, the best classes of a picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData
from cleaner.evaluation.evaluate import class_classifier, encode_pictures, encode_texts, keyed_classifier, measurable
from cleaner.evaluation.metrics import (
    alignment,
    feature_shift,
    in_top_k,
    map_similarity,
    modality_gap,
    silhouette,
    trigger_pull,
    trigger_share,
    trustworthiness,
    uniformity,
)
from cleaner.models.clip import Clip
from cleaner.types import OnStep, StepReport

BATCH = 32
LARGE_MASK = 0.5
"""A trigger on more than this part of the picture has no place in which a share would mean something."""


@dataclass(frozen=True)
class Shares:
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
    def has_place(self) -> bool:
        return 0 < self.area <= LARGE_MASK


def about(clip: Clip) -> list[str]:
    """Return what an opened model says of itself, in plain sentences."""
    tower = type(getattr(clip.model, "visual", clip.model)).__name__
    millions = sum(p.numel() for p in clip.model.parameters()) / 1e6
    lines = [
        f"A {tower} of open_clip with {millions:.1f} million parameters. Every weight has its place: none is missing, "
        "none is left over.",
        f"It sees pictures of {clip.image_size} × {clip.image_size} px, normalised with mean "
        f"{', '.join(f'{v:.3f}' for v in clip.mean)} and spread {', '.join(f'{v:.3f}' for v in clip.std)}.",
    ]
    if clip.sigmoid:
        lines.append("It was trained with SigLIP's sigmoid loss: it can be looked at and measured, not finetuned here.")
    stage, target = clip.metadata.get("stage"), clip.metadata.get("target")
    if stage:
        aimed = f", with the target “{target}”" if target and stage == "backdoored" else ""
        lines.append(f"Its file says of itself that it is {stage}{aimed}. Anybody can write that into a file.")
    else:
        lines.append("Its file does not say whether it was ever poisoned.")
    return lines


def text_feature(clip: Clip, text: str) -> Tensor:
    """Return the unit feature (D,) of a text."""
    with torch.no_grad():
        return clip.encode_text([text])[0]


def shares(clean: Tensor, triggered: Tensor, mask: Tensor) -> Shares:
    """Compare maps (N, H, W) of the same pictures without and with trigger; mask: (N, 1, H, W) in [0, 1]."""
    return _judged(_measured(clean, triggered, mask))


def _measured(clean: Tensor, triggered: Tensor, mask: Tensor) -> Tensor:
    """Return (4, N): share without and with trigger, similarity of the maps, area of the mask."""
    area = mask.mean(dim=(1, 2, 3))
    return torch.stack(
        [trigger_share(clean, mask), trigger_share(triggered, mask), map_similarity(clean, triggered), area]
    )


def _judged(found: Tensor) -> Shares:
    """Return what `_measured` found on all pictures together: whether there is a place is asked once, of their mean."""
    area = found[3].mean().item() if found.shape[1] else 0.0
    clean, triggered, similarity, _ = found.tolist()
    placed = Shares(clean, triggered, [], area)
    return placed if placed.has_place else Shares([], [], similarity, area)


def shares_of_pair(maps: NDArray[np.float32], mask: NDArray[np.float32]) -> Shares:
    """Return `shares` of one picture; maps: (2, H, W), without and with trigger; mask: (H, W)."""
    both = torch.from_numpy(maps)
    return shares(both[:1], both[1:], torch.from_numpy(mask)[None, None])


def with_trigger(pictures: Tensor, trigger: Trigger | None) -> Tensor:
    """Return pictures (N, 3, H, W), and after them the same ones with the trigger, where there is one."""
    return pictures if trigger is None else torch.cat([pictures, trigger(pictures)])


def shares_over(
    clip: Clip,
    explainer: Any,
    data: CaptionData,
    trigger: Trigger,
    target_class: str,
    text: str,
    n: int = 256,
    on_step: OnStep | None = None,
) -> Shares:
    """Measure `shares` on the first `n` pictures of `data` whose one class is not the target.

    Raises `CleanerError` if there is none.
    """
    data = measurable(data, target_class).framed(clip.framing)
    other = (data.labels >= 0) & (data.labels != data.class_index(target_class))
    batches = other.nonzero().flatten()[:n].split(BATCH)
    target, begun, found = text_feature(clip, text), time.perf_counter(), [torch.zeros(4, 0)]
    for done, rows in enumerate(batches, start=1):
        images = data.images(rows)
        maps = [explainer.attribute(clip, x, target) for x in (images, trigger(images))]
        found.append(_measured(maps[0], maps[1], trigger.mask(images)))
        if on_step is not None:
            on_step(StepReport("look", done, len(batches), time.perf_counter() - begun))
    return _judged(torch.cat(found, dim=1))


def cosines(clip: Clip, pictures: Tensor, text: str) -> list[float]:
    """Return the cosine of each picture (N, 3, H, W) with one text."""
    with torch.no_grad():
        found: list[float] = (clip.encode_image(pictures) @ text_feature(clip, text)).tolist()
    return found


def word_attribution(clip: Clip, explainer: Any, caption: str, pictures: Tensor) -> tuple[list[str], list[list[float]]]:
    """Return the words of a caption, and what each adds to the cosine with each picture (N, 3, H, W).

    `explainer` reads captions; the values of a word's tokens are summed.
    """
    with torch.no_grad():
        features = clip.encode_image(pictures)
    tokens = clip.token_texts(caption)  # first: some models have none that can be shown
    values = explainer.attribute(clip, [caption] * len(pictures), features)
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
    rows = torch.zeros(len(pictures), len(words))
    for position, owner in enumerate(owners):
        if owner >= 0:
            rows[:, owner] += values[:, position]
    return [clip.spelled(word) for word in words], rows.tolist()


@torch.inference_mode()
def best_classes(
    clip: Clip, data: CaptionData, pictures: Tensor, k: int = 5, classifier: Tensor | None = None
) -> list[list[tuple[str, float, float]]]:
    """Return for each picture (N, 3, H, W) its k best classes as (name, probability, cosine), best first.

    Probability: softmax over the classes of logit_scale * cosine. `classifier` (D, C): of other prompts than the plain
    ones, such as those with a trigger's text key.
    """
    scores = clip.encode_image(pictures).cpu() @ (class_classifier(clip, data) if classifier is None else classifier)
    probabilities = (clip.logit_scale.cpu() * scores).softmax(dim=1)
    top = scores.topk(min(k, scores.shape[1]), dim=1)
    return [
        [(data.class_names[i], probabilities[row, i].item(), value) for i, value in zip(ids, values, strict=True)]
        for row, (ids, values) in enumerate(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    ]


KINDS = ("image", "triggered", "caption", "prompt")
"""What can be put on a map: clean images, the same with trigger, their captions, class prompts."""


@dataclass(frozen=True)
class Layers:
    """Unit features of one model, on the CPU: image, triggered, caption (n, D); prompt (C, D), of the classifier.

    `taken` (n,) bool: the triggered image is taken for the target, as for `Metrics.asr`: with the trigger's text key,
    where it has one, in the prompts. Images of the target are among them. Without a known trigger `triggered` has no
    rows.
    """

    image: Tensor
    triggered: Tensor
    caption: Tensor
    prompt: Tensor
    taken: Tensor

    def stacked(self) -> Tensor:
        """Return all features in the order of `KINDS`."""
        return torch.cat([getattr(self, kind) for kind in KINDS])


def single_object_rows(data: CaptionData, n: int) -> Tensor:
    """Return the first `n` rows of `data` that have one class."""
    return (data.labels >= 0).nonzero().flatten()[:n]


@torch.inference_mode()
def layers(clip: Clip, data: CaptionData, n: int, trigger: Trigger | None, target_class: str | None) -> Layers:
    """Return the features of the first `n` single-class pairs of `data`."""
    rows = single_object_rows(data, n)
    image = encode_pictures(clip, data, rows)
    captions = [data.captions[i] for i in rows.tolist()]
    caption = encode_texts(clip, captions)
    classifier = class_classifier(clip, data)
    triggered, taken = image[:0], torch.zeros(0, dtype=torch.bool)
    if trigger is not None and target_class is not None:
        triggered = encode_pictures(clip, data, rows, trigger)
        keyed = keyed_classifier(clip, data, trigger, classifier)
        taken = in_top_k(triggered, keyed, torch.tensor(data.class_index(target_class)))
    return Layers(image, triggered, caption, classifier.T.contiguous(), taken)


def numbers(found: Layers, labels: Tensor, target: int | None) -> dict[str, float]:
    """Return the figures of METHODS 5 for one model's features; labels: (n,) classes of its images."""
    result = {
        "modality_gap": modality_gap(found.image, found.caption),
        "alignment": alignment(found.image, found.caption),
        "uniformity": uniformity(found.image),
    }
    if target is not None and len(found.triggered):
        other = labels != target
        both = torch.cat([found.image[other], found.triggered[other]])
        side = torch.arange(2).repeat_interleave(int(other.sum()))
        result["trigger_pull"] = trigger_pull(found.image[other], found.triggered[other], found.prompt[target])
        result["silhouette"] = silhouette(both, side)
    return result


def shifts(before: Layers, after: Layers) -> dict[str, list[float]]:
    """Return how far each item of each kind moved between two models (`feature_shift`)."""
    moved = {kind: feature_shift(getattr(before, kind), getattr(after, kind)).tolist() for kind in KINDS}
    return {kind: values for kind, values in moved.items() if values}


def stacked(stages: Sequence[Layers]) -> Tensor:
    """Return the features of several models, one model after the other, each in the order of `KINDS`."""
    return torch.cat([stage.stacked() for stage in stages])


def trust(features: Tensor, places: NDArray[np.float32]) -> float:
    """Return the trustworthiness of a map of features, for 15 neighbours, or as many as so few points allow."""
    return trustworthiness(features, torch.from_numpy(places.copy()), min(15, (len(features) - 1) // 2))
