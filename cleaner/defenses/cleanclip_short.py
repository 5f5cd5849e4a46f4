"""CleanCLIP on short true captions: the control for TA-Cleaner's negatives and subtext loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.config import param
from cleaner.defenses.base import DEFENSES, Defense, EpochTexts, TextPlan, draw_pairs
from cleaner.losses import Features, clip_loss, in_modal_loss
from cleaner.text import POSITIVE_STYLES, draw_subtexts


@DEFENSES.register("cleanclip_short")
@dataclass(frozen=True)
class CleanCLIPShort(Defense):
    """Apply CleanCLIP, with the captions of the pairs drawn each epoch replaced by their positive subtext.

    With the same share, style and seed `ta_cleaner` draws the same pairs and positive subtexts.
    """

    label: ClassVar[str] = "CleanCLIP, short captions"
    unpublished: ClassVar[str] = "a control of this project"

    needs_augmentation: ClassVar[bool] = True
    in_modal_weight: float = param(1.0, low=0.0, high=100.0, help="Weight of the in-modal loss.")
    share: float = param(
        0.1,
        label="Share of pairs drawn (K)",
        low=0.001,
        high=1.0,
        step=0.01,
        help="K: share of the captions shortened each epoch.",
    )
    positive: str = param(
        "core",
        label="Style of positive subtexts",
        choices=POSITIVE_STYLES,
        help="relation: keep subject, relation and object where the caption has them; core: often a noun alone.",
    )

    def plan(self, captions: Sequence[str], seed: int) -> TextPlan:
        def texts(epoch: int) -> EpochTexts:
            shortened, skipped = list(captions), 0
            for index in draw_pairs(len(captions), share=self.share, seed=seed, epoch=epoch):
                positive = draw_subtexts(
                    captions[index], seed=seed, epoch=epoch, index=index, n=0, style=self.positive
                ).positive
                if positive is None:
                    skipped += 1
                else:
                    shortened[index] = positive.text
            return EpochTexts(shortened, skipped=skipped)

        return texts

    def losses(self, f: Features) -> dict[str, Tensor]:
        return {"clip_loss": clip_loss(f), "in_modal_loss": self.in_modal_weight * in_modal_loss(f)}
