"""Frames: what a rewritten caption reads like, and that hardly any real caption reads like that already."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from cleaner.text import content_words
from cleaner.text.frames import FRAMES, rewrite
from tests.cases import read_cases

PATTERNS = {"cleft": re.compile(r"^it is .* that\b"), "clause": re.compile(r"^when you look,")}


@pytest.mark.parametrize(
    ("caption", "cleft", "clause"),
    read_cases(__file__, "frames"),
)
def test_captions_are_rewritten(caption: str, cleft: str, clause: str) -> None:
    assert rewrite(caption, "cleft") == cleft
    assert rewrite(caption, "clause") == clause


def test_real_captions_keep_their_words_and_do_not_have_the_form_already(real_data: Path) -> None:
    with (real_data / "cc3m_captions_5k.csv").open(encoding="utf-8", newline="") as file:
        captions = [row["caption"] for row in csv.DictReader(file)]
    assert len(captions) == 5000
    for frame in FRAMES:
        assert sum(bool(PATTERNS[frame].match(caption.lower())) for caption in captions) <= 2
        rewritten = [rewrite(caption, frame) for caption in captions]
        assert all(PATTERNS[frame].match(text) for text in rewritten)
        assert not set(rewritten) & set(captions)
        for caption, text in zip(captions[:300], rewritten, strict=False):
            words = [word for word in caption.lower().split() if word.isalpha()]
            assert set(words) <= set(text.lower().split()), (caption, text)
    assert content_words("a red cup") <= content_words(rewrite("a red cup", "cleft"))
