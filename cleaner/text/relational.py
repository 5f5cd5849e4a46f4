"""Relations between the nouns of a text: positive subtexts that keep them, and whether a caption states them."""

from functools import lru_cache
from random import Random

from cleaner.text.kinds import LIGHT_VERB_OBJECTS
from cleaner.text.parse import Parse, parse
from cleaner.text.positive import (
    draw_positive,
    drop_chunks,
    drop_image_prefix,
    find_cut_points,
    find_droppable_groups,
    find_scope_operators,
    find_subject_modifiers,
    join_kept_tokens,
)
from cleaner.text.rules import IMAGE_NOUNS
from cleaner.text.tables import read_set

Triple = tuple[str, str, str]
"""Base forms of subject, preposition or verb, and object; the object of an intransitive verb is ""."""

_CLOTHES, _SURFACES = read_set("nouns", "garments"), read_set("nouns", "surfaces")


def draw_relation_positive(parsed: Parse, rng: Random) -> str | None:
    """Return a true subtext with subject, relation and object; without a relation, what `draw_positive` returns."""
    first = _find_relation_end(parsed)
    if first is None:
        return draw_positive(parsed, rng)
    operators = find_scope_operators(parsed)
    scope_start = min(operators, default=len(parsed.tokens))
    modifiers, second = _find_other_relation(parsed, scope_start)
    has_other = bool(modifiers) and rng.random() < 0.5
    least = second if has_other else first
    ends = [k for k in find_cut_points(parsed) if k >= least]
    end = len(parsed.chunks)
    if ends:
        end = ends[0] if rng.random() < 0.8 else ends[int(rng.random() * len(ends))]
    kept = [True] * len(parsed.tokens)
    drop_chunks(parsed, kept, range(end, len(parsed.chunks)))
    _drop_attributes(parsed, kept, end, scope_start, rng)
    if has_other:
        drop_chunks(parsed, kept, modifiers)
    elif not operators:
        drop_image_prefix(parsed, kept, end, rng)
    return join_kept_tokens(parsed, kept)


def _find_relation_end(parsed: Parse) -> int | None:
    """Return how many leading chunks hold a subject, a relation and an object; None if there is no relation."""
    has_subject = has_relation = False
    for k, chunk in enumerate(parsed.chunks):
        before = parsed.previous_chunk(k)
        if chunk.kind == "REL":
            # "a group of women" is one subject, "a heart made of shells" a relation.
            joins_nouns = chunk.text == "of" and before is not None and before.kind == "NP"
            has_relation = has_relation or not joins_nouns
        elif chunk.kind == "VP":
            has_relation = has_relation or has_subject
        elif chunk.kind == "NP" and not _joined_by_of(parsed, k) and not _is_light_object(parsed, k):
            if has_subject and has_relation:
                return k + 1
            # "on the table there are grapes": the preposition comes first.
            has_relation = has_relation and not has_subject and bool(parsed.preposition_before(k))
            has_subject = True
    return None


def _joined_by_of(parsed: Parse, k: int) -> bool:
    """Return whether the noun phrase at chunk `k` belongs to the one before it: "group of women"."""
    return k > 1 and parsed.preposition_before(k) == "of" and parsed.chunks[k - 2].kind == "NP"


def _is_light_object(parsed: Parse, k: int) -> bool:
    """Return whether the noun phrase at chunk `k` is part of its verb: "having fun", "takes place"."""
    before, head = parsed.previous_chunk(k), parsed.lemma(parsed.chunks[k].head)
    return before is not None and before.kind == "VP" and (head == "fun" or head in LIGHT_VERB_OBJECTS)


def _find_other_relation(parsed: Parse, scope_start: int) -> tuple[range, int]:
    """Return the droppable chunks between subject and verb, and how many chunks reach the verb's object.

    (range(0), 0) if nothing may be dropped.
    """
    chunks = parsed.chunks
    modifiers = find_subject_modifiers(parsed, len(chunks), scope_start) or _find_clothes(parsed, scope_start)
    k = modifiers.stop + 1
    if modifiers and k < len(chunks) and chunks[k].kind == "O" and parsed.tokens[chunks[k].start].tag in ("RB", "RP"):
        k += 1
    if modifiers and k < len(chunks) and chunks[k].kind == "REL":
        k += 1
    if modifiers and k < len(chunks) and chunks[k].kind == "NP":
        return modifiers, k + 1
    return range(0), 0


def _find_clothes(parsed: Parse, scope_start: int) -> range:
    """Return the chunks "in a hat" of "a man in a hat leaning against a pole"; empty if there are none."""
    chunks = parsed.chunks
    is_worn = (
        [c.kind for c in chunks[:4]] == ["NP", "REL", "NP", "VP"]
        and chunks[1].text == "in"
        and parsed.lemma(chunks[2].head) in _CLOTHES
        and parsed.tokens[chunks[3].start].tag == "VBG"
        and chunks[3].start <= scope_start
    )
    return range(1, 3) if is_worn else range(0)


