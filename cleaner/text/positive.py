"""Positive subtexts: the caption shortened to a core that is true of every image it is true of."""

from functools import lru_cache
from itertools import pairwise
from random import Random

from cleaner.text import forms, kinds, rules
from cleaner.text.lexicon import CONCRETE_CLASSES, load_lexicon
from cleaner.text.parse import Chunk, Parse
from cleaner.text.tables import read_set
from cleaner.text.tags import FINITE_TAGS

# After these verbs a caption may end although a preposition follows: "a cat sits | on the grass".
_STANDALONE_VERBS = {word for group in kinds.INTRANSITIVE for word in group} | read_set("verbs", "standalone")
_TONES = {"bright", *(word for group in kinds.ATTRIBUTES["tone"] for word in group)}
_BOUND_NOUNS = read_set("nouns", "bound")
_PUNCTUATION_TAGS = frozenset((".", ",", ":"))


def draw_positive(parsed: Parse, rng: Random) -> str | None:
    """Return a true subtext, the caption if it cannot be shortened, None if it has no noun phrase."""
    if not parsed.noun_phrases:
        return None
    operators = find_scope_operators(parsed)
    scope_start = min(operators, default=len(parsed.tokens))
    kept = [True] * len(parsed.tokens)
    ends = find_cut_points(parsed)
    end = ends[int(rng.random() * len(ends))] if ends and rng.random() < 0.85 else len(parsed.chunks)
    drop_chunks(parsed, kept, range(end, len(parsed.chunks)))
    drop_probability = 0.9 if rng.random() < 0.7 else 0.4
    for chunk in parsed.chunks[:end]:
        if chunk.kind == "NP" and chunk.start < scope_start:
            for group in find_droppable_groups(parsed, chunk):
                if rng.random() < drop_probability:
                    for i in group:
                        kept[i] = False
    if not operators:
        drop_image_prefix(parsed, kept, end, rng)
    _drop_subject_modifiers(parsed, kept, end, scope_start, rng)
    return join_kept_tokens(parsed, kept)


def find_scope_operators(parsed: Parse) -> list[int]:
    """Return the negations and quantifiers, as token indices: after the first one nothing may be dropped."""
    return [i for i, t in enumerate(parsed.tokens) if t.lower in rules.NEGATIONS or t.lower in rules.QUANTIFIERS]


# Each epoch draws new subtexts of the same captions.
@lru_cache(maxsize=16384)
def find_cut_points(parsed: Parse) -> tuple[int, ...]:
    """Return each k for which the first k chunks are grammatical and true alone."""
    first, operators = parsed.chunks[0], find_scope_operators(parsed)
    is_clause = first.text in rules.CONJUNCTIONS and any(chunk.kind == "VP" for chunk in parsed.chunks[1:3])
    # "If it rains" and "when it rains" say nothing alone.
    if is_clause or (first.kind == "O" and parsed.tokens[first.start].tag not in ("PRP", "RB", "DT", "JJ", "CD")):
        return ()
    if any(parsed.tokens[i].lower not in rules.AMOUNTS for i in operators):
        return ()
    cut_points, open_quotes = [], 0
    has_main_phrase = False
    for k in range(1, len(parsed.chunks)):
        last = parsed.chunks[k - 1]
        open_quotes += 1 if last.text in ('"', "(", "[", "“") else -1 if last.text in (")", "]", "”") else 0
        has_main_phrase = has_main_phrase or (last.kind == "NP" and not parsed.preposition_before(k - 1))
        if operators and last.end > operators[0]:
            break  # "a market | with all sorts of fruit"
        if has_main_phrase and open_quotes % 2 == 0 and _may_end(parsed, k):
            cut_points.append(k)
    return tuple(cut_points)


