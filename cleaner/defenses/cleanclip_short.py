"""CleanCLIP on short true captions: the control for TA-Cleaner's negatives and subtext loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from cleaner.config import param
from cleaner.defenses.base import DEFENSES, Defense, DrawnTexts, EpochTexts, TextPlan, draw_pairs
from cleaner.losses import Features, clip_loss, in_modal_loss
from cleaner.text import POSITIVE_STYLES, draw_subtexts
from cleaner.types import OnStep


@dataclass(frozen=True)
class _Shortened(Sequence[str]):
    """Captions, some of them replaced."""

    captions: Sequence[str]
    replaced: Mapping[int, str]

    def __getitem__(self, index: Any) -> Any:
        return self.replaced.get(index) or self.captions[index]

    def __len__(self) -> int:
        return len(self.captions)


@DEFENSES.register("cleanclip_short")
@dataclass(frozen=True)
class CleanCLIPShort(Defense):
    """Apply CleanCLIP, with positive subtexts in place of the captions of the pairs drawn each epoch.

    With the same share, style and seed `ta_cleaner` draws the same pairs and positive subtexts, but for pairs whose
    caption has no negative subtext, which it skips (4 of 5,000 web captions, none of Scenes).
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

    def plan(self, captions: Sequence[str], seed: int, on_step: OnStep | None = None) -> TextPlan:
        def texts(epoch: int) -> EpochTexts:
            def make(index: int) -> str | None:
                pair = draw_subtexts(captions[index], seed=seed, epoch=epoch, index=index, n=0, style=self.positive)
                return None if pair.positive is None else pair.positive.text

            positives = DrawnTexts(draw_pairs(len(captions), share=self.share, seed=seed, epoch=epoch), make)
            return EpochTexts(_Shortened(captions, positives))

        return texts

    def losses(self, f: Features) -> dict[str, Tensor]:
        return {"clip_loss": clip_loss(f), "in_modal_loss": self.in_modal_weight * in_modal_loss(f)}
