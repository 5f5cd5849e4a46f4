"""ta_cleaner: drawn pairs and subtexts, and the three losses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from cleaner.config import FinetuneConfig
from cleaner.data.base import TensorData
from cleaner.defenses import DEFENSES, ta_cleaner
from cleaner.defenses.base import draw_pairs, load_defense
from cleaner.losses import clip_loss, in_modal_loss, reviewed_subtext_loss, subtext_loss
from cleaner.models.clip import Clip
from cleaner.text import Vocabulary, draw_subtexts
from cleaner.training.loop import finetune
from cleaner.types import Cancelled, CleanerError, StepReport
from tests.defenses import features


def test_each_epoch_draws_other_k_pairs(toy_data: TensorData) -> None:
    plan = DEFENSES["ta_cleaner"](share=0.25, negatives=2).plan(toy_data.captions, seed=0)
    first, second = plan(0), plan(1)
    assert len(first.drawn) + first.drawn.skipped == len(second.drawn) + second.drawn.skipped == 12
    assert first.drawn.keys() != second.drawn.keys()
    assert list(first.captions) == toy_data.captions
    for index, pair in first.drawn.items():
        assert pair.positive is not None
        texts = {negative.text for negative in pair.negatives}
        assert 1 <= len(texts) <= 2
        assert toy_data.captions[index] not in texts
        assert pair.positive.text not in texts


@pytest.mark.parametrize(("share", "k"), [(0.001, 1), (0.1, 5), (0.25, 12), (1.0, 48)])
def test_k_is_the_rounded_share_and_at_least_one(share: float, k: int) -> None:
    assert len(draw_pairs(48, share=share, seed=0, epoch=0)) == k


def test_subtexts_differ_between_epochs(toy_data: TensorData) -> None:
    plan = DEFENSES["ta_cleaner"](share=1.0).plan(toy_data.captions, seed=0)
    first, second = plan(0).drawn, plan(1).drawn
    assert sum(first[i].negatives != second[i].negatives for i in first) > len(first) / 2


def test_subtexts_depend_on_the_seed_and_the_vocabulary_of_the_captions(toy_data: TensorData) -> None:
    captions = toy_data.captions
    drawn = DEFENSES["ta_cleaner"](share=1.0).plan(captions, seed=5)(2).drawn
    vocabulary = Vocabulary.from_captions(captions)
    for i, caption in enumerate(captions):
        assert drawn[i] == draw_subtexts(caption, seed=5, epoch=2, index=i, n=3, vocabulary=vocabulary)
    few = DEFENSES["ta_cleaner"](share=0.25)
    assert few.plan(captions, seed=5)(0).drawn.keys() != few.plan(captions, seed=6)(0).drawn.keys()


def test_reading_many_captions_reports_progress_and_can_be_canceled(
    toy_data: TensorData, tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ta_cleaner, "REPORT_CAPTIONS", 20)
    config = FinetuneConfig(epochs=1, batch_size=16, device="cpu")
    reports: list[StepReport] = []
    finetune(tiny_clip, toy_data, DEFENSES["ta_cleaner"](), config, on_step=reports.append)
    seen = [(report.stage, report.step, report.total) for report in reports]
    assert seen == [("read captions", 20, 48), ("read captions", 40, 48), *(("defend", i, 3) for i in (1, 2, 3))]

    def cancel(_: StepReport) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        DEFENSES["ta_cleaner"]().plan(toy_data.captions, seed=0, on_step=cancel)


def test_captions_without_words_are_skipped_and_counted(toy_data: TensorData) -> None:
    captions = ["", "🍌🍌", *toy_data.captions]
    texts = DEFENSES["ta_cleaner"](share=1.0).plan(captions, seed=0)(0)
    assert texts.drawn.skipped == 2
    assert 0 not in texts.drawn


@pytest.mark.parametrize("name", ["ta_cleaner", "cleanclip_short"])
def test_a_state_without_the_style_of_positives_is_core(name: str) -> None:
    state = DEFENSES[name](positive="relation").state_dict()
    assert load_defense(state) == DEFENSES[name](positive="relation")
    del state["positive"]
    assert load_defense(state) == DEFENSES[name]()
    assert DEFENSES[name]().state_dict()["positive"] == "core"


def test_style_of_positives_reaches_subtexts_and_mask() -> None:
    captions = ["A man in a hat leaning against a pole"] * 20
    core, relation = (
        DEFENSES["ta_cleaner"](share=1.0, positive=style).plan(captions, seed=0)(0) for style in ("core", "relation")
    )
    assert (core.style, relation.style) == ("core", "relation")
    assert "A man" in {pair.positive.text for pair in core.drawn.values() if pair.positive}
    assert {pair.positive.text for pair in relation.drawn.values() if pair.positive} <= {
        "A man in a hat",
        "A man leaning against a pole",
    }


def test_losses_are_named_and_weighted() -> None:
    f = replace(
        features.make_features(),
        positive=features.unit_rows(2, 8, seed=5),
        negative=features.unit_rows(2, 3, 8, seed=6),
        selected=torch.tensor([1, 3]),
    )
    losses = DEFENSES["ta_cleaner"](in_modal_weight=2.0, subtext_weight=3.0).losses(f)
    assert losses == {
        "clip_loss": clip_loss(f),
        "in_modal_loss": 2 * in_modal_loss(f),
        "subtext_loss": 3 * subtext_loss(f),
    }


def test_reviewed_formula_takes_one_negative(toy_data: TensorData) -> None:
    with pytest.raises(CleanerError, match="negatives=1"):
        DEFENSES["ta_cleaner"](formula="reviewed")
    texts = DEFENSES["ta_cleaner"](formula="reviewed", negatives=1, share=1.0).plan(toy_data.captions, seed=0)(0)
    assert {len(pair.negatives) for pair in texts.drawn.values()} == {1}


@pytest.mark.parametrize(("formula", "loss"), [("ours", subtext_loss), ("reviewed", reviewed_subtext_loss)])
def test_the_formula_selects_the_loss(formula: str, loss: Any) -> None:
    f = replace(
        features.make_features(),
        positive=features.unit_rows(2, 8, seed=5),
        negative=features.unit_rows(2, 1, 8, seed=6),
        selected=torch.tensor([1, 3]),
    )
    assert DEFENSES["ta_cleaner"](formula=formula, negatives=1).losses(f)["subtext_loss"].item() == loss(f).item()


def test_a_run_with_retired_parameters_opens_but_cannot_be_trained_again() -> None:
    retired = DEFENSES["ta_cleaner"].retired
    assert load_defense({"name": "ta_cleaner", "share": 1.0, **retired}) == DEFENSES["ta_cleaner"](share=1.0)
    assert not retired.keys() & DEFENSES["ta_cleaner"]().state_dict().keys()
    with pytest.raises(CleanerError, match=r"'ta_cleaner' no longer has held_out=verb: leave it out, or use the ver"):
        load_defense({"name": "ta_cleaner", **retired, "held_out": "verb"})


def test_a_run_without_a_formula_used_ours() -> None:
    assert load_defense({"name": "ta_cleaner", "share": 1.0}).formula == "ours"


def test_subtexts_are_made_when_they_are_asked_for(toy_data: TensorData, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    draw = ta_cleaner.draw_subtexts

    def record(*args: Any, index: int, **options: Any) -> Any:
        made.append(index)
        return draw(*args, index=index, **options)

    monkeypatch.setattr(ta_cleaner, "draw_subtexts", record)
    texts = DEFENSES["ta_cleaner"](share=1.0).plan(toy_data.captions, seed=0)(0)
    assert made == []
    assert 3 in texts.drawn
    assert texts.drawn[3] is texts.drawn[3]
    assert made == [3]
    assert len(toy_data) not in texts.drawn
    assert list(texts.drawn) == sorted(texts.drawn)