def _may_end(parsed: Parse, k: int) -> bool:
    """Return whether chunks[:k] are grammatical and true alone; k < len(chunks)."""
    last, following = parsed.chunks[k - 1], parsed.chunks[k]
    if parsed.joins_compound(following.start):
        return False  # "thigh | - high boots"
    word, tag, after = following.text, parsed.tokens[following.start].tag, parsed.next_chunk(k)
    if (last.text == "home" and word == "to") or (after is not None and after.text == parsed.tokens[last.head].lower):
        return False  # "is home | to pandas", "side | by side"
    if following.kind == "REL" and (word in ("of", "than", "as", "like", "such as", "that") or _is_particle(parsed, k)):
        return False
    if last.kind == "O" and parsed.tokens[last.start].tag == "RB" and k > 1 and parsed.chunks[k - 2].kind == "VP":
        return following.kind == "REL" and _verb_may_end(parsed, parsed.chunks[k - 2])
    if last.kind == "VP":
        return following.kind == "REL" and _verb_may_end(parsed, last)
    if last.kind != "NP" or following.kind == "NP":
        return False
    if word in (",", "and", "&") and k > 2 and parsed.chunks[k - 3].kind == "NP" and parsed.chunks[k - 2].text == ",":
        return False  # "grapes, lemons |, oranges and kiwis"
    if not _names_a_thing(parsed, k) or _says_how_made(parsed, k) or _is_pose(parsed, k):
        return False
    if following.kind == "O":
        if tag == "CC":
            return word in ("and", "&") and not _joins_within_phrase(parsed, k)
        if tag == ":" and k == 1:
            noun_class = load_lexicon().noun_class(parsed.lemma(last.head))
            return noun_class in (*CONCRETE_CLASSES, "person")  # not "good morning : ..."
        return tag in _PUNCTUATION_TAGS or tag in ("WP", "WRB") or word == "while" or word in rules.DAYS
    if following.kind == "VP":
        # A subject alone is fine, but not in a subordinate clause: "[he says] the dog barks", "a dog as a cat | barks".
        before = parsed.chunks[:k]
        is_main = all(c.kind in ("NP", "REL") and c.text not in rules.CONJUNCTIONS for c in before)
        return is_main and before[0].kind == "NP"
    return True


def _names_a_thing(parsed: Parse, k: int) -> bool:
    """Return whether chunks[:k] name more than a container or an image: not "a bowl", "the subject of this photo"."""
    heads = [parsed.lemma(chunk.head) for chunk in parsed.chunks[:k] if chunk.kind == "NP"]
    if k == 1:
        return heads[0] not in rules.CONTAINERS and heads[0] not in rules.VAGUE
    return any(head not in rules.IMAGE_NOUNS and head != "subject" for head in heads)


def _says_how_made(parsed: Parse, k: int) -> bool:
    """Return whether chunk `k`, or the one after a comma or "that", is "made" as in "a horse made of straw"."""
    c = k + 1 if parsed.chunks[k].kind == "O" else k
    verb = parsed.chunks[c] if c < len(parsed.chunks) else None
    if verb is None or verb.kind != "VP" or parsed.lemma(verb.head) not in rules.MAKING_VERBS:
        return False
    tag, following = parsed.tokens[verb.head].tag, parsed.next_chunk(c)
    starts_phrase = following is not None and parsed.tokens[following.start].tag in ("DT", "PRP$")
    has_object = starts_phrase or (tag == "VBD" and following is not None and following.kind == "NP")
    return tag in ("VBN", "VBD") and not has_object  # "a man carved a turkey", but "a hand drawn map"


def _is_pose(parsed: Parse, k: int) -> bool:
    """Return whether chunks k - 2 to k say how one holds a part of the body: "with his hand on his knee"."""
    last = parsed.chunks[k - 1]
    is_own = parsed.preposition_before(k - 1) == "with" and parsed.tokens[last.start].tag == "PRP$"
    return is_own and parsed.chunks[k].kind == "REL" and load_lexicon().noun_class(parsed.lemma(last.head)) == "body"


def _is_particle(parsed: Parse, k: int) -> bool:
    """Return whether the preposition at chunk `k` is a particle: "takes off", "looks on ."."""
    following = parsed.next_chunk(k)
    return following is None or (following.kind == "O" and parsed.tokens[following.start].tag in (".", ","))


