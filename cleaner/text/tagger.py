"""Tokens and tags of a caption: textblob's lexicon tagger, corrected by context and word counts.

textblob knows one tag per word ("alien" is an adjective, "looks" a verb); captions need the others too.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from cleaner.text import rules
from cleaner.text.lexicon import load_lexicon
from cleaner.text.tables import read_set, split_words
from cleaner.text.tag_context import tag_in_context
from cleaner.text.tags import CLOSED_CLASS_TAGS, COLOR_WORDS

_TOKEN = re.compile(
    r"[^\W\d_]+(?=n['’]t\b)|n['’]t\b|['’](?:s|re|ve|ll|d|m)\b"  # do|n't, man|'s
    r"|\d+(?:[.,:]\d+)+|[^\W_]+(?:-[^\W_]+)*|[^\w\s]|_"
)
_HYPHEN_TAILS = read_set("grammar", "hyphen_tails")
_ADJECTIVE_TAILS = ("ed", "old", "time", "year", "style", "free")


def _index_compound_prepositions() -> dict[str, list[tuple[str, ...]]]:
    """Return first word -> prepositions of several words, the longest first."""
    prepositions = (*rules.OPPOSITE_PREPOSITIONS, *rules.COMPOUND_PREPOSITIONS)
    phrases = {split_words(preposition) for preposition in prepositions if " " in preposition}
    index: dict[str, list[tuple[str, ...]]] = {}
    for phrase in sorted(phrases, key=len, reverse=True):
        index.setdefault(phrase[0], []).append(phrase)
    return index


_PREPOSITIONS_BY_FIRST_WORD = _index_compound_prepositions()


@dataclass(frozen=True, slots=True)
class Token:
    """One word or mark with its tag and character span.

    `tag` is a Penn tag, REL or INREL (first and later words of a preposition), or VBE (a form of "be").
    `lower` is the word as the tables spell it: in lower case, "orange - coloured" as "orange-coloured".
    """

    text: str
    lower: str
    tag: str
    start: int
    end: int


@lru_cache(maxsize=32768)
def _tag_word(word: str) -> str:
    """Return the tag of a single word; textblob's tagger looks at nothing else either."""
    # Imported here: textblob and nltk take two seconds to import.
    from textblob.en import parser

    lower = word.lower()
    fixed = CLOSED_CLASS_TAGS.get(lower) or ("JJ" if lower in COLOR_WORDS else None)
    if fixed:
        return fixed
    if word.isdecimal():
        return "CD"  # textblob takes "2" and "4" for prepositions
    if not any(c.isalnum() for c in word):
        return "." if lower in ".!?;" else "," if lower == "," else ":"
    tag = str(parser.find_tags([word])[0][1])
    if "-" in lower and tag in ("NN", "VBN", "VBD") and lower.endswith(_ADJECTIVE_TAILS):
        return "JJ"
    return {"PRP$": "PRP", "WP$": "PRP$", "WDT": "WP", "PDT": "DT"}.get(tag, tag)


def find_token_spans(caption: str) -> list[tuple[int, int]]:
    """Return the character spans of words and marks; "orange - coloured" (CC3M's spelling) is one word."""
    spans: list[tuple[int, int]] = []
    matches = [m.span() for m in _TOKEN.finditer(caption)]
    i = 0
    while i < len(matches):
        start, end = matches[i]
        if i + 2 < len(matches) and caption[slice(*matches[i + 1])] == "-":
            tail = caption[slice(*matches[i + 2])]
            is_tail = tail.isalpha() and (tail.lower() in _HYPHEN_TAILS or tail.lower().endswith("ed"))
            if is_tail and caption[start:end].isalnum():
                spans.append((start, matches[i + 2][1]))
                i += 3
                continue
        spans.append((start, end))
        i += 1
    return spans


def tag_caption(caption: str) -> tuple[Token, ...]:
    """Return the tokens of a caption with their tags and character spans."""
    spans = find_token_spans(caption)
    texts = [caption[start:end].replace(" ", "") for start, end in spans]
    lower = [text.lower() for text in texts]
    lexicon = load_lexicon()
    # A capital at the start, or in a caption of capitals, does not make a name; only inside does it.
    tags = [
        _tag_word(text if i and text.istitle() and word not in lexicon else word)
        for i, (text, word) in enumerate(zip(texts, lower, strict=True))
    ]
    _tag_compound_prepositions(lower, tags)
    for i in range(len(tags)):
        tags[i] = tag_in_context(i, lower, tags, lexicon)
    return tuple(
        Token(caption[start:end], word, tag, start, end)
        for (start, end), word, tag in zip(spans, lower, tags, strict=True)
    )


def _tag_compound_prepositions(lower: list[str], tags: list[str]) -> None:
    """Tag the words of "to the left of" as REL and INREL, in place: they contain no noun phrase."""
    i = 0
    while i < len(lower):
        for phrase in _PREPOSITIONS_BY_FIRST_WORD.get(lower[i], ()):
            if tuple(lower[i : i + len(phrase)]) == phrase:
                tags[i : i + len(phrase)] = ["REL"] + ["INREL"] * (len(phrase) - 1)
                i += len(phrase) - 1
                break
        i += 1
