"""The control that keeps the captions: registered by importing this file, in the process that measures only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from cleaner.defenses import DEFENSES
from cleaner.defenses.ta_cleaner import TACleaner
from cleaner.losses import Features, clip_loss, in_modal_loss, subtext_loss


@DEFENSES.register("cleanclip_both")
@dataclass(frozen=True)
class CleanCLIPBoth(TACleaner):
    """CleanCLIP on the captions, plus CLIP's loss on the positive subtexts of the drawn pairs: no false texts."""

    label: ClassVar[str] = "CleanCLIP, short captions too"

    def losses(self, f: Features) -> dict[str, Tensor]:
        positives_only = replace(f, negative=None, negative_mask=None)
        # Two of the three terms of the subtext loss are CLIP's on the subtexts; the third is left out.
        short = 1.5 * subtext_loss(positives_only, text_to_text=False)
        return {
            "clip_loss": clip_loss(f),
            "in_modal_loss": self.in_modal_weight * in_modal_loss(f),
            "subtext_loss": self.subtext_weight * short,
        }
