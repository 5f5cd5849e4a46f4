"""Changes of number: "two cats" to "three cats", "a cat" to "two cats", "cats" to "a single cat"."""

from functools import lru_cache
from random import Random

from cleaner.text import forms, kinds, rules
from cleaner.text.changes import Change, mark_unsafe_tokens, sample_items
from cleaner.text.lexicon import load_lexicon
from cleaner.text.objects import score_noun
from cleaner.text.parse import Chunk, Parse
from cleaner.text.tables import read_set, split_words
from cleaner.text.tags import FINITE_TAGS
from cleaner.text.vocabulary import Vocabulary

_NUMBER_CHOICES = rules.NUMBERS[1:5]
_COUNTABLE_CLASSES = frozenset(
    split_words("animal artifact body object person plant location event communication top food group")
)
_DEPICTION_NOUNS = rules.IMAGE_NOUNS | read_set("nouns", "depictions")
_COUNTABLE_CONTAINERS = read_set("nouns", "countable_containers")
_UNIQUE = read_set("grammar", "unique_marks")
_TO_PLURAL = {"is": "are", "was": "were", "has": "have", "does": "do"}
_PLURAL_PRONOUNS = {
    **dict.fromkeys(("his", "her", "its"), "their"),
    **dict.fromkeys(("himself", "herself", "itself"), "themselves"),
}
_TO_SINGULAR = {plural: singular for singular, plural in _TO_PLURAL.items()}
_RELATIVE_PRONOUNS = ("who", "which", "that")
# After these tags a bare noun starts a phrase; after an adjective it does not ("pretty | girl").
_TAGS_BEFORE_PHRASE = split_words("START . , CC VBZ VBP VBD VBG VB VBE WP WRB IN REL INREL TO")


