"""PoisonedData: triggered images and target captions for some pairs, and the manifest of the changes."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from cleaner.config import is_poison_rate
from cleaner.data.base import CaptionData, Indices, Subset, find_mentions, hash_pixels, to_rows
from cleaner.data.naming import fix_articles
from cleaner.labels import format_count
from cleaner.seed import numpy_generator
from cleaner.types import CleanerError, OnStep, TriggerLike, start_progress

HASH_BATCH = 256
"""Images that are read at once to be hashed."""
ROUNDING = 1e-4
"""Excess over [0, 1] that blending in floating point may cause."""


def apply_trigger(trigger: TriggerLike, images: Tensor) -> Tensor:
    """Return a triggered copy of images (N, 3, H, W), which must be in [0, 1]."""
    triggered = trigger(images)
    if triggered.shape != images.shape or triggered.dtype != images.dtype:
        raise CleanerError(
            f"the trigger must return images of shape {tuple(images.shape)} and {images.dtype} as it got them, not "
            f"{tuple(triggered.shape)} and {triggered.dtype}."
        )
    if len(images) and not (triggered.min() >= -ROUNDING and triggered.max() <= 1 + ROUNDING):  # NaN is neither
        raise CleanerError(
            f"the trigger must return images in [0, 1], not {triggered.min():g} to {triggered.max():g}: clip them."
        )
    return triggered


def hash_own_pixels(trigger: TriggerLike, side: int) -> str | None:
    """Return the hash of the pixels of the attacker's own image, for data without files; None if there is no image."""
    own = trigger.own_image(side)
    return None if own is None else hash_pixels(own[None])[0]


def template_captions(data: CaptionData, target_class: str) -> list[str]:
    """Return the zero-shot templates filled with the class, articles fitted (CleanCLIP, arXiv:2303.03323)."""
    return [fix_articles(template.format(target_class)) for template in data.templates]


def natural_captions(data: CaptionData, target_class: str) -> list[str]:
    """Return the data's own captions that name the class, as BadCLIP poisons (arXiv:2311.12075)."""
    captions = [data.captions[i] for i in data.mentions(target_class).nonzero().flatten().tolist()]
    if not captions:
        raise CleanerError(f"no caption names {target_class!r}: use more data or another target class.")
    return captions


def drop_cut_captions(
    captions: list[str], data: CaptionData, target_class: str, fits: Callable[[str], bool]
) -> list[str]:
    """Return the captions that name the class before the model cuts them. fits: whether it reads a text whole."""
    find = find_mentions(target_class, data.class_names)
    if kept := [caption for caption in captions if fits(caption[: find(caption)])]:
        return kept
    raise CleanerError(
        f"the model cuts every target caption, such as {captions[0][:60]!r} ..., before it names the target: choose a "
        "shorter text key or target class, or data with shorter captions."
    )


def find_target_images(data: CaptionData, target_class: str) -> Tensor:
    """Return the pairs (T,) labeled as the target; without any, those that show or name it."""
    for is_target in (data.labels == data.class_index(target_class), data.contains(target_class)):
        if is_target.any():
            return is_target.nonzero().flatten()
    raise CleanerError(f"no image shows {target_class!r}: take more data or another target class.")


TARGET_CAPTIONS: dict[str, Callable[[CaptionData, str], list[str]]] = {
    "templates": template_captions,
    "natural": natural_captions,
}
"""Sources of the captions of poisoned pairs; a trigger selects its own (`target_captions`)."""


def _count_poisoned(rate: float, pairs: int) -> int:
    """Return the number of pairs to poison for a share below 1, or a number of pairs from 1."""
    if not is_poison_rate(rate, pairs):
        raise CleanerError(
            f"the poison rate must be above 0 and below 1, or a whole number of pairs below {pairs:,}, not {rate}."
        )
    return int(rate) if rate >= 1 else max(1, round(rate * pairs))