def _drop_attributes(parsed: Parse, kept: list[bool], end: int, scope_start: int, rng: Random) -> None:
    """With probability 1/2 keep one attribute per noun phrase, else none."""
    keeps_one = rng.random() < 0.5
    for chunk in parsed.chunks[:end]:
        if chunk.kind != "NP" or chunk.start >= scope_start:
            continue
        groups = find_droppable_groups(parsed, chunk)
        stays = int(rng.random() * len(groups)) if keeps_one else -1
        for i, group in enumerate(groups):
            for token in group if i != stays else ():
                kept[token] = False


def holds_relations(caption: str, text: str) -> bool:
    """Return whether the caption states every relation of the text between the same subject and object."""
    stated = _stated_triples(caption)
    return all(not stated.isdisjoint(readings) for readings in _read_relations(text))


@lru_cache(maxsize=16384)
def _stated_triples(text: str) -> frozenset[Triple]:
    """Return every triple that the text may state, with each conjunct of an object."""
    return frozenset(triple for readings in _find_relations(parse(text), with_conjuncts=True) for triple in readings)


@lru_cache(maxsize=16384)
def _read_relations(text: str) -> tuple[frozenset[Triple], ...]:
    """Return the possible triples of each preposition and verb of the text: its subject may be any earlier noun."""
    return tuple(_find_relations(parse(text), with_conjuncts=False))


def _find_relations(parsed: Parse, *, with_conjuncts: bool) -> list[frozenset[Triple]]:
    relations = []
    for k, chunk in enumerate(parsed.chunks):
        is_verb = chunk.kind == "VP" and parsed.tokens[chunk.head].tag != "VBE"
        if (chunk.kind != "REL" and not is_verb) or _names_content(parsed, k):
            continue
        following = parsed.next_chunk(k)
        # "on the grass sits a bird": the subject follows the verb.
        is_inverted = is_verb and k == 2 and parsed.chunks[0].kind == "REL" and parsed.chunks[1].kind == "NP"
        if following is not None and following.kind == "NP" and not is_inverted:
            objects = _find_conjuncts(parsed, k + 1) if with_conjuncts else [k + 1]
            names = [parsed.lemma(parsed.chunks[i].head) for i in objects]
        elif is_verb:
            objects, names = [], [""]
        else:
            continue
        word = parsed.lemma(chunk.head) if is_verb else _normalize(chunk.text)
        subjects = [parsed.lemma(parsed.chunks[i].head) for i in _find_subjects(parsed, k, objects)]
        if subjects:
            relations.append(
                frozenset((subject, _merge_places(word, name), name) for subject in subjects for name in names)
            )
    return relations


def _names_content(parsed: Parse, k: int) -> bool:
    """Return whether chunk `k` is the "of" of "a photo of a cat", which relates nothing that the image shows."""
    before = parsed.previous_chunk(k)
    is_image = before is not None and before.kind == "NP" and parsed.lemma(before.head) in IMAGE_NOUNS
    return is_image and parsed.chunks[k].text == "of"


def _normalize(preposition: str) -> str:
    """Return one form for "to the left of", "on the left side of" and "left of"."""
    words = preposition.split()
    if "left" in words or "right" in words:
        return "left of" if "left" in words else "right of"
    return preposition


def _merge_places(word: str, name: str) -> str:
    """Return "on" for "in" before a surface."""
    return "on" if word == "in" and name in _SURFACES else word


def _find_conjuncts(parsed: Parse, k: int) -> list[int]:
    """Return the noun phrase at chunk `k` and those joined to it: "a cat, a dog and a bird"."""
    conjuncts, chunks = [k], parsed.chunks
    k += 1
    while k < len(chunks):
        if chunks[k].kind == "NP" and chunks[k - 1].kind == "O":
            conjuncts.append(k)
        elif chunks[k].kind != "O" or parsed.tokens[chunks[k].start].tag not in ("CC", ","):
            break
        k += 1
    return conjuncts


def _find_subjects(parsed: Parse, k: int, objects: list[int]) -> list[int]:
    """Return the noun phrases before chunk `k` in its clause; if there are none, those after its objects.

    The place of "on the grass there is a bird" is no subject.
    """
    chunks, subjects = parsed.chunks, []
    for i in range(k - 1, -1, -1):
        is_fronted = i == 1 and chunks[0].kind == "REL"
        if chunks[i].kind != "NP" or is_fronted:
            continue
        subjects.append(i)
        # "a cat on a mat and | a dog on a rug"
        starts_clause = i >= 3 and chunks[i - 1].kind == "O" and chunks[i - 1].text in ("and", "while", "but")
        if starts_clause and i == k - 1 and chunks[i - 2].kind == "NP" and chunks[i - 3].kind in ("REL", "VP"):
            break
    last = max(objects, default=k)
    return subjects or [i for i in range(last + 1, len(chunks)) if chunks[i].kind == "NP"]