def _verb_may_end(parsed: Parse, verb: Chunk) -> bool:
    tag = parsed.tokens[verb.head].tag
    return tag in ("VBZ", "VBP", "VBD", "VBG") and parsed.lemma(verb.head) in _STANDALONE_VERBS


def _joins_within_phrase(parsed: Parse, k: int) -> bool:
    """Return whether the "and" at chunk `k` joins adjectives or the two halves of one thing.

    "A low resolution | and dark photo", "a biology | and science room": one thing without an article of its own.
    """
    following = parsed.next_chunk(k)
    if following is None or following.kind not in ("NP", "VP"):
        return True
    tag = parsed.tokens[following.start].tag
    starts_bare = following.kind == "NP" and following.head > following.start and tag.startswith(("JJ", "NN"))
    return starts_bare and parsed.tokens[following.head].tag == "NN"


@lru_cache(maxsize=65536)
def find_droppable_groups(parsed: Parse, chunk: Chunk) -> tuple[tuple[int, ...], ...]:
    """Return groups of tokens of a noun phrase that may be dropped: "very old", "black and white"."""
    if not chunk.attributes:
        return ()
    first, last = chunk.attributes[0], chunk.attributes[-1]
    if first > 0 and parsed.tokens[first - 1].tag in (",", "CC"):
        return ()  # the second of two adjectives
    droppable = [i for i in chunk.attributes if _is_droppable(parsed, chunk, i)]
    attribute_span = range(first, last + 1)
    has_degree = first - 1 >= chunk.start and parsed.tokens[first - 1].tag.startswith("RB")
    if len(attribute_span) == len(chunk.attributes) and not has_degree:
        return tuple(_add_tone(parsed, chunk, i) for i in droppable)
    is_joined = all(parsed.tokens[i].tag[:2] in ("JJ", "CC", "RB", ",") for i in attribute_span)
    if len(droppable) == len(chunk.attributes) and is_joined:
        return ((*([first - 1] if has_degree else []), *attribute_span),)
    return ()


def _add_tone(parsed: Parse, chunk: Chunk, i: int) -> tuple[int, ...]:
    """Return attribute `i` and the tone of its color: "a bright red car" may become "a red car", not "a bright car"."""
    has_tone = i - 1 in chunk.attributes and parsed.tokens[i - 1].lower in _TONES
    return (i - 1, i) if has_tone and parsed.tokens[i].lower in kinds.COLOR_NAMES else (i,)


def _is_droppable(parsed: Parse, chunk: Chunk, i: int) -> bool:
    """Return whether the noun phrase stays true and grammatical without the attribute at token `i`."""
    lexicon = load_lexicon()
    word = parsed.tokens[i].lower
    is_compound = i > 0 and parsed.tokens[i - 1].lower in ("middle", "brand")  # "middle aged", "brand new"
    is_privative = not rules.PRIVATIVE.isdisjoint((word, word.rpartition("-")[2]))  # "hand-drawn" is drawn
    if is_privative or word[0].isdigit() or parsed.tokens[i].tag != "JJ" or is_compound:
        return False  # "the 1st round"
    if parsed.is_name(i) and i + 1 < len(parsed.tokens) and parsed.is_name(i + 1):
        return False  # "New York"
    if parsed.joins_compound(i - 1):
        return False  # "a black - and - white photo"
    is_last = i + 1 == chunk.head
    if is_last and lexicon.is_participle(parsed.tokens[chunk.head].lower):
        return False  # "a young looking back": the adjective is the one who looks
    if i + 1 <= chunk.head:
        after = parsed.lemma(i + 1) if is_last else parsed.tokens[i + 1].lower
        if lexicon.compound_type(word, after) is not None or after in _BOUND_NOUNS:
            return False
    if word == "golden" and parsed.lemma(chunk.head) in rules.GOLDEN_STATUES:
        return False
    is_living = lexicon.noun_class(parsed.lemma(chunk.head)) in ("animal", "person", "plant", "food", "body")
    return not (is_living and word in kinds.MATERIAL_WORDS)


