"""TA-Cleaner / CleanerCLIP: CleanCLIP plus fine-grained alignment with subtexts (arXiv:2409.17601).

Reimplemented from the public description: the paper's weights, K, parser and vocabulary are not public.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from cleaner.config import param
from cleaner.data.base import CaptionData
from cleaner.defenses.base import DEFENSES, Defense, DrawnTexts, EpochTexts, TextPlan, draw_pairs
from cleaner.losses import Features, clip_loss, in_modal_loss, reviewed_subtext_loss, subtext_loss
from cleaner.method import CLEANCLIP_TRAINING, Preset
from cleaner.models.clip import Clip
from cleaner.text import POSITIVE_STYLES, SubtextPair, Vocabulary, draw_subtexts
from cleaner.types import CleanerError, OnStep, start_progress

REPORT_CAPTIONS = 2000
"""Captions between two reports of progress; reading as many takes about a second."""


@DEFENSES.register("ta_cleaner")
@dataclass(frozen=True)
class TACleaner(Defense):
    """Add to CleanCLIP a loss that contrasts short true texts of the image with slightly false ones.

    clip_loss + in_modal_weight * in_modal_loss + subtext_weight * subtext_loss.
    Each epoch draws K = `share` of the pairs at random, with a new positive and `negatives` new negative subtexts for
    each. A caption that yields no subtext is skipped and counted. `formula` is this project's subtext loss or the one
    that the paper's reviewers describe, which takes one negative per pair.
    """

    label: ClassVar[str] = "TA-Cleaner"
    source: ClassVar[str] = "arXiv:2409.17601"
    is_reimplemented: ClassVar[bool] = True
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source="arXiv:2409.17601: CleanCLIP's losses, and new subtexts of a few pairs each epoch. K 10% is this "
            "project's choice, the training is CleanCLIP's.",
            parameters={"share": 0.1},
            training=CLEANCLIP_TRAINING,
            unstated="K, weights, number of negatives, training",
        ),
    )

    retired: ClassVar[Mapping[str, Any]] = {
        "positive_temperature": 0.0,
        "negative_temperature": 0.0,
        "contrast": "both",
        "text_to_text": True,
        "held_out": "none",
        "lexicon": "shipped",
    }
    needs_augmentation: ClassVar[bool] = True
    subtext_weight: float = param(1.0, low=0.0, high=100.0, help="Weight of the subtext loss.")
    in_modal_weight: float = param(1.0, low=0.0, high=100.0, help="Weight of the in-modal loss.")
    share: float = param(
        0.1,
        label="Share of pairs drawn (K)",
        low=0.001,
        high=1.0,
        step=0.01,
        help="K: share of the pairs drawn each epoch.",
    )
    negatives: int = param(3, low=1, high=10, help="n: negative subtexts per drawn pair.")
    positive: str = param(
        "core",
        label="Style of positive subtexts",
        choices=POSITIVE_STYLES,
        help="relation: keep subject, relation and object where the caption has them; core: often a noun alone.",
    )
    formula: str = param(
        "ours",
        choices=("ours", "reviewed"),
        help="Subtext loss: this project's, or as the paper's reviewers describe it (one negative per pair).",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.formula == "reviewed" and self.negatives != 1:
            raise CleanerError(f"formula=reviewed takes one negative per pair, not {self.negatives}: set negatives=1.")

    def unsupported_reason(self, clip: Clip, data: CaptionData) -> str | None:
        """Return why this formula cannot train this model; None if it can."""
        if self.formula == "reviewed" and clip.has_sigmoid_loss:
            return f"formula=reviewed is a softmax, and {clip.name} has a sigmoid loss: choose formula=ours."
        return super().unsupported_reason(clip, data)

    def plan(self, captions: Sequence[str], seed: int, on_step: OnStep | None = None) -> TextPlan:
        report = start_progress(on_step, "read captions", len(captions))
        vocabulary = Vocabulary.from_captions(_reported(captions, report))

        def texts(epoch: int) -> EpochTexts:
            def make(index: int) -> SubtextPair | None:
                pair = draw_subtexts(
                    captions[index],
                    seed=seed,
                    epoch=epoch,
                    index=index,
                    n=self.negatives,
                    vocabulary=vocabulary,
                    style=self.positive,
                )
                return pair if pair.positive is not None and pair.negatives else None

            indices = draw_pairs(len(captions), share=self.share, seed=seed, epoch=epoch)
            return EpochTexts(captions, DrawnTexts(indices, make), style=self.positive)

        return texts

    def losses(self, f: Features) -> dict[str, Tensor]:
        formula = reviewed_subtext_loss if self.formula == "reviewed" else subtext_loss
        return {
            "clip_loss": clip_loss(f),
            "in_modal_loss": self.in_modal_weight * in_modal_loss(f),
            "subtext_loss": self.subtext_weight * formula(f),
        }


def _reported(captions: Sequence[str], report: Callable[[int], None]) -> Iterator[str]:
    """Yield the captions; report how many were used."""
    for done, caption in enumerate(captions, 1):
        yield caption
        if done % REPORT_CAPTIONS == 0:
            report(done)