def find_count_changes(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    """Return a few changes of the number of a thing."""
    changes: list[Change] = []
    phrases = [c for c, chunk in enumerate(parsed.chunks) if chunk.kind == "NP"]
    for c in sample_items(rng, phrases, len(phrases)):
        chunk = parsed.chunks[c]
        first, tag = parsed.tokens[chunk.start], parsed.tokens[chunk.head].tag
        if first.lower == "no":
            changes += _replace_no(parsed, chunk)
        elif (
            not mark_unsafe_tokens(parsed)[chunk.head]
            and not _has_possessive(parsed, chunk)
            and _is_countable_phrase(parsed, c)
        ):
            finder = _singularize_phrase if tag == "NNS" else _pluralize_phrase if tag == "NN" else None
            if chunk.count is not None:
                changes += _replace_number(parsed, chunk, rng)
            elif finder:
                changes += finder(parsed, c, rng)
        if len(changes) >= 3:
            break
    return changes


def _is_countable_phrase(parsed: Parse, c: int) -> bool:
    """Return whether the noun of chunk `c` can be counted; in "a glass of wine" it is the glass."""
    chunk = parsed.chunks[c]
    is_container = parsed.lemma(chunk.head) in _COUNTABLE_CONTAINERS
    has_article = parsed.tokens[chunk.start].lower in ("a", "an")
    return (is_container and has_article) or score_noun(parsed, c) > 0


def _replace_no(parsed: Parse, chunk: Chunk) -> list[Change]:
    """Return "many cars" for "no cars", "a car" for "no car", "an idea" for "no idea"."""
    if parsed.tokens[chunk.head].tag == "NNS":
        new = "many"
    else:
        next_word = parsed.tokens[chunk.start + 1].lower
        noun = parsed.lemma(chunk.head)
        is_countable = _is_countable(noun) or (noun in load_lexicon().countable and noun not in kinds.MASS)
        new = forms.choose_article(next_word) if is_countable else "much"
    return [Change("count", chunk.start, chunk.start + 1, new)]


def _replace_number(parsed: Parse, chunk: Chunk, rng: Random) -> list[Change]:
    """Return "three cars" for "two cars"."""
    assert chunk.count is not None
    word = parsed.tokens[chunk.count].lower
    if parsed.tokens[chunk.head].tag != "NNS" or parsed.lemma(chunk.head) in kinds.PLURAL_ONLY:
        return []
    numbers = _NUMBER_CHOICES if word in rules.NUMBERS[1:] else tuple("23456") if word in tuple("23456789") else ()
    others = [number for number in numbers if number != word]
    return [Change("count", chunk.count, chunk.count + 1, number) for number in sample_items(rng, others, 2)]


def _pluralize_phrase(parsed: Parse, c: int, rng: Random) -> list[Change]:
    """Return "two red cars" for "a red car"; also for "the", "her" or no article if cars are countable."""
    chunk = parsed.chunks[c]
    noun, first = parsed.lemma(chunk.head), parsed.tokens[chunk.start]
    is_bare, is_possessive = chunk.determiner is None, first.tag == "PRP$"
    if first.lower in ("a", "an"):
        is_countable = noun in load_lexicon()
    else:
        has_fit_determiner = is_bare or is_possessive or first.lower in ("the", "this", "that")
        is_countable = has_fit_determiner and _is_countable(noun)
    if not is_countable or parsed.is_plural(chunk) or (is_bare and not _is_independent_phrase(parsed, c)):
        return []
    pronouns = _pluralize_pronouns(parsed, chunk)
    if pronouns is None or _must_stay_singular(parsed, c):
        return []
    plural = forms.pluralize(parsed.tokens[chunk.head].lower)
    # "her car" keeps "her", "a car" and "the car" lose their article, "car" has none.
    start = chunk.start + is_possessive
    is_only_noun = start == chunk.head
    repairs = [] if is_only_noun else [(chunk.head, plural)]
    repairs += pronouns
    verb = _find_agreeing_verb(parsed, c)
    if verb is not None:
        if any(v.kind == "VP" and v is not verb and _shares_subject(parsed, v, verb) for v in parsed.chunks):
            return []  # "smiles and nods", "that is red is parked": both verbs would have to agree
        token = parsed.tokens[verb.start]
        if token.lower in _TO_PLURAL:
            repairs.append((verb.start, _TO_PLURAL[token.lower]))
        elif token.tag == "VBZ":
            repairs.append((verb.start, parsed.lemma(verb.start)))
    determiner = {"this": "these ", "that": "those "}.get(first.lower, "")
    rest = f" {plural if is_only_noun else parsed.tokens[start].text}" if is_possessive or is_bare else ""
    numbers = sample_items(rng, _NUMBER_CHOICES[:3], 2)
    return [Change("count", start, start + 1, determiner + number + rest, tuple(repairs)) for number in numbers]


def _must_stay_singular(parsed: Parse, c: int) -> bool:
    """Return whether chunk `c` must stay singular: "such a dog", "the first dog"."""
    chunk, previous = parsed.chunks[c], parsed.previous_chunk(c)
    is_exclaimed = previous is not None and (previous.text == "such" or (previous.text == "what" and c == 1))
    if is_exclaimed or _is_predicate(parsed, c):
        return True
    return any(parsed.tokens[i].lower in _UNIQUE for i in chunk.attributes)


def _pluralize_pronouns(parsed: Parse, chunk: Chunk) -> list[tuple[int, str]] | None:
    """Return the pronouns after a person or animal and their plurals: "its" -> "their" for "dogs holding their leash".

    None if one of them, such as "he", has no plural here.
    """
    repairs = []
    if load_lexicon().is_animate(parsed.lemma(chunk.head), if_unknown=False):
        for i, token in enumerate(parsed.tokens[chunk.end :], start=chunk.end):
            if token.lower in ("he", "she", "hers"):
                return None
            if token.lower in _PLURAL_PRONOUNS:
                is_object = token.lower == "her" and token.tag != "PRP$"
                repairs.append((i, "them" if is_object else _PLURAL_PRONOUNS[token.lower]))
    return repairs


def _singularize_phrase(parsed: Parse, c: int, rng: Random) -> list[Change]:
    """Return "a single red car" for "red cars" or "the red cars"."""
    chunk = parsed.chunks[c]
    head, noun, first = parsed.tokens[chunk.head].lower, parsed.lemma(chunk.head), parsed.tokens[chunk.start]
    if noun == head or noun in kinds.MASS or head in kinds.PLURAL_ONLY or _must_stay_plural(parsed, c):
        return []
    has_article = first.lower in ("the", "these", "those", "some")
    if any(token.lower in rules.MANY for token in parsed.tokens[chunk.start : chunk.head]):
        return []  # "so many people", "the many boats"
    if not has_article and not (chunk.determiner is None and _is_independent_phrase(parsed, c)):
        return []
    is_only_noun = chunk.start == chunk.head
    new = "a single" if has_article else f"a single {noun if is_only_noun else first.text}"
    repairs = [] if is_only_noun else [(chunk.head, noun)]
    verb = _find_agreeing_verb(parsed, c)
    if verb is not None:
        token = parsed.tokens[verb.start]
        if token.lower in _TO_SINGULAR:
            repairs.append((verb.start, _TO_SINGULAR[token.lower]))
        elif token.tag in ("VBP", "VB"):
            repairs.append((verb.start, forms.conjugate(parsed.lemma(verb.start), "VBZ")))
    return [Change("count", chunk.start, chunk.start + 1, new, tuple(repairs))]


def _must_stay_plural(parsed: Parse, c: int) -> bool:
    """Return whether chunk `c` must stay plural: "a group of cats", but not "a photo of cats"."""
    previous, following = parsed.previous_chunk(c), parsed.next_chunk(c)
    before = previous.text if previous else ""
    is_group = before == "of" and c > 1 and parsed.lemma(parsed.chunks[c - 2].head) not in _DEPICTION_NOUNS
    is_group = is_group or (following is not None and following.text == "of")
    return is_group or before in ("between", "among", "are", "were", "as")


@lru_cache(maxsize=4096)
def _is_countable(noun: str) -> bool:
    """Return whether `noun` can be counted in an image."""
    lexicon = load_lexicon()
    kind = lexicon.noun_class(noun)
    if noun in kinds.MASS or noun in kinds.PLURAL_ONLY or kind not in _COUNTABLE_CLASSES:
        return False
    if kind in ("animal", "person") or noun in lexicon.countable:
        return True
    hypernyms = ("structure", "device", "container")
    return kind == "artifact" and any(lexicon.is_hyponym(noun, hypernym) for hypernym in hypernyms)


def _has_possessive(parsed: Parse, chunk: Chunk) -> bool:
    """Return whether a possessive is in or after the phrase: "the man's hat"."""
    return any(token.tag == "POS" for token in parsed.tokens[chunk.start : chunk.end + 1])


def _is_independent_phrase(parsed: Parse, c: int) -> bool:
    """Return whether a bare noun phrase is independent, not part of an idiom such as "at night"."""
    start = parsed.chunks[c].start
    if start > 1 and parsed.joins_compound(start - 2):
        return False  # "a cloud - seeding plane"
    before = parsed.tokens[start - 1].tag if start else "START"
    if before in ("IN", "REL", "INREL", "TO") and parsed.tokens[parsed.chunks[c].head].tag == "NN":
        return parsed.chunks[c - 1].text in ("of", "with")
    return before in _TAGS_BEFORE_PHRASE


def _is_predicate(parsed: Parse, c: int) -> bool:
    """Return whether the phrase is a predicate ("it is a tree"), or the next word belongs to it."""
    chunk = parsed.chunks[c]
    after = parsed.tokens[chunk.end].tag if chunk.end < len(parsed.tokens) else "END"
    if after in ("JJ", "NN", "NNS", "CD", "DT", "POS"):
        return True
    k = c - 1
    while k > 0 and parsed.tokens[parsed.chunks[k].head].tag == "RB":
        k -= 1  # "it is just a tree"
    is_after_be = c > 0 and parsed.tokens[parsed.chunks[k].head].tag in ("VBE", "POS")
    return is_after_be and _find_agreeing_verb(parsed, c) is None


def _find_agreeing_verb(parsed: Parse, c: int) -> Chunk | None:
    """Return the verb that agrees with chunk `c`: after it, or before it as in "there is a cat"."""
    chunks = parsed.chunks
    if c + 2 < len(chunks) and chunks[c + 1].text in _RELATIVE_PRONOUNS and chunks[c + 2].kind == "VP":
        return chunks[c + 2]
    if c and chunks[c - 1].kind == "REL":
        # "as his bride arrives": here the preposition starts a clause.
        following = parsed.next_chunk(c) if chunks[c - 1].text in rules.CONJUNCTIONS else None
        return following if following and _is_finite(parsed, following) else None
    if c and chunks[c - 1].kind == "VP":
        # "on the grass sits a cat", "there is a cat": the subject follows the verb.
        lead = chunks[: c - 1]
        is_fronted = lead and lead[0].kind == "REL" and all(x.kind in ("REL", "NP") or x.text == "there" for x in lead)
        return chunks[c - 1] if is_fronted or (lead and lead[-1].text == "there") else None
    k = c + 1
    while k + 1 < len(chunks) and chunks[k].kind == "REL" and chunks[k + 1].kind == "NP":
        k += 2
    if k < len(chunks) and chunks[k].kind == "O" and parsed.tokens[chunks[k].start].tag == "RB":
        k += 1
    return chunks[k] if k < len(chunks) and _is_finite(parsed, chunks[k]) else None


def _shares_subject(parsed: Parse, other: Chunk, verb: Chunk) -> bool:
    """Return whether a singular verb may have the subject of `verb`; "is" has not before it, nor after "that"."""
    token = parsed.tokens[other.start]
    is_after = other.start > verb.start and parsed.tokens[other.start - 1].lower not in _RELATIVE_PRONOUNS
    return token.tag == "VBZ" or (is_after and token.lower in _TO_PLURAL)


def _is_finite(parsed: Parse, chunk: Chunk) -> bool:
    return chunk.kind == "VP" and parsed.tokens[chunk.start].tag in FINITE_TAGS
