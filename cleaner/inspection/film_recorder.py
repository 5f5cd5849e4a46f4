"""Record the film of a training: what its model makes of a few probe images at the steps of `frame_steps`."""

import io
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData
from cleaner.data.images import to_uint8
from cleaner.evaluation.encode import Encoder
from cleaner.explain.base import EXPLAINERS
from cleaner.inspection.projection import fit_pca
from cleaner.models.clip import Clip
from cleaner.runs.film import Axes, Film

PROBE_IMAGES, GALLERY_IMAGES, ATTENTION_IMAGES = 100, 24, 4
MIN_IMAGES = 4
"""Fewest probe images: a projection needs four points."""
TOP_CLASSES = 3
EXPLAINERS_OF_FILM: tuple[tuple[str, dict[str, int]], ...] = (
    ("gradient_rollout", {}),
    ("integrated_gradients", {"steps": 8}),
)
"""Explainers with their settings, for vision transformers and for other models, that cost a few backward passes.

GradCAM is cheaper, but misses a small trigger: 0.08 of the attribution inside the patch of the shipped example, 0.50
with integrated gradients.
"""
ATTENTION_CELLS = 32
"""Most cells along a side of a stored attribution."""
MAX_PROMPTS = 1024
"""Most prompts that a frame encodes; with more, each class has fewer templates, at least one."""
MAX_IMAGE_SIDE = 128
"""Most pixels along a side of a stored image."""
IMAGE_QUALITY = 85
Frame = dict[str, Tensor]


