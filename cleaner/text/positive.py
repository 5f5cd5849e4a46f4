"""Positive subtexts: the caption cut down to a core that is true of every picture the caption is true of."""

from __future__ import annotations

from random import Random

from cleaner.text import forms, kinds, rules
from cleaner.text.lexicon import CONCRETE_CLASSES, load_lexicon
from cleaner.text.parse import Chunk, Parse
from cleaner.text.tagger import Token

# After these a caption may stop although a preposition follows: "a cat sits | on the grass".
_STANDALONE_VERBS = {word for group in kinds.INTRANSITIVE for word in group} | set(
    kinds.split_words(
        "arrive smile laugh talk work shine bloom grow wave celebrate compete gather speak rise fall drift "
        "skateboard cook play"
    )
) - set(kinds.split_words("go move step use travel stay"))
_PUNCTUATION_TAGS = frozenset((".", ",", ":"))
_FINITE = ("VBZ", "VBP", "VBD", "VBE", "MD")


def draw_positive(parsed: Parse, rng: Random) -> str | None:
    """Return one true subtext, the caption itself if it is at its core, or None if it has no noun phrase."""
    if not parsed.noun_phrases:
        return None
    traps = find_scope_operators(parsed)
    frozen = min(traps, default=len(parsed.tokens))
    kept = [True] * len(parsed.tokens)
    ends = find_cut_points(parsed, traps)
    end = ends[int(rng.random() * len(ends))] if ends and rng.random() < 0.85 else len(parsed.chunks)
    for chunk in parsed.chunks[end:]:
        kept[chunk.start : chunk.end] = [False] * (chunk.end - chunk.start)
    thorough = 0.9 if rng.random() < 0.7 else 0.4
    for chunk in parsed.chunks[:end]:
        if chunk.kind == "NP" and chunk.start < frozen:
            for group in find_droppable_groups(parsed, chunk):
                if rng.random() < thorough:
                    for i in group:
                        kept[i] = False
    _drop_image_prefix(parsed, kept, end, traps, rng)
    _drop_subject_modifiers(parsed, kept, end, frozen, rng)
    if all(keep or t.tag in _PUNCTUATION_TAGS for keep, t in zip(kept, parsed.tokens, strict=True)):
        return parsed.caption
    return _join_kept_tokens(parsed, kept)


def find_scope_operators(parsed: Parse) -> list[int]:
    """Return the tokens after which nothing may be dropped: negations and quantifiers."""
    return [i for i, t in enumerate(parsed.tokens) if t.lower in rules.NEGATIONS or t.lower in rules.QUANTIFIERS]


def find_cut_points(parsed: Parse, operators: list[int]) -> list[int]:
    """Return the numbers of leading chunks at which the caption may stop and still be English and true."""
    if any(parsed.tokens[i].lower not in rules.AMOUNTS for i in operators) or (
        parsed.chunks[0].kind == "O"
        and parsed.tokens[parsed.chunks[0].start].tag not in ("PRP", "RB", "DT", "JJ", "CD")
    ):
        return []
    found, quotes = [], 0
    main = False
    for k in range(1, len(parsed.chunks)):
        last = parsed.chunks[k - 1]
        text = last.text
        quotes += text in ('"', "(", "[", "“") or (text in (")", "]", "”") and -1) or 0
        before = parsed.chunks[k - 2] if k > 1 else None
        main = main or (last.kind == "NP" and (before is None or before.kind != "REL"))
        if operators and last.end > operators[0]:
            break  # "a market | with all sorts of fruit"
        if main and quotes % 2 == 0 and _may_end(parsed, k):
            found.append(k)
    return found


