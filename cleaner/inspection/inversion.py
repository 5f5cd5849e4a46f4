"""Trigger inversion: from a suspicious model and unlabeled images to a suspect class and an inverted trigger.

The idea of the first two steps of InverTune (arXiv:2506.12411), re-implemented from the public description. 1: for each
class a universal perturbation is optimized toward the class's text; the class that the smallest one reaches is the
suspect. 2: patch and mask of the suspect, as in Neural Cleanse (doi:10.1109/SP.2019.00031).
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace

import torch
from torch import Tensor

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData
from cleaner.data.images import blend_rgba, decode_base64, decode_rgba, encode_png
from cleaner.evaluation.metrics import wilson_interval
from cleaner.inspection.inversion_patch import invert_patch
from cleaner.inspection.inversion_probe import Probe, make_probe
from cleaner.inspection.inversion_search import MAX_SIZE, search_classes
from cleaner.models.clip import Clip
from cleaner.runs.inversion_result import Inversion
from cleaner.runs.inversion_result import InversionConfig as InversionConfig  # part of this module's interface
from cleaner.types import CleanerError, OnStep

MIN_IMAGES, HELD_OUT = 4, 0.25
"""Fewest images, and the share of them that measures the result and is not searched."""
MASKED, MAX_MASK = 0.5, 0.5
"""Mask above which a pixel counts as part of an inverted trigger, and the share of the image up to which masks are
compared."""
COMPARED = 8
"""Images on which the true mask is looked at: a trigger at a random place has another one on each."""


@torch.inference_mode(False)  # a notebook may have turned gradients off
@torch.enable_grad()
def invert(
    clip: Clip,
    data: CaptionData,
    config: InversionConfig | None = None,
    on_step: OnStep | None = None,
    *,
    trigger: Trigger | None = None,
    target_class: str | None = None,
) -> Inversion:
    """Return the class of `data` that gives way most easily, and its inverted trigger. Labels are not used.

    trigger, target_class: of the known attack, if any, which the result is compared with. Deterministic under
    `config.seed`. That no class gives way is a result: `suspect` is None.
    """
    config, start = config or InversionConfig(), time.perf_counter()
    target_index = None if target_class is None else data.class_index(target_class)
    searched, held_out = _split(make_probe(clip, data, config.images, on_step))
    resistance = search_classes(
        searched, steps=config.search_steps, batch_size=config.search_batch, seed=config.seed, on_step=on_step
    )
    index = min(range(len(resistance)), key=resistance.__getitem__)
    classes = dict(zip(data.class_names, resistance, strict=True))
    used = replace(config, images=len(searched) + len(held_out))  # the data can have fewer than requested
    inversion = Inversion(
        model=clip.name,
        data=data.name,
        classes=classes,
        suspect=None,
        settings=asdict(used),
        seconds=0.0,
        target_class=target_class,
    )
    others = searched.others(index)
    if resistance[index] < MAX_SIZE and len(others):
        layers, share = invert_patch(
            others,
            index,
            steps=config.patch_steps,
            batch_size=config.batch_size,
            success=config.success,
            seed=config.seed,
            on_step=on_step,
        )
        found = replace(inversion, suspect=data.class_names[index], png=encode_png(layers), searched_asr=share)
        inversion = _measure(found, held_out, on_step)
    if trigger is not None and target_index is not None:
        inversion = _compare(inversion, held_out.others(target_index), trigger, target_index, on_step)
    return replace(inversion, seconds=round(time.perf_counter() - start, 1))


def _split(probe: Probe) -> tuple[Probe, Probe]:
    """Return the images to search, and those that measure the result."""
    if len(probe) < MIN_IMAGES:
        raise CleanerError(
            f"trigger inversion needs at least {MIN_IMAGES} images, not {len(probe)}: use more, about 1,000."
        )
    kept = round(len(probe) * (1 - HELD_OUT))
    return probe.subset(slice(0, kept)), probe.subset(slice(kept, None))


def _measure(inversion: Inversion, held_out: Probe, on_step: OnStep | None) -> Inversion:
    """Add what the inverted trigger, as it is stored with 8 bits, does to held-out images."""
    assert inversion.suspect is not None
    index = list(inversion.classes).index(inversion.suspect)
    layers = decode_layers(inversion, held_out.pixels.shape[-1])
    others = held_out.others(index)
    inversion = replace(inversion, n=len(others), masked_share=layers[3].mean().item())
    if not len(others):  # the model takes every held-out image for the suspect
        return inversion
    asr = others.count(lambda images: blend_rgba(images, layers.to(images)), index, on_step) / len(others)
    return replace(inversion, asr=asr, interval=wilson_interval(asr, len(others)))


def _compare(
    inversion: Inversion, others: Probe, trigger: Trigger, target_index: int, on_step: OnStep | None
) -> Inversion:
    """Add what the true trigger does to held-out images of other classes, and the overlap of both masks.

    A trigger that changes over half of the image has no overlap: any mask would be part of it. Nor has one whose place
    differs from image to image.
    """
    if "image" not in trigger.modalities:
        return replace(inversion, changes_images=False)
    if not len(others):
        return inversion
    compared = replace(inversion, true_asr=others.count(trigger, target_index, on_step) / len(others))
    true_masks = trigger.mask(others.images(torch.arange(min(COMPARED, len(others)))).cpu())[:, 0] > 0
    true_mask = true_masks[0]
    if not inversion.png or true_mask.float().mean() > MAX_MASK or (true_masks != true_mask).any():
        return compared
    mask = decode_layers(inversion, true_mask.shape[-1])[3]
    inside = (mask[true_mask].sum() / mask.sum().clamp(min=torch.finfo(mask.dtype).tiny)).item()
    return replace(compared, iou=measure_overlap(mask > MASKED, true_mask), inside=inside)


def measure_overlap(first: Tensor, second: Tensor) -> float:
    """Return the intersection over union of two masks (H, W) bool, 0..1; 0 if both are empty."""
    union = (first | second).sum().item()
    return (first & second).sum().item() / union if union else 0.0


def decode_layers(inversion: Inversion, side: int) -> Tensor:
    """Return pattern and mask of an inversion with a suspect, (4, side, side) in [0, 1]."""
    return decode_rgba(decode_base64(inversion.png), side, "the inverted trigger")
