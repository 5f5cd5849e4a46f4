"""A trigger as numbers that the page can apply: gain * pixel + shift, moved by hand where it covers a part."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cleaner.attacks.base import PatchTrigger, Trigger
from cleaner.data.images import to_uint8
from cleaner.labels import to_attack_label
from cleaner.playground.weights import deflate
from cleaner.registry import TRIGGERS
from cleaner.types import CleanerError

GRAYS = (0.25, 0.5, 0.75)
"""Gray images from which gain and shift are read; a faint pattern clips none of them."""


def describe_trigger(trigger: Trigger | None, pixels: NDArray[np.uint8]) -> dict[str, Any]:
    """Return the `Trigger` of the page, for scenes (N, side, side, 3).

    kind: "patch" (can be moved), "full" (gain and shift of the whole image), or "fixed" (ready triggered scenes).
    Raises `CleanerError` for an unknown trigger, and one that changes no image.
    """
    if trigger is None or "image" not in trigger.modalities:
        raise CleanerError(
            "the playground shows triggers on images, and this run has an unknown one, or one in the caption alone: "
            "choose a run of another attack."
        )
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    label = to_attack_label(TRIGGERS.name_of(trigger))
    at_corner = replace(trigger, position="bottom-right") if isinstance(trigger, PatchTrigger) else trigger
    gain, shift = _measure(at_corner, images.shape[-1])
    expected = to_uint8((gain * images + shift).clamp(0, 1)).astype(int)
    if np.abs(expected - to_uint8(at_corner(images))).max() > 1:
        return {"label": label, "kind": "fixed", "pixels": pack_pixels(to_uint8(trigger(images)))}
    rows, columns = ((gain != 1) | (shift != 0)).any(0).nonzero(as_tuple=True)
    top, left = (int(each.min()) if len(each) else 0 for each in (rows, columns))
    height, width = (int(each.max()) + 1 - start if len(each) else 0 for each, start in ((rows, top), (columns, left)))
    is_patch = 0 < width * height <= images.shape[-1] ** 2 / 2
    places = [[[left, top]]] * len(images)
    if isinstance(trigger, PatchTrigger):
        corners = trigger._patch_corners(images, trigger.scaled_patch_size(images.shape[-1]))
        places = [[[x, y] for y, x in each] for each in corners]
    return {
        "label": label,
        "kind": "patch" if is_patch else "full",
        "width": width,
        "height": height,
        "gain": _pack_box(gain[:, top : top + height, left : left + width]),
        "shift": _pack_box(shift[:, top : top + height, left : left + width]),
        "places": places,
    }


def _measure(trigger: Trigger, side: int) -> tuple[Tensor, Tensor]:
    """Return gain and shift (3, side, side) of a trigger on gray images."""
    low, middle, high = (trigger(torch.full((1, 3, side, side), gray))[0] for gray in GRAYS)
    gain = (high - low) / (GRAYS[2] - GRAYS[0])
    return gain, middle - GRAYS[1] * gain


def _pack_box(box: Tensor) -> str:
    return deflate(box.permute(1, 2, 0).contiguous().numpy().astype("<f4").tobytes())


def pack_pixels(pixels: NDArray[np.uint8]) -> str:
    """Return images (N, side, side, 3) as base64 of deflated differences to the pixel on the left."""
    return deflate(np.diff(pixels, axis=2, prepend=np.uint8(0)).tobytes())
