"""A picture file as patch: a user's suspicion, or a published trigger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.attacks.base import TRIGGERS, FileTrigger, PatchTrigger
from cleaner.config import param


@TRIGGERS.register("patch_image")
@dataclass(frozen=True)
class PatchImage(FileTrigger, PatchTrigger):
    """Paste a picture of your own, cut to its middle square."""

    label: ClassVar[str] = "Your picture as patch"
    unpublished: ClassVar[str] = "the picture is yours"

    scale_before_resize: bool = param(
        True,
        help="On: the patch was put on pictures that were resized afterwards, so it scales with them. "
        "Off: the patch size counts pixels of the picture as the model sees it.",
    )

    def scaled_patch_size(self, side: int) -> int:
        """Return p: scaled, or the patch size as it stands."""
        return super().scaled_patch_size(side) if self.scale_before_resize else self.patch_size

    def patch(self, side: int) -> Tensor:
        """Return the picture (3, p, p)."""
        return self.load_image(self.scaled_patch_size(side))