def _may_end(parsed: Parse, k: int) -> bool:
    """Return whether chunks[:k] may stand alone; k < len(chunks)."""
    last, following = parsed.chunks[k - 1], parsed.chunks[k]
    word, tag = following.text, parsed.tokens[following.start].tag
    if following.kind == "REL" and (word in ("of", "than", "as", "like", "such as", "that") or _is_particle(parsed, k)):
        return False
    if last.kind == "O" and parsed.tokens[last.start].tag == "RB" and k > 1 and parsed.chunks[k - 2].kind == "VP":
        return following.kind == "REL" and _verb_may_end(parsed, parsed.chunks[k - 2])
    if last.kind == "VP":
        return following.kind == "REL" and _verb_may_end(parsed, last)
    if last.kind != "NP" or following.kind == "NP":
        return False
    head = parsed.lemma(last.head)
    if word in (",", "and", "&") and k > 2 and parsed.chunks[k - 3].kind == "NP" and parsed.chunks[k - 2].text == ",":
        return False  # "grapes, lemons |, oranges and kiwis"
    if k == 1 and (head in rules.CONTAINERS or head in rules.VAGUE):
        return False
    if following.kind == "O":
        if tag == "CC":
            return word in ("and", "&") and not _joins_within_phrase(parsed, k)
        if tag == ":" and k == 1:
            return load_lexicon().noun_class(head) in (*CONCRETE_CLASSES, "person")  # not "good morning : ..."
        return tag in _PUNCTUATION_TAGS or tag in ("WP", "WRB") or word == "while"
    if following.kind == "VP":
        # A subject may stand for its sentence, but not a part of one: "[he says] the dog barks".
        return all(c.kind in ("NP", "REL") for c in parsed.chunks[:k]) and parsed.chunks[0].kind == "NP"
    return True


def _is_particle(parsed: Parse, k: int) -> bool:
    """Return whether the preposition at chunk `k` is a particle: "takes off", "looks on ."."""
    return k + 1 >= len(parsed.chunks) or (
        parsed.chunks[k + 1].kind == "O" and parsed.tokens[parsed.chunks[k + 1].start].tag in (".", ",")
    )


def _verb_may_end(parsed: Parse, verb: Chunk) -> bool:
    tag = parsed.tokens[verb.head].tag
    return tag in ("VBZ", "VBP", "VBD", "VBG") and parsed.lemma(verb.head) in _STANDALONE_VERBS


def _joins_within_phrase(parsed: Parse, k: int) -> bool:
    """Return whether the "and" at chunk `k` joins adjectives or the two halves of one thing."""
    return k + 1 >= len(parsed.chunks) or parsed.chunks[k + 1].kind not in ("NP", "VP")


def find_droppable_groups(parsed: Parse, chunk: Chunk) -> list[tuple[int, ...]]:
    """Return groups of tokens of a noun phrase that may go: "very old", "black and white"."""
    if not chunk.attributes:
        return []
    lexicon = load_lexicon()
    first, last = chunk.attributes[0], chunk.attributes[-1]
    noun = parsed.lemma(chunk.head)
    kind = lexicon.noun_class(noun) or "artifact"
    if first > 0 and parsed.tokens[first - 1].tag in (",", "CC"):
        return []  # the second of two adjectives
    able = []
    for i in chunk.attributes:
        word = parsed.tokens[i].lower
        bound = word in rules.PRIVATIVE or parsed.tokens[i].tag != "JJ" or parsed.tokens[i - 1].lower == "middle"
        # "a young looking back": the adjective stands for the one who looks.
        bound = bound or (i + 1 == chunk.head and lexicon.is_participle(parsed.tokens[chunk.head].lower))
        if i + 1 <= chunk.head:
            after = parsed.lemma(i + 1) if i + 1 == chunk.head else parsed.tokens[i + 1].lower
            bound = (
                bound or lexicon.compound_type(word, after) is not None or after in ("style", "size", "quality", "view")
            )
        if kind in ("animal", "person", "plant", "food", "body"):
            bound = bound or any(
                word in group for group in (*kinds.ATTRIBUTES["material"], *kinds.ATTRIBUTES["fabric"])
            )
        able.append(not bound)
    inside = range(first, last + 1)
    degree = first - 1 if first - 1 >= chunk.start and parsed.tokens[first - 1].tag.startswith("RB") else None
    if len(inside) == len(chunk.attributes) and degree is None:
        return [(i,) for i, free in zip(chunk.attributes, able, strict=True) if free]
    if all(able) and all(parsed.tokens[i].tag[:2] in ("JJ", "CC", "RB", ",") for i in inside):
        return [(*((degree,) if degree is not None else ()), *inside)]
    return []