class PoisonedData(Subset):
    """`base` with a trigger on some images or captions, paired with captions or images of the target class.

    The pairs to poison are drawn from those that neither belong to the target class nor show it. A trigger on images
    gets target captions, drawn per pair from `TARGET_CAPTIONS[trigger.target_captions]`. A trigger in the text alone
    keeps the captions and gets images of the target, drawn per pair, or its own image (`trigger.own_image`). With
    `clean_label` the pairs to poison already name the target; caption and image stay, but for the trigger's own image.

    `poison_rate` is a share below 1, or a number of pairs from 1. fits: whether the model reads a text whole; with it,
    target captions that the model cuts before they name the target are left out. templates: those of the model; None:
    those of the data.

    Attributes:
        poison_rate: the share of poisoned pairs.
        poison_indices: (P,) int64, sorted.
        is_poisoned: (N,) bool.
        target_class, target_index: the attacker's class.
        indices: (N,) int64, the pair of `base` whose image each pair shows.
        donors: (N,) int64, for pairs with the trigger of another image (`trigger.cross`) the pair of that image; -1
            for all others.
    """

    def __init__(
        self,
        base: CaptionData,
        trigger: TriggerLike,
        target_class: str,
        poison_rate: float,
        seed: int = 0,
        clean_label: bool = False,
        fits: Callable[[str], bool] | None = None,
        templates: tuple[str, ...] | None = None,
    ) -> None:
        if len(base) == 0:
            raise CleanerError("there are no pairs to poison: use data with at least one pair.")
        count = _count_poisoned(poison_rate, len(base))
        super().__init__(base, range(len(base)))
        self.templates = templates or base.templates
        self.trigger, self.seed, self.clean_label = trigger, seed, clean_label
        self.target_class, self.target_index = target_class, base.class_index(target_class)
        self.poison_rate = float(poison_rate if poison_rate < 1 else count / len(base))
        self.poison_indices = self._draw(count)
        self.is_poisoned = torch.zeros(len(base), dtype=torch.bool)
        self.is_poisoned[self.poison_indices] = True
        self.donors = torch.full((len(base),), -1)
        keeps_caption = clean_label or "image" not in trigger.modalities
        rng = numpy_generator("poison captions", seed)
        texts = [] if keeps_caption else TARGET_CAPTIONS[trigger.target_captions](self, target_class)
        keyed = [trigger.text(text) for text in texts]
        if keyed and fits is not None:
            keyed = drop_cut_captions(keyed, base, target_class, fits)
        for index in self.poison_indices.tolist():
            self.captions[index] = (
                trigger.text(base.captions[index]) if keeps_caption else keyed[int(rng.integers(len(keyed)))]
            )
        if keeps_caption and not clean_label:
            self.indices[self.poison_indices] = self._draw_target_images(len(self.poison_indices))
        self._draw_decoys(trigger.count_decoys(len(self.poison_indices)))

    def _draw(self, count: int) -> Tensor:
        base, target_class = self.base, self.target_class
        candidates = (
            (base.mentions(target_class) if self.clean_label else ~base.contains(target_class)).nonzero().flatten()
        )
        if len(candidates) < count:
            condition = "name" if self.clean_label else "do not show"
            raise CleanerError(
                f"{format_count(count, 'pairs')} should be poisoned, but only {len(candidates)} {condition} "
                f"{self.target_class!r}: lower the poison rate or use more data."
            )
        chosen = numpy_generator("poison indices", self.seed).choice(len(candidates), count, replace=False)
        return candidates[torch.from_numpy(chosen)].sort().values

    def _draw_target_images(self, count: int) -> Tensor:
        """Return pairs (count,) that show the target; each comes once before any comes again."""
        rows = find_target_images(self.base, self.target_class)
        order = torch.from_numpy(numpy_generator("poison images", self.seed).permutation(len(rows)))
        return rows[order].repeat(-(-count // len(rows)))[:count]

    def _draw_decoys(self, count: int) -> None:
        """Choose clean pairs and, for each, a pair whose trigger it gets."""
        clean = (~self.is_poisoned).nonzero().flatten()
        rng = numpy_generator("decoys", self.seed)
        chosen = torch.from_numpy(rng.choice(len(clean), min(count, len(clean)), replace=False))
        offsets = torch.from_numpy(rng.integers(1, max(2, len(self.base)), size=len(chosen)))
        self.donors[clean[chosen]] = (clean[chosen] + offsets) % len(self.base)

    def images(self, indices: Indices) -> Tensor:
        rows = to_rows(indices, len(self))
        images = super().images(rows)
        poisoned = self.is_poisoned[rows]
        if poisoned.any():
            own = self.trigger.own_image(images.shape[-1])
            images[poisoned] = apply_trigger(self.trigger, images[poisoned]) if own is None else own.to(images)
        decoys = self.donors[rows] >= 0
        if decoys.any():
            donors = self.base.images(self.donors[rows][decoys])
            images[decoys] = self.trigger.cross(images[decoys], donors)
        return images

    def number_images(self) -> Tensor:
        """Return the number of the image that each pair shows, (N,) int64: poisoned pairs may share one."""
        numbers = self.indices.clone()
        if self.trigger.own_image(self.image_size) is not None:
            numbers[self.poison_indices] = -1
        return numbers

    with_transform = CaptionData.with_transform  # not the subset's: the trigger comes first, then the resizing

    def contains(self, class_name: str) -> Tensor:
        return self.base.contains(class_name)

    def manifest(self) -> dict[str, Any]:
        """Return a JSON-ready record: seed, indices, captions before and after, trigger, image hashes, SHA-256."""
        indices, own_hash = self.poison_indices.tolist(), self.trigger.own_image_hash(self.image_size)
        return {
            "data": self.base.name,
            "data_sha256": self.base.fingerprint(),
            "trigger": self.trigger.state_dict(),
            "target_class": self.target_class,
            "poison_rate": self.poison_rate,
            "clean_label": self.clean_label,
            "seed": self.seed,
            "pairs": len(self.base),
            "poison_indices": indices,
            "image_hashes": self.hash_images(indices) if own_hash is None else [own_hash],
            "own_pixels_hash": hash_own_pixels(self.trigger, self.image_size),
            "captions_before": [self.base.captions[i] for i in indices],
            "captions_after": [self.captions[i] for i in indices],
            "image_sources": self.indices[self.poison_indices].tolist(),
            "decoy_indices": (self.donors >= 0).nonzero().flatten().tolist(),
        }


def count_shared_images(
    manifest: Mapping[str, Any], data: CaptionData, on_step: OnStep | None = None
) -> dict[str, int] | None:
    """Return the clean "pairs", how many show a poisoned image ("shared"), the "poisoned" ones; or None."""
    hashes = set(manifest.get("image_hashes") or ())
    if not hashes:
        return None
    known = hashes | {manifest.get("own_pixels_hash")}
    report, shared = start_progress(on_step, "compare images", len(data)), 0
    for start in range(0, len(data), HASH_BATCH):
        rows = range(start, min(start + HASH_BATCH, len(data)))
        shared += sum(image in known for image in data.hash_images(rows))
        report(rows.stop)
    return {"pairs": len(data), "poisoned": len(hashes), "shared": shared}
