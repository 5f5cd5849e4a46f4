"""Negatives on disk: the same as drawn, drawn again after a broken file, never shared by lexicons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cleaner.data.base import CaptionData, TensorData
from cleaner.evaluation import evaluate as evaluation
from cleaner.evaluation import negatives
from cleaner.models.clip import Clip
from cleaner.text import Subtext, Vocabulary, negative_subtexts
from tests.conftest import make_toy_data

CAPTIONS = ("a photo of a red apple on the wooden table", "hm", "a blue cup left of a kite", "two dogs")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path))
    negatives.draw_negatives.cache_clear()
    return tmp_path / "negatives"


def draw(**changes: int) -> negatives.Negatives:
    return negatives.draw_negatives(CAPTIONS, **{"n": 2, "seed": 3, "limit": 10, **changes})


def test_the_file_holds_what_was_drawn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = Vocabulary.from_captions(CAPTIONS)
    expected = {
        i: drawn
        for i, caption in enumerate(CAPTIONS)
        if (drawn := list(negative_subtexts(caption, n=2, seed=3, vocabulary=vocabulary)))
    }
    drawn = draw()
    assert drawn == (list(expected), list(expected.values()))
    assert len(drawn[0]) > 1
    assert draw(limit=1)[0] == drawn[0][:1]
    (file, _) = sorted(folder.iterdir(), key=lambda path: -path.stat().st_size)

    negatives.draw_negatives.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(negatives, "negative_subtexts", lambda *_, **__: pytest.fail("drawn again"))
        assert draw() == drawn

    for content in ("", '{"indices": [0], "negatives": []}', '{"indices": [0], "negatives": [[{"text": "a"}]]}'):
        file.write_text(content)
        negatives.draw_negatives.cache_clear()
        assert draw() == drawn


def test_other_code_and_words_have_their_own_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negatives, "MAX_FILES", 2)
    draw()
    monkeypatch.setattr(negatives, "_code_digest", lambda: "changed")
    negatives.draw_negatives.cache_clear()
    draw()
    assert len(list(folder.iterdir())) == 2
    monkeypatch.setattr(negatives, "_code_digest", lambda: "changed again")
    negatives.draw_negatives.cache_clear()
    draw()
    assert len(list(folder.iterdir())) == 2


def test_a_tie_is_lost_in_all_figures(tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    text = torch.nn.functional.normalize(torch.randn(tiny_clip.architecture.embed_dim), dim=0)
    monkeypatch.setattr(evaluation.Encoder, "encode_texts", lambda _, texts: text.expand(len(texts), -1))
    figures = evaluation.counterfactual_accuracy(evaluation.Encoder(tiny_clip), make_toy_data())
    assert figures["counterfactual_accuracy"] == 0
    assert set(figures["counterfactual_by_kind"].values()) == {0.0}


def test_each_clean_image_is_encoded_once(tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_toy_data()
    data.labels[::3] = -1
    expected = evaluation.counterfactual_accuracy(evaluation.Encoder(tiny_clip), data)
    wins: dict[str, list[bool]] = {}
    beats_all: list[bool] = []
    for row, drawn in zip(*negatives.draw_negatives(tuple(data.captions), n=3, seed=0, limit=48), strict=True):
        image = tiny_clip.encode_image(data.images([row]))[0]
        own, *others = (tiny_clip.encode_text([data.captions[row], *(text.text for text in drawn)]) @ image).tolist()
        for text, other in zip(drawn, others, strict=True):
            wins.setdefault(text.kind, []).append(own > other)
        beats_all.append(own > max(others))
    assert len(wins) > 1
    by_kind = {kind: pytest.approx(np.mean(each)) for kind, each in wins.items()}
    assert expected["counterfactual_by_kind"] == by_kind
    assert expected["counterfactual_accuracy"] == pytest.approx(np.mean(beats_all))
    encoded: list[int] = []
    encode_rows = evaluation.Encoder.encode_rows

    def count(encoder: evaluation.Encoder, data: CaptionData, rows: torch.Tensor) -> torch.Tensor:
        encoded.extend(rows.tolist())
        return encode_rows(encoder, data, rows)

    monkeypatch.setattr(evaluation.Encoder, "encode_rows", count)
    metrics = evaluation.evaluate(tiny_clip, data, ks=(1,))
    assert encoded == [row for row in range(len(data)) if data.labels[row] < 0]
    assert metrics.counterfactual_accuracy == expected["counterfactual_accuracy"]


def test_an_edit_behind_the_model_s_context_does_not_count(folder: Path, tiny_clip: Clip) -> None:
    """The model sees caption and negative cut at the same token: it cannot prefer one."""
    filler = "a photo of a wall and " * 20
    captions = ["a red cup on a table", filler + "a red cup"]
    data = TensorData(torch.rand(2, 3, 224, 224), captions, ["cup", "table"], [0, 0])
    of_both = negatives.draw_negatives(tuple(captions), n=3, seed=0, limit=10)
    assert of_both[0] == [0, 1]
    indices, kept = evaluation._drop_invisible(tiny_clip, captions, *of_both)
    assert (indices, kept[0]) == ([0, *indices[1:]], of_both[1][0])
    for row in kept[1:]:
        assert all(not torch.equal(*tiny_clip.tokenize([captions[1], negative.text])) for negative in row)
    late = [Subtext(filler + "a blue cup", "attribute")]
    assert evaluation._drop_invisible(tiny_clip, captions, [1], [late]) == ([], [])
    assert evaluation.counterfactual_accuracy(evaluation.Encoder(tiny_clip), data)["n_counterfactual"] == len(indices)