def _drop_image_prefix(parsed: Parse, kept: list[bool], end: int, operators: list[int], rng: Random) -> None:
    """Drop "a photo of" from the front, now and then."""
    if end < 3 or operators or parsed.chunks[0].kind != "NP" or parsed.chunks[1].text != "of":
        return
    photo, of, shown = parsed.chunks[:3]
    plain = parsed.lemma(photo.head) in rules.IMAGE_NOUNS and photo.end <= 2
    if plain and shown.kind == "NP" and rng.random() < 0.5:
        kept[: of.end] = [False] * of.end


def _drop_subject_modifiers(parsed: Parse, kept: list[bool], end: int, scope_start: int, rng: Random) -> None:
    """Drop what stands between subject and verb: "the house [on the hill] is old"."""
    chunks = parsed.chunks
    for k in range(3, end):
        if chunks[k].kind != "VP" or parsed.tokens[chunks[k].start].tag not in _FINITE:
            continue
        start = k
        while start >= 3 and chunks[start - 1].kind == "NP" and chunks[start - 2].kind == "REL":
            start -= 2
        while start < k and chunks[start].text == "of":
            start += 2
        subject = chunks[start - 1]
        # "the image for posters take ...": what is left would not agree.
        agrees = not (parsed.tokens[chunks[k].start].tag == "VBP" and parsed.tokens[subject.head].tag == "NN")
        whole = (
            agrees
            and start == 1
            and subject.kind == "NP"
            and start < k
            and all(c.text != "of" for c in chunks[start:k])
        )
        if whole and chunks[k].start <= scope_start and rng.random() < 0.5:
            for i in range(chunks[start].start, chunks[k].start):
                kept[i] = False
        return


def _join_kept_tokens(parsed: Parse, kept: list[bool]) -> str:
    """Return the kept tokens as they stood, with "a" and "is" put right and no mark left over at the ends."""
    tokens = [t for t, keep in zip(parsed.tokens, kept, strict=True) if keep]
    while tokens and tokens[-1].tag in _PUNCTUATION_TAGS:
        tokens.pop()
    while tokens and tokens[0].tag in _PUNCTUATION_TAGS:
        tokens.pop(0)
    words = []
    for i, token in enumerate(tokens):
        text = token.text
        if token.lower in ("a", "an") and i + 1 < len(tokens):
            right = forms.choose_article(tokens[i + 1].lower)
            text = text if token.lower == right else right.capitalize() if text[0].isupper() else right
        words.append(text)
    _fix_agreement(parsed, tokens, words)
    text = ""
    for i, token in enumerate(tokens):
        glued = i and parsed.caption[tokens[i - 1].end : token.start] == "" and tokens[i - 1].end == token.start
        text += words[i] if not i or glued else " " + words[i]
    return text


def _fix_agreement(parsed: Parse, tokens: list[Token], words: list[str]) -> None:
    """Make "there are a cat" "there is a cat", once the other conjuncts are gone."""
    lowered = [w.lower() for w in words]
    for i, word in enumerate(lowered[:-2]):
        one = lowered[i + 2] in ("a", "an", "one") and "and" not in lowered[i + 2 :] and "," not in lowered[i + 2 :]
        if word == "there" and lowered[i + 1] in ("are", "were") and one:
            words[i + 1] = "is" if lowered[i + 1] == "are" else "was"
