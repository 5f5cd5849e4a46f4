"""Shallow parse of a caption: noun phrases, prepositions, verb groups."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cleaner.text.forms import pluralize
from cleaner.text.lexicon import load_lexicon
from cleaner.text.rules import IMAGE_NOUNS, MANY
from cleaner.text.tagger import Token, tag_caption
from cleaner.text.tags import NOUN_TAGS

# Rules of nltk's chunk grammar: noun phrases, then verb groups. Adjectives before the noun may be joined ("black and
# white cat", "green , misty hills") and have adverbs of degree.
GRAMMAR = (
    r"{<DT>?<DT|PRP\$>?(<JJ>*<NN.*>+<POS>)?<CD>?(<RB.*>?<JJ.*|CD>(<,|CC>?<RB.*>?<JJ.*>)*)?<NN.*>+}",
    r"{<MD|VB.*>(<RB.*>?<MD|VB.*>)*}",
)


_COMPOUND_TAGS = ("NN", "JJ", "RB", "RP", "CD", "VB")
"""Beginnings of the tags of words that a dash can join."""
_CONTENT_TAGS = ("NN", "JJ", "VB", "CD")
"""Beginnings of the tags of words that a title writes with a capital."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens [start, end) of one kind.

    Kinds: "NP", "VP", "REL" (a preposition of one or more words) or "O" (one other token).

    `text` is in lower case, words separated by one blank. `head`, `attributes`, `determiner` and `count` are indices of
    tokens: for a noun phrase the noun, its adjectives, article and number; for a verb group `head` is the last verb.
    """

    kind: str
    text: str
    start: int
    end: int
    head: int
    attributes: tuple[int, ...] = ()
    determiner: int | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Parse:
    """A caption, its tokens with character spans, and its chunks, which cover every token once, in order."""

    caption: str
    tokens: tuple[Token, ...]
    chunks: tuple[Chunk, ...]
    lemmas: tuple[str, ...]
    """Base form of each noun and verb; other words in lower case."""

    @property
    def noun_phrases(self) -> list[Chunk]:
        """Return the noun phrases."""
        return [c for c in self.chunks if c.kind == "NP"]

    def previous_chunk(self, c: int) -> Chunk | None:
        """Return the chunk before chunk `c`."""
        return self.chunks[c - 1] if c > 0 else None

    def next_chunk(self, c: int) -> Chunk | None:
        """Return the chunk after chunk `c`."""
        return self.chunks[c + 1] if c + 1 < len(self.chunks) else None

    def preposition_before(self, c: int) -> str:
        """Return the preposition right before chunk `c`, or ""."""
        before = self.previous_chunk(c)
        return before.text if before and before.kind == "REL" else ""

    def next_token(self, i: int) -> Token | None:
        """Return the token after token `i`."""
        return self.tokens[i + 1] if i + 1 < len(self.tokens) else None

    def is_plural(self, chunk: Chunk) -> bool:
        """Return whether a noun phrase means several: its noun says so, or what counts it, as in "three sheep"."""
        noun, head = self.lemma(chunk.head), self.tokens[chunk.head]
        if head.tag in ("NNS", "NNPS") and head.lower != noun:
            return True
        if pluralize(noun) != noun:
            return False
        is_counted = chunk.count is not None and self.tokens[chunk.count].lower not in ("one", "1")
        return is_counted or self.tokens[chunk.start].lower in MANY

    def joins_compound(self, i: int) -> bool:
        """Return whether token `i` is the dash of a compound: "hand - drawn", "black - and - white" (CC3M's spelling).

        A preposition may be its first word ("an on - screen guide") or, after a verb, its last ("see - through dress").
        The dash of "swans - a large flock", "a friend - in love" or "a beach - photo" separates.
        """
        if self.tokens[i].text != "-" or not 0 < i < len(self.tokens) - 1:
            return False
        first, second, third = self.tokens[i - 1], self.tokens[i + 1], self.next_token(i + 1)
        is_title = first.tag == "NNS" or first.lower in IMAGE_NOUNS or second.lower in IMAGE_NOUNS
        if not second.tag.startswith(_COMPOUND_TAGS):
            if third is None or not second.text.isalpha():
                return False
            is_before_noun = second.tag in ("IN", "TO") and third.tag.startswith(("NN", "JJ"))
            follows_verb = is_before_noun and not is_title and load_lexicon().is_mostly_verb(first.lower)
            return third.text == "-" or follows_verb
        if not first.tag.startswith(_COMPOUND_TAGS):
            is_after_noun = i > 1 and self.tokens[i - 2].tag.startswith("NN")  # "a view of - nature"
            return (first.tag in ("IN", "TO") and not is_after_noun) or (i > 2 and self.tokens[i - 2].text == "-")
        return not is_title and second.tag not in ("CD", "RB", "VBZ", "VBP", "VBE")

    def is_name(self, i: int) -> bool:
        """Return whether a capital marks word `i` as part of a name, as in "New York"; in titles it says nothing."""
        word = self.tokens[i].text
        is_capital = len(word) > 1 and word.istitle()
        return is_capital and any(t.text.islower() and t.tag[:2] in _CONTENT_TAGS for t in self.tokens)

    def lemma(self, index: int) -> str:
        """Return the base form of a noun or verb, or the word itself in lower case."""
        return self.lemmas[index]


@lru_cache(maxsize=1)
def _build_chunker() -> Callable[[list[tuple[str, str]]], Any]:
    """Return the grammar as a function from tagged tokens to nltk's tree of chunks."""
    # Imported here: nltk takes two seconds to import.
    from nltk.chunk.regexp import ChunkString, RegexpChunkRule
    from nltk.tree import Tree

    rules = [RegexpChunkRule.fromstring(rule) for rule in GRAMMAR]

    def chunk(tokens: list[tuple[str, str]]) -> Any:
        # RegexpParser without its validation after every rule, a third of the time.
        text = ChunkString(Tree("S", tokens), debug_level=0)
        for rule in rules:
            rule.apply(text)
        return text.to_chunkstruct()

    return chunk


@lru_cache(maxsize=16384)
def _chunk_tags(tags: tuple[str, ...]) -> tuple[tuple[str, int, int], ...]:
    """Return (kind, start, end) of the chunks of a sequence of tags."""
    chunks = []
    for node in _build_chunker()([(str(i), t) for i, t in enumerate(tags)]):
        if isinstance(node, tuple):
            chunks.append(("O", int(node[0]), int(node[0]) + 1))
        else:
            start, (last, last_tag) = int(node[0][0]), node[-1]
            chunks.append(("NP" if last_tag.startswith("NN") else "VP", start, int(last) + 1))
    return tuple(chunks)


# Each epoch draws new subtexts of the same captions.
@lru_cache(maxsize=16384)
def parse(caption: str) -> Parse:
    """Return the shallow parse of a caption; accepts any string."""
    tokens = tag_caption(caption)
    chunks: list[Chunk] = []
    kinds = _chunk_tags(tuple(token.tag for token in tokens)) if tokens else ()
    for kind, start, end in kinds:
        tag = tokens[start].tag
        if tag == "INREL":
            preposition = chunks.pop()
            kind, start = "REL", preposition.start
        elif tag in ("IN", "REL") or (tag in ("TO", "RP") and _is_before_noun_phrase(kinds, start)):
            kind = "REL"
        text = " ".join(token.lower for token in tokens[start:end])
        if kind == "NP":
            chunks.append(_build_noun_phrase(tokens, text, start, end))
        else:
            chunks.append(Chunk(kind, text, start, end, end - 1 if kind == "VP" else start))
    return Parse(caption, tokens, tuple(chunks), tuple(_find_lemma(token) for token in tokens))


def _find_lemma(token: Token) -> str:
    if token.tag in NOUN_TAGS:
        return load_lexicon().noun_lemma(token.lower) or token.lower
    if token.tag.startswith("VB"):
        return load_lexicon().verb_lemma(token.lower) or token.lower
    return token.lower


def _is_before_noun_phrase(kinds: tuple[tuple[str, int, int], ...], index: int) -> bool:
    """Return whether a noun phrase follows token `index`, which makes "to" and "down" prepositions."""
    return any(kind == "NP" and start == index + 1 for kind, start, _ in kinds)


def _build_noun_phrase(tokens: tuple[Token, ...], text: str, start: int, end: int) -> Chunk:
    attributes, determiner, count = [], None, None
    owner = max((i for i in range(start, end) if tokens[i].tag == "POS"), default=start - 1)
    for i in range(start, end - 1):
        tag = tokens[i].tag
        if tag.startswith("JJ") and i > owner:
            attributes.append(i)
        elif tag in ("DT", "PRP$") and determiner is None:
            determiner = i
        elif tag == "CD" and count is None:
            count = i
    return Chunk("NP", text, start, end, end - 1, tuple(attributes), determiner, count)