def drop_image_prefix(parsed: Parse, kept: list[bool], end: int, rng: Random) -> None:
    """Drop "a photo of" from the start of half of the captions."""
    if end < 3 or parsed.chunks[0].kind != "NP" or parsed.chunks[1].text != "of":
        return
    photo, of, content = parsed.chunks[:3]
    is_plain = parsed.lemma(photo.head) in rules.IMAGE_NOUNS and photo.end <= 2
    if is_plain and content.kind == "NP" and rng.random() < 0.5:
        kept[: of.end] = [False] * of.end


def _drop_subject_modifiers(parsed: Parse, kept: list[bool], end: int, scope_start: int, rng: Random) -> None:
    """Drop the phrases between subject and verb in half of the captions: "the house [on the hill] is old"."""
    modifiers = find_subject_modifiers(parsed, end, scope_start)
    if modifiers and rng.random() < 0.5:
        drop_chunks(parsed, kept, modifiers)


def find_subject_modifiers(parsed: Parse, end: int, scope_start: int) -> range:
    """Return the droppable chunks between subject and finite verb among chunks[:end]; empty if there are none."""
    chunks = parsed.chunks
    for k in range(3, end):
        if chunks[k].kind != "VP" or parsed.tokens[chunks[k].start].tag not in FINITE_TAGS:
            continue
        start = k
        while start >= 3 and chunks[start - 1].kind == "NP" and chunks[start - 2].kind == "REL":
            if chunks[start - 1].text == parsed.tokens[chunks[start - 3].head].lower:
                return range(0)  # "homes side by side"
            start -= 2
        while start < k and chunks[start].text == "of":
            start += 2
        subject = chunks[start - 1]
        # "the image for posters take ...": the rest would not agree.
        agrees = not (parsed.tokens[chunks[k].start].tag == "VBP" and parsed.tokens[subject.head].tag == "NN")
        is_subject = start == 1 and start < k and subject.kind == "NP"
        can_drop = agrees and is_subject and all(c.text != "of" for c in chunks[start:k])
        return range(start, k) if can_drop and chunks[k].start <= scope_start else range(0)
    return range(0)


def drop_chunks(parsed: Parse, kept: list[bool], indices: range) -> None:
    """Mark the tokens of some chunks as dropped."""
    for chunk in parsed.chunks[indices.start : indices.stop]:
        kept[chunk.start : chunk.end] = [False] * (chunk.end - chunk.start)


def join_kept_tokens(parsed: Parse, kept: list[bool]) -> str:
    """Return the kept tokens as text, with articles and agreement repaired and no marks at the ends.

    The caption itself if every word is kept.
    """
    if all(keep or t.tag in _PUNCTUATION_TAGS for keep, t in zip(kept, parsed.tokens, strict=True)):
        return parsed.caption
    places = [i for i, keep in enumerate(kept) if keep]
    while places and parsed.tokens[places[-1]].tag in _PUNCTUATION_TAGS:
        places.pop()
    while places and parsed.tokens[places[0]].tag in _PUNCTUATION_TAGS:
        places.pop(0)
    tokens = [parsed.tokens[i] for i in places]
    words = [token.text for token in tokens]
    for i, (place, following) in enumerate(pairwise(places)):
        # Where nothing was dropped the caption knows better: "a US soldier".
        if tokens[i].lower in ("a", "an") and following > place + 1:
            article = forms.choose_article(tokens[i + 1].lower)
            if tokens[i].lower != article:
                words[i] = article.capitalize() if words[i][0].isupper() else article
    _fix_agreement(words)
    text = ""
    for i, token in enumerate(tokens):
        is_adjacent = i and tokens[i - 1].end == token.start
        text += words[i] if not i or is_adjacent else " " + words[i]
    return text


def _fix_agreement(words: list[str]) -> None:
    """Turn "there are a cat" into "there is a cat", in place, once the other conjuncts are dropped."""
    lower = [w.lower() for w in words]
    for i, word in enumerate(lower[:-2]):
        rest = lower[i + 2 :]
        is_singular = rest[0] in ("a", "an", "one") and "and" not in rest and "," not in rest
        if word == "there" and lower[i + 1] in ("are", "were") and is_singular:
            words[i + 1] = "is" if lower[i + 1] == "are" else "was"
