"""The shallow parse that the generator edits and the page draws: noun phrases, prepositions, verb groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cleaner.text.lexicon import lexicon_cache, load_lexicon
from cleaner.text.tagger import NOUN_TAGS, Token, tag_caption

# Rules of nltk's chunk grammar. Adjectives before the noun may be joined ("black and white cat", "green , misty hills")
# and have adverbs of degree. Noun phrases and verb groups are told apart by their last tag.
GRAMMAR = (
    r"{<DT>?<DT|PRP\$>?(<JJ>*<NN.*>+<POS>)?<CD>?(<RB.*>?<JJ.*|CD>(<,|CC>?<RB.*>?<JJ.*>)*)?<NN.*>+}",
    r"{<MD|VB.*>(<RB.*>?<MD|VB.*>)*}",
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens [start, end) of one kind: "NP", "VP", "REL" (a preposition of one or more words) or "O" (one other token).

    `text` is in lower case, words parted by one blank. For a noun phrase `head` is the noun, `attributes` its
    adjectives; for a verb group `head` is its last verb.
    """

    kind: str
    text: str
    start: int
    end: int
    head: int
    attributes: tuple[int, ...] = ()
    determiner: int | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Relation:
    """A preposition between two noun phrases; all three index `Parse.chunks`, `left` is None at the caption's start."""

    left: int | None
    preposition: int
    right: int


@dataclass(frozen=True, slots=True, eq=False)
class Parse:
    """A caption, its tokens with character spans, and its chunks, which cover every token once and in order."""

    caption: str
    tokens: tuple[Token, ...]
    chunks: tuple[Chunk, ...]

    @property
    def noun_phrases(self) -> list[Chunk]:
        """Return the noun phrases."""
        return [c for c in self.chunks if c.kind == "NP"]

    @property
    def verbs(self) -> list[Chunk]:
        """Return the verb groups."""
        return [c for c in self.chunks if c.kind == "VP"]

    @property
    def relations(self) -> list[Relation]:
        """Return every preposition that is followed by a noun phrase."""
        found = []
        for i, chunk in enumerate(self.chunks[:-1]):
            if chunk.kind == "REL" and self.chunks[i + 1].kind == "NP":
                left = next((j for j in range(i - 1, -1, -1) if self.chunks[j].kind == "NP"), None)
                found.append(Relation(left, i, i + 1))
        return found

    def span(self, chunk: Chunk) -> tuple[int, int]:
        """Return the character span of a chunk in the caption."""
        return self.tokens[chunk.start].start, self.tokens[chunk.end - 1].end

    def lemma(self, index: int) -> str:
        """Return the base form of a noun or verb, or the word itself in lower case."""
        token = self.tokens[index]
        word = token.lower
        if token.tag in NOUN_TAGS:
            return load_lexicon().noun_lemma(word) or word
        if token.tag.startswith("VB"):
            return load_lexicon().verb_lemma(word) or word
        return word


@lru_cache(maxsize=1)
def _build_chunker() -> Callable[[list[tuple[str, str]]], Any]:
    """Return the grammar as a function from tagged tokens to nltk's tree of chunks."""
    # nltk takes two seconds to import.
    from nltk.chunk.regexp import ChunkString, RegexpChunkRule
    from nltk.tree import Tree

    rules = [RegexpChunkRule.fromstring(rule) for rule in GRAMMAR]

    def chunked(tokens: list[tuple[str, str]]) -> Any:
        # What RegexpParser does, without its check after every rule, which takes a third of the time.
        text = ChunkString(Tree("S", tokens), debug_level=0)
        for rule in rules:
            rule.apply(text)
        return text.to_chunkstruct()

    return chunked


@lru_cache(maxsize=2048)
def _chunk_tags(tags: tuple[str, ...]) -> tuple[tuple[str, int, int], ...]:
    """Return (kind, start, end) of the chunks of a sequence of tags."""
    found = []
    for node in _build_chunker()([(str(i), t) for i, t in enumerate(tags)]):
        if isinstance(node, tuple):
            found.append(("O", int(node[0]), int(node[0]) + 1))
        else:
            start, (last, tag_of_last) = int(node[0][0]), node[-1]
            found.append(("NP" if tag_of_last.startswith("NN") else "VP", start, int(last) + 1))
    return tuple(found)


@lexicon_cache(2048)
def parse(caption: str) -> Parse:
    """Return the shallow parse of a caption; any string will do."""
    tokens = tag_caption(caption)
    chunks: list[Chunk] = []
    kinds = _chunk_tags(tuple(token.tag for token in tokens)) if tokens else ()
    for kind, start, end in kinds:
        name = tokens[start].tag
        if name == "INREL":
            last = chunks.pop()
            kind, start = "REL", last.start
        elif name in ("IN", "REL") or (name in ("TO", "RP") and _is_before_noun_phrase(kinds, start)):
            kind = "REL"
        text = " ".join(token.lower for token in tokens[start:end])
        if kind == "NP":
            chunks.append(_build_noun_phrase(tokens, text, start, end))
        else:
            chunks.append(Chunk(kind, text, start, end, end - 1 if kind == "VP" else start))
    return Parse(caption, tokens, tuple(chunks))


def _is_before_noun_phrase(kinds: tuple[tuple[str, int, int], ...], index: int) -> bool:
    """Return whether a noun phrase begins right after token `index`: "to" and "down" are then prepositions."""
    return any(kind == "NP" and start == index + 1 for kind, start, _ in kinds)


def _build_noun_phrase(tokens: tuple[Token, ...], text: str, start: int, end: int) -> Chunk:
    attributes, determiner, count = [], None, None
    owner = max((i for i in range(start, end) if tokens[i].tag == "POS"), default=start - 1)
    for i in range(start, end - 1):
        name = tokens[i].tag
        if name.startswith("JJ") and i > owner:
            attributes.append(i)
        elif name in ("DT", "PRP$") and determiner is None:
            determiner = i
        elif name == "CD" and count is None:
            count = i
    return Chunk("NP", text, start, end, end - 1, tuple(attributes), determiner, count)
