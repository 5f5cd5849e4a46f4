"""TA-Cleaner and its control: what is drawn, and that the control sees the same true subtexts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cleaner.config import parameters
from cleaner.data.base import TensorData
from cleaner.defenses import DEFENSES
from cleaner.losses import Features
from cleaner.text.negative import FINDERS
from cleaner.types import CleanerError


def test_k_pairs_are_drawn_anew_each_epoch(toy_data: TensorData) -> None:
    plan = DEFENSES["ta_cleaner"](share=0.25, negatives=2).plan(toy_data.captions, seed=0)
    first, second = plan(0), plan(1)
    assert len(first.drawn) + first.skipped == len(second.drawn) + second.skipped == 12
    assert first.drawn.keys() != second.drawn.keys()
    assert list(first.captions) == toy_data.captions
    for index, pair in first.drawn.items():
        assert pair.positive is not None
        texts = {negative.text for negative in pair.negatives}
        assert 1 <= len(texts) <= 2
        assert toy_data.captions[index] not in texts
        assert pair.positive.text not in texts


def test_subtexts_are_a_moving_target(toy_data: TensorData) -> None:
    plan = DEFENSES["ta_cleaner"](share=1.0).plan(toy_data.captions, seed=0)
    first, second = plan(0).drawn, plan(1).drawn
    assert sum(first[i].negatives != second[i].negatives for i in first) > len(first) / 2


def test_a_caption_without_words_is_skipped_and_counted(toy_data: TensorData) -> None:
    captions = ["", "🍌🍌", *toy_data.captions]
    texts = DEFENSES["ta_cleaner"](share=1.0).plan(captions, seed=0)(0)
    assert texts.skipped == 2
    assert 0 not in texts.drawn


def test_a_kind_of_false_subtext_can_be_held_out(toy_data: TensorData) -> None:
    kinds = {p.name: p.choices for p in parameters(DEFENSES["ta_cleaner"])}["held_out"]
    assert kinds == ("none", *FINDERS)

    def drawn(held_out: str) -> list[str]:
        texts = DEFENSES["ta_cleaner"](share=1.0, held_out=held_out).plan(toy_data.captions, seed=0)(0)
        return [negative.kind for pair in texts.drawn.values() for negative in pair.negatives]

    assert "attribute" in drawn("none")
    assert "attribute" not in drawn("attribute")
    assert "object" in drawn("attribute")


def test_another_lexicon_is_a_setting_and_its_absence_is_said(
    toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    defense = DEFENSES["ta_cleaner"](lexicon="wordnet")
    assert defense.state_dict()["lexicon"] == "wordnet"
    with pytest.raises(CleanerError, match="nltk finds no WordNet"):
        defense.plan(toy_data.captions, seed=0)
    assert DEFENSES["ta_cleaner"](share=1.0).plan(toy_data.captions, seed=0)(0).drawn


def test_control_uses_the_positives_of_ta_cleaner(toy_data: TensorData) -> None:
    drawn = DEFENSES["ta_cleaner"](share=0.5).plan(toy_data.captions, seed=5)(2).drawn
    shortened = DEFENSES["cleanclip_short"](share=0.5).plan(toy_data.captions, seed=5)(2).captions
    changed = {i for i, caption in enumerate(toy_data.captions) if shortened[i] != caption}
    assert changed <= drawn.keys()
    for index, pair in drawn.items():
        assert pair.positive is not None
        assert shortened[index] == pair.positive.text


def subtext_term(f: Features, **parameters: object) -> float:
    return DEFENSES["ta_cleaner"](**parameters).losses(f)["subtext_loss"].item()


def test_parts_of_the_loss_can_be_taken_away() -> None:
    draw = torch.Generator().manual_seed(0)
    image, text, aug, positive = (F.normalize(torch.randn(4, 8, generator=draw), dim=-1) for _ in range(4))
    negative = F.normalize(torch.randn(4, 3, 8, generator=draw), dim=-1)
    f = Features(image, text, aug, aug, positive, negative, torch.arange(4), logit_scale=5.0)
    whole, positives, negatives = (subtext_term(f, contrast=kind) for kind in ("both", "positives", "negatives"))
    assert positives < whole
    assert negatives < whole
    # Each part is blind to what it leaves out: other pairs' true subtexts, or false ones.
    assert subtext_term(Features(**{**vars(f), "negative": -negative}), contrast="positives") == positives
    own = -torch.logsumexp(5 * torch.stack([(image * positive).sum(-1), *(image[:, None] * negative).sum(-1).T]), 0)
    expected = -(5 * (image * positive).sum(-1) + own).mean()
    alone = subtext_term(f, contrast="negatives", text_to_text=False)
    assert alone == pytest.approx(expected.item() / 3, rel=1e-5)
