"""Finetuning on clean pairs, some of whose images carry the inverted trigger: it no longer means anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.config import param
from cleaner.data.base import CaptionData
from cleaner.data.images import blend_rgba, decode_base64, decode_rgba, encode_base64, read_image_file
from cleaner.defenses.base import DEFENSES, Defense
from cleaner.files import resolve_path
from cleaner.losses import Features, clip_loss
from cleaner.models.clip import Clip
from cleaner.seed import numpy_generator


@DEFENSES.register("unlearn_trigger")
@dataclass(frozen=True)
class UnlearnTrigger(Defense):
    """Finetune on clean pairs, and put the inverted trigger on some of the images, which keep their true captions.

    clip_loss; each image carries the trigger with probability `triggered_share`, and each epoch draws again which do.
    The idea is that of InverTune's third step (arXiv:2506.12411), the form is our own.
    """

    label: ClassVar[str] = "Unlearn inverted trigger"
    unpublished: ClassVar[str] = "our own form of an idea of InverTune (arXiv:2506.12411)"

    needs_inversion: ClassVar[bool] = True
    path: str = param(
        "",
        label="Inverted trigger",
        is_path=True,
        help="PNG file that `python -m cleaner invert` wrote. Empty: the stored inversion of the suspect.",
    )
    triggered_share: float = param(
        0.5, low=0.01, high=1.0, step=0.01, help="Share of the images of an epoch that carry the inverted trigger."
    )
    png: str = ""
    """The file's content in base64: a run that was moved needs no other file."""
    png_path: str = ""
    """`path` of the file in `png`: another path is read again."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path and (not self.png or resolve_path(self.png_path) not in ("", self.path)):
            object.__setattr__(self, "png", encode_base64(read_image_file(self.path)))
            object.__setattr__(self, "png_path", self.path)

    def unsupported_reason(self, clip: Clip, data: CaptionData) -> str | None:
        if not self.png:
            return (
                "unlearn_trigger needs an inverted trigger: find one with python -m cleaner invert, or give its file "
                "(path=trigger.png)."
            )
        return super().unsupported_reason(clip, data)

    def perturb(self, images: Tensor, seed: int, epoch: int, indices: Sequence[int]) -> Tensor:
        draws = [numpy_generator("unlearn", seed, epoch, index).random() for index in indices]
        is_triggered = torch.tensor(draws, dtype=torch.float64) < self.triggered_share
        layers = _decode_trigger(self.png, images.shape[-1]).to(images)
        return torch.where(is_triggered.to(images.device).view(-1, 1, 1, 1), blend_rgba(images, layers), images)

    def losses(self, f: Features) -> dict[str, Tensor]:
        return {"clip_loss": clip_loss(f)}


@lru_cache(maxsize=1)
def _decode_trigger(png: str, side: int) -> Tensor:
    """Return pixels and opacity (4, side, side) of a trigger; each batch needs them."""
    return decode_rgba(decode_base64(png), side, "the inverted trigger")
