"""CLIP's tokenizer: cached, with the ids of open_clip's."""

from __future__ import annotations

import open_clip
import pytest
import torch

from cleaner.models.tokenizer import load_tokenizer

TEXTS = [
    "a red car left of a banana",
    "",
    " ",
    "A\tTabbed\nline, with  blanks ",
    "Caf\u00e9 &amp; cr\u00e8me \u2014 \u2018x\u2019",
    "&lt;b&gt; fish & chips",
    "don't 'S it's 5'11\"",
    "<start_of_text> 12 3.5 <end_of_text>",
    "\u65e5\u672c \ufb01ne \u00e2\u20ac\u2122",
    "\x1b[31mred\x00",
    "word " * 100,
]


@pytest.mark.parametrize("length", [77, 78, 5])
def test_ids_equal_open_clips(length: int) -> None:
    tokenizer, expected = load_tokenizer(), open_clip.SimpleTokenizer()(TEXTS, context_length=length)
    for _ in range(2):  # the second time from the cache
        assert torch.equal(tokenizer(TEXTS, context_length=length), expected)
    assert torch.equal(tokenizer(TEXTS[0]), expected[:1]) == (length == 77)
    assert tokenizer([], context_length=length).shape == (0, length)
