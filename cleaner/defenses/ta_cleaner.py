"""TA-Cleaner / CleanerCLIP: CleanCLIP plus fine-grained alignment with subtexts (arXiv:2409.17601).

Re-implementation from the public description: weights, K, parser and vocabulary of the paper are not public.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.config import param
from cleaner.defenses.base import DEFENSES, Defense, EpochTexts, TextPlan, draw_pairs
from cleaner.losses import Features, clip_loss, in_modal_loss, subtext_loss
from cleaner.text import Vocabulary, draw_subtexts
from cleaner.text.lexicon import LEXICONS, using_lexicon


@DEFENSES.register("ta_cleaner")
@dataclass(frozen=True)
class TACleaner(Defense):
    """CleanCLIP, and short true texts of the picture that the model must tell from slightly false ones.

    clip_loss + in_modal_weight * in_modal_loss + subtext_weight * subtext_loss.
    Each epoch K = `share` of the pairs are drawn at random; each gets a new positive and `negatives` new negative
    subtexts. A caption that yields no subtext is skipped and counted. `contrast`, `text_to_text` and `held_out` take
    parts of the method away, to see what each is good for.
    """

    needs_augmentation: ClassVar[bool] = True
    subtext_weight: float = param(1.0, low=0.0, high=100.0, help="Weight of the subtext loss.")
    in_modal_weight: float = param(1.0, low=0.0, high=100.0, help="Weight of CleanCLIP's in-modal loss.")
    share: float = param(0.1, low=0.001, high=1.0, step=0.01, help="K: share of the pairs drawn in each epoch.")
    negatives: int = param(3, low=1, high=10, help="n: negative subtexts per drawn pair.")
    contrast: str = param(
        "both",
        choices=("both", "positives", "negatives"),
        help="What a true subtext must beat: the other pairs' true ones, its own false ones, or both (the method).",
    )
    text_to_text: bool = param(True, help="Also compare captions with subtexts, as the method does.")
    held_out: str = param(
        "none",
        choices=("none", "object", "attribute", "count", "relation", "verb"),
        help="Kind of false subtext that is not drawn (the method draws all): does what the others teach carry over?",
    )
    lexicon: str = param(
        "shipped",
        choices=LEXICONS,
        help="Where new words of false subtexts come from; wordnet: all of WordNet, if nltk finds it on this machine.",
    )

    def plan(self, captions: Sequence[str], seed: int) -> TextPlan:
        with using_lexicon(self.lexicon):
            vocabulary = Vocabulary.from_captions(captions)

        def texts(epoch: int) -> EpochTexts:
            chosen = draw_pairs(len(captions), self.share, seed, epoch)
            with using_lexicon(self.lexicon):
                drawn = {
                    i: draw_subtexts(
                        captions[i],
                        seed=seed,
                        epoch=epoch,
                        index=i,
                        n=self.negatives,
                        vocabulary=vocabulary,
                        held_out=self.held_out,
                    )
                    for i in chosen
                }
            kept = {i: pair for i, pair in drawn.items() if pair.positive is not None and pair.negatives}
            return EpochTexts(captions, kept, skipped=len(chosen) - len(kept))

        return texts

    def losses(self, f: Features) -> dict[str, Tensor]:
        kept = f
        if self.contrast == "positives":
            kept = replace(f, negative=None)
        elif self.contrast == "negatives" and f.positive is not None:
            others = torch.ones(len(f.positive), len(f.positive), dtype=torch.bool, device=f.positive.device)
            kept = replace(f, false_negative=others)
        return {
            "clip_loss": clip_loss(f),
            "in_modal_loss": self.in_modal_weight * in_modal_loss(f),
            "subtext_loss": self.subtext_weight * subtext_loss(kept, self.text_to_text),
        }