@dataclass
class FilmRecorder:
    """Keeps frames of one training; a `training.frames.Recorder`.

    Attributes:
        trigger: None for an unknown attack, and for a trigger in the text alone: a film shows no captions.
        images, triggered: (P, 3, H, W) in [0, 1], probe images as the model sees them; triggered: None without trigger.
        gallery: positions of the gallery's images.
        frames: step -> features of clean images, triggered images and prompts, best classes, attribution.
    """

    data: CaptionData
    trigger: Trigger | None
    target: int | None
    labels: list[int]
    images: Tensor
    triggered: Tensor | None
    gallery: list[int]
    frames: dict[int, Frame]

    def take(self, clip: Clip, step: int) -> None:
        """Keep a frame of `clip`; neither its state nor any random stream changes."""
        clip = self._limit_templates(clip)
        encoder = Encoder(clip, use_store=False)
        with torch.inference_mode():
            plain = encoder.build_classifier(self.data)
            shown = self.images if self.triggered is None else torch.cat([self.images, self.triggered])
            features = encoder.encode_image(shown)
        clean, triggered = features[: len(self.labels)], features[len(self.labels) :]
        keyed = encoder.build_classifier(self.data, self.trigger, plain=plain)
        seen, classifier = (clean, plain) if self.triggered is None else (triggered, keyed)
        scores = seen[self.gallery] @ classifier
        top = (clip.logit_scale.detach().cpu() * scores).softmax(1).topk(min(TOP_CLASSES, scores.shape[1]), dim=1)
        self.frames[step] = {
            "clean": clean.half(),
            "triggered": triggered.half(),
            "prompts": plain.T[self.prompts].half(),
            "clean_classes": _best_classes(clean, plain),
            "triggered_classes": _best_classes(triggered, keyed),
            "gallery_classes": top.indices.int(),
            "gallery_scores": top.values.half(),
            "attention": self._explain(clip, classifier.T[top.indices[:ATTENTION_IMAGES, 0]]),
        }

    def state(self) -> dict[str, Any]:
        """Return the frames so far."""
        return {str(step): dict(frame) for step, frame in self.frames.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the frames that `state` returned."""
        self.frames = {int(step): {name: value.cpu() for name, value in frame.items()} for step, frame in state.items()}

    @cached_property
    def prompts(self) -> list[int]:
        """Classes whose prompts are on the map: those of the probe images, and the target."""
        return sorted({*self.labels, *([] if self.target is None else [self.target])})

    @property
    def shown_images(self) -> Tensor:
        """Images that gallery and attention show: triggered, or clean without a trigger on images."""
        return self.images if self.triggered is None else self.triggered

    def _limit_templates(self, clip: Clip) -> Clip:
        templates = clip.templates or self.data.templates
        kept = max(1, MAX_PROMPTS // len(self.data.class_names))
        return clip if kept >= len(templates) else replace(clip, templates=tuple(templates[:kept]))

    def _explain(self, clip: Clip, targets: Tensor) -> Tensor:
        """Return (A, h, w) uint8, the attribution of the similarity to `targets` (A, D), each scaled to its maximum."""
        explainer = find_explainer(clip)
        images = self.shown_images[self.gallery[: len(targets)]]
        maps = explainer.attribute(clip, images, targets)
        cells = min(ATTENTION_CELLS, maps.shape[-1])
        maps = F.adaptive_avg_pool2d(maps[:, None], cells)[:, 0].clamp(min=0).nan_to_num()
        return (255 * maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)).round().byte()

    def finish(self, clip: Clip, total: int, suspect: Film | None = None) -> Film | None:
        """Return the film, on the axes of `suspect`'s film if it fits, else on two main directions of its own."""
        if not self.frames:
            return None
        steps = sorted(self.frames)
        stacked = {name: torch.stack([self.frames[step][name] for step in steps]) for name in self.frames[steps[0]]}
        width = stacked["clean"].shape[-1]
        axes = suspect.axes if suspect is not None and len(suspect.axes.center) == width else fit_axes(stacked)
        features = torch.cat([stacked["clean"], stacked["triggered"], stacked["prompts"]], dim=1).float()
        points = axes.project(features.flatten(0, 1).numpy()).reshape(*features.shape[:2], 2)
        names = ("clean_classes", "triggered_classes", "gallery_classes", "gallery_scores", "attention")
        return Film(
            steps=steps,
            total=total,
            data=self.data.name,
            labels=self.labels,
            class_names=list(self.data.class_names),
            target=self.target,
            prompts=self.prompts,
            gallery=self.gallery,
            explainer=find_explainer(clip).label,
            images=[_encode_webp(self.shown_images[i]) for i in self.gallery],
            axes=axes,
            points=points.astype(np.float16),
            **{name: stacked[name].numpy() for name in names},
        )


def make_recorder(
    clip: Clip, data: CaptionData, trigger: Trigger | None, target_class: str | None
) -> FilmRecorder | None:
    """Return a recorder on the first single-class images; None if too few. `trigger` is prepared."""
    data = data.with_transform(clip.framing)
    rows = data.labeled_rows(PROBE_IMAGES)
    if not data.class_names or len(rows) < MIN_IMAGES:
        return None
    labels = data.labels[rows].tolist()
    target = data.class_index(target_class) if trigger is not None and target_class is not None else None
    if target is None or (trigger is not None and "image" not in trigger.modalities):
        trigger = None
    gallery = choose_gallery(labels, target)
    if not gallery:
        return None
    images = data.images(rows)
    triggered = None if trigger is None else trigger(images)
    find_explainer(clip)  # imports its packages before the training, which is timed
    return FilmRecorder(data, trigger, target, labels, images, triggered=triggered, gallery=gallery, frames={})


def choose_gallery(labels: list[int], target: int | None) -> list[int]:
    """Return positions of images that are not of the target: the first of each class, the second of each, ..."""
    seen: dict[int, int] = {}
    ranks = []
    for position, label in enumerate(labels):
        if label != target:
            seen[label] = seen.get(label, 0) + 1
            ranks.append((seen[label], position))
    return [position for _, position in sorted(ranks)[:GALLERY_IMAGES]]


def find_explainer(clip: Clip) -> Any:
    """Return the attribution method for a model."""
    explainers = (EXPLAINERS[name](**settings) for name, settings in EXPLAINERS_OF_FILM)
    return next(explainer for explainer in explainers if explainer.unsupported_reason(clip) is None)


def fit_axes(frames: dict[str, Tensor]) -> Axes:
    """Return the two directions of largest variance of the images of all frames, and their center."""
    images = torch.cat([frames["clean"].flatten(0, 1), frames["triggered"].flatten(0, 1)]).float()
    center, directions = fit_pca(F.normalize(images, dim=-1))
    return Axes(center.numpy(), directions.numpy())


def _best_classes(features: Tensor, classifier: Tensor) -> Tensor:
    """Return (N,) int32 best classes; -1 where scores are not finite."""
    scores = F.normalize(features, dim=-1) @ classifier
    return torch.where(scores.isfinite().all(1), scores.topk(1, dim=1).indices[:, 0], -1).int()


def _encode_webp(image: Tensor) -> bytes:
    """Return an image (3, H, W) in [0, 1] as a WebP file of at most `MAX_IMAGE_SIDE` px."""
    picture = Image.fromarray(to_uint8(image[None])[0])
    picture.thumbnail((MAX_IMAGE_SIDE, MAX_IMAGE_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=IMAGE_QUALITY)
    return buffer.getvalue()
