"""TA-Cleaner / CleanerCLIP: CleanCLIP plus fine-grained alignment with subtexts (arXiv:2409.17601).

Reimplemented from the public description: the paper's weights, K, parser and vocabulary are not public.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.config import param
from cleaner.data.base import CaptionData
from cleaner.defenses.base import DEFENSES, Defense, DrawnTexts, EpochTexts, TextPlan, draw_pairs
from cleaner.losses import Features, clip_loss, in_modal_loss, reviewed_subtext_loss, subtext_loss
from cleaner.models.clip import Clip
from cleaner.published import CLEANCLIP_TRAINING, Preset
from cleaner.text import POSITIVE_STYLES, SubtextPair, Vocabulary, draw_subtexts
from cleaner.text.lexicon import LEXICONS, using_lexicon
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
    that the paper's reviewers describe, which takes one negative per pair. `contrast`, `text_to_text` and `held_out`
    are ablations; the first two belong to this project's formula.
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
    positive_temperature: float = param(
        0.0,
        low=0.0,
        high=1.0,
        step=0.01,
        help="Temperature of the positives in the reviewed formula; 0: the model's own.",
    )
    negative_temperature: float = param(
        0.0,
        low=0.0,
        high=1.0,
        step=0.01,
        help="Temperature of the negatives in the reviewed formula; 0: the model's own.",
    )
    contrast: str = param(
        "both",
        choices=("both", "positives", "negatives"),
        help="Contrast of a positive subtext: positives of other pairs, its own negatives, or both (the method).",
    )
    text_to_text: bool = param(True, help="Also compare captions with subtexts, as the method does.")
    held_out: str = param(
        "none",
        label="Held-out kind of false subtext",
        choices=("none", "object", "attribute", "count", "relation", "verb"),
        help="Kind of negative subtext that is never drawn, to test transfer from the other kinds; none: the method.",
    )
    lexicon: str = param(
        "shipped",
        choices=LEXICONS,
        help="Source of new words in negative subtexts; wordnet: all of WordNet, if it is unzipped where nltk looks.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.formula == "reviewed" and self.negatives != 1:
            raise CleanerError(f"formula=reviewed takes one negative per pair, not {self.negatives}: set negatives=1.")
        if self.formula == "reviewed" and self.contrast != "both":
            raise CleanerError("formula=reviewed has no ablations of its contrast: set contrast=both.")
        if self.formula == "reviewed" and not self.text_to_text:
            raise CleanerError("formula=reviewed has no text_to_text term to switch off: leave text_to_text=true.")
        if self.formula == "ours" and (self.positive_temperature or self.negative_temperature):
            raise CleanerError(
                "positive_temperature and negative_temperature are those of formula=reviewed: set both to 0."
            )

    def unsupported_reason(self, clip: Clip, data: CaptionData) -> str | None:
        """Return why this formula cannot train this model; None if it can."""
        if self.formula == "reviewed" and clip.has_sigmoid_loss:
            return f"formula=reviewed is a softmax, and {clip.name} has a sigmoid loss: choose formula=ours."
        return super().unsupported_reason(clip, data)

    def plan(self, captions: Sequence[str], seed: int, on_step: OnStep | None = None) -> TextPlan:
        report = start_progress(on_step, "read captions", len(captions))
        with using_lexicon(self.lexicon):
            vocabulary = Vocabulary.from_captions(_reported(captions, report))

        def texts(epoch: int) -> EpochTexts:
            def make(index: int) -> SubtextPair | None:
                with using_lexicon(self.lexicon):
                    pair = draw_subtexts(
                        captions[index],
                        seed=seed,
                        epoch=epoch,
                        index=index,
                        n=self.negatives,
                        vocabulary=vocabulary,
                        held_out=self.held_out,
                        style=self.positive,
                    )
                return pair if pair.positive is not None and pair.negatives else None

            indices = draw_pairs(len(captions), share=self.share, seed=seed, epoch=epoch)
            return EpochTexts(captions, DrawnTexts(indices, make), style=self.positive)

        return texts

    def losses(self, f: Features) -> dict[str, Tensor]:
        return {
            "clip_loss": clip_loss(f),
            "in_modal_loss": self.in_modal_weight * in_modal_loss(f),
            "subtext_loss": self.subtext_weight * self._subtext_loss(f),
        }

    def _subtext_loss(self, f: Features) -> Tensor:
        if self.formula == "reviewed":
            return reviewed_subtext_loss(f, self.positive_temperature, self.negative_temperature)
        contrasted = f
        if self.contrast == "positives":
            contrasted = replace(f, negative=None)
        elif self.contrast == "negatives" and f.positive is not None:
            everything = torch.ones(len(f.positive), len(f.positive), dtype=torch.bool, device=f.positive.device)
            contrasted = replace(f, false_negative=everything)
        return subtext_loss(contrasted, self.text_to_text)


def _reported(captions: Sequence[str], report: Callable[[int], None]) -> Iterator[str]:
    """Yield the captions; report how many were used."""
    for done, caption in enumerate(captions, 1):
        yield caption
        if done % REPORT_CAPTIONS == 0:
            report(done)
