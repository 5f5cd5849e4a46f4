"""Captions as text: parse, true and false subtexts, EDA, vocabulary; nothing here uses images."""

from cleaner.text.eda import eda
from cleaner.text.parse import Chunk, Parse, parse
from cleaner.text.relational import holds_relations
from cleaner.text.subtext import (
    POSITIVE_STYLES,
    Edit,
    Subtext,
    SubtextPair,
    content_words,
    draw_subtexts,
    negative_subtexts,
    positive_subtexts,
)
from cleaner.text.vocabulary import Vocabulary

TEXT_VERSION = 1
"""Version of what parse, subtexts and EDA return; runs and result rows state it. Raise it when any of these changes."""

__all__ = [
    "POSITIVE_STYLES",
    "TEXT_VERSION",
    "Chunk",
    "Edit",
    "Parse",
    "Subtext",
    "SubtextPair",
    "Vocabulary",
    "content_words",
    "draw_subtexts",
    "eda",
    "holds_relations",
    "negative_subtexts",
    "parse",
    "positive_subtexts",
]
