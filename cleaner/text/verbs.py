"""Exchanges of a verb: "a cat sits" becomes "a cat runs"; negations taken back."""

from __future__ import annotations

from random import Random

from cleaner.text import forms, kinds
from cleaner.text.changes import Change, mark_unsafe_tokens, repair_article, sample_items
from cleaner.text.lexicon import lexicon_cache, load_lexicon
from cleaner.text.parse import Chunk, Parse
from cleaner.text.vocabulary import Vocabulary

_ACTIVE = ("VB", "VBP", "VBZ", "VBG", "VBD")
_PARTICLES = ("off", "up", "out", "like", "that", "as", "to", "over", "of")
_LIGHT_VERB_OBJECTS = frozenset(
    kinds.split_words(
        "way thing time place turn part break rest breath bath shower nap care walk look moment step wish"
    )
)
# Verbs that are another verb with "in", "on" or "through".
_PARTICLE_VERBS = ("get", "take", "keep")


@lexicon_cache(4096)
def _other_verbs(verb: str, is_transitive: bool, is_animate: bool) -> tuple[str, ...]:
    """Return infinitives that exclude `verb`; `is_animate` is said of its subject."""
    found = list(kinds.OPPOSITE_VERBS.get(verb, ()))
    if not is_animate and not is_transitive:
        found = [w for w in found if w not in kinds.INTRANSITIVE_ONLY] if verb in kinds.POSTURES else found
        found += (
            kinds.POSTURES
            if verb in kinds.POSTURES
            else ()
            if verb in kinds.COMPLEMENT_VERBS
            else kinds.FALLBACK_INANIMATE
        )
        return tuple(word for word in dict.fromkeys(found) if word != verb and word not in kinds.TRANSITIVE_ONLY)
    family = kinds.TRANSITIVE if is_transitive else kinds.INTRANSITIVE
    own = [group for group in family if verb in group]
    if own:
        same = {w for group in own for w in group}
        found += [group[0] for group in family if group[0] not in same and group[0] not in found]
    if not found and verb not in kinds.COMPLEMENT_VERBS:
        found += kinds.FALLBACK_TRANSITIVE if is_transitive else kinds.FALLBACK_INTRANSITIVE
    wrong = kinds.INTRANSITIVE_ONLY if is_transitive else kinds.TRANSITIVE_ONLY
    return tuple(word for word in found if word != verb and word not in wrong)


def find_verb_changes(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    """Return exchanges of a verb, active ones only."""
    found = _find_negation_removals(parsed)
    texts = {parsed.lemma(i) for i in range(len(parsed.tokens))}
    for c, chunk in enumerate(parsed.chunks):
        tag = parsed.tokens[chunk.head].tag
        if tag in ("VBN", "VBD") and chunk.kind == "VP" and not mark_unsafe_tokens(parsed)[chunk.head]:
            found += _find_participle_changes(parsed, c, texts, vocabulary)
        passive = tag in ("VBN", "VBD") and any(t.tag == "VBE" for t in parsed.tokens[chunk.start : chunk.head])
        made = tag in ("VBN", "VBD") and _has_person_agent(parsed, c)
        if (
            chunk.kind != "VP"
            or ((tag not in _ACTIVE or passive) and not made)
            or mark_unsafe_tokens(parsed)[chunk.head]
        ):
            continue
        after = parsed.chunks[c + 1] if c + 1 < len(parsed.chunks) else None
        transitive = made or (after is not None and after.kind == "NP")
        if transitive and not made and after and parsed.lemma(after.head) in _LIGHT_VERB_OBJECTS:
            continue  # "make their way"
        verb = parsed.lemma(chunk.head)
        if not transitive and (verb in _PARTICLE_VERBS or (tag == "VBD" and _has_agent(parsed, c, verb))):
            continue
        words = (
            _other_verbs(verb, transitive, _has_animate_subject(parsed, c))
            if _is_plain_verb(parsed, c, transitive)
            else ()
        )
        unfit = texts | _find_unsuitable_verbs(parsed, after)
        words = tuple(w for w in words if w not in unfit)
        used = tuple(w for w in words if w in vocabulary.verbs) if vocabulary else words
        for word in sample_items(rng, used or words, 3):
            perfect = made or (tag == "VBD" and chunk.start < chunk.head)
            form = forms.conjugate(word, "VBN" if perfect else tag)
            found.append(Change("verb", chunk.head, chunk.head + 1, form, (), bool(used)))
    return found


def _has_animate_subject(parsed: Parse, c: int) -> bool:
    """Return whether the subject of the verb at chunk `c` is, or may be, somebody."""
    k = c - 1
    while k >= 2 and parsed.chunks[k].kind == "NP" and parsed.chunks[k - 1].kind == "REL":
        k -= 2  # "a man [in a sweater] speaks"
    if k < 0 or parsed.chunks[k].kind != "NP":
        return True
    noun = parsed.lemma(parsed.chunks[k].head)
    return noun in kinds.PERSONS or load_lexicon().noun_class(noun) in ("person", "animal", "top", "group", None)


def _find_negation_removals(parsed: Parse) -> list[Change]:
    """Return the negations of verbs taken back: "is not open" becomes "is open"."""
    found = []
    for i, token in enumerate(parsed.tokens[1:-1], 1):
        before = parsed.tokens[i - 1]
        if token.lower == "never":
            found.append(Change("verb", i, i + 1, "always"))
        elif token.lower in ("not", "n't", "n’t") and before.tag in ("VBE", "MD", "VBZ", "VBP", "VBD"):
            whole = {"wo": "will", "ca": "can"}.get(before.lower, before.text)
            found.append(Change("verb", i - 1, i + 1, whole))
    return found


def _find_participle_changes(parsed: Parse, c: int, texts: set[str], vocabulary: Vocabulary | None) -> list[Change]:
    """Return exchanges of a participle: "covered with snow"."""
    head = parsed.chunks[c].head
    following = parsed.chunks[c + 1] if c + 1 < len(parsed.chunks) else None
    if following and (following.kind == "NP" or following.text in ("up", "to")):
        return []  # "set up", "used to go"
    words = [w for w in kinds.OPPOSITE_PARTICIPLES.get(parsed.tokens[head].lower, ()) if w not in texts]
    seen = [vocabulary is None or (load_lexicon().verb_lemma(w) or w) in vocabulary.verbs for w in words]
    return [
        Change("verb", head, head + 1, w, repair_article(parsed, head, w), s) for w, s in zip(words, seen, strict=True)
    ]


def _find_unsuitable_verbs(parsed: Parse, following: Chunk | None) -> frozenset[str]:
    """Return the verbs that must not be put before `following`: nobody is harmed, or slept with."""
    if following is None:
        return frozenset()
    if following.kind == "REL" and following.text == "with":
        return frozenset(("sleep", "lie"))
    if following.kind != "NP":
        return frozenset()
    noun = parsed.lemma(following.head)
    somebody = noun in kinds.PERSONS or load_lexicon().noun_class(noun) in ("person", "animal", "group", "top")
    return kinds.HARMFUL if somebody or following.text in ("him", "her", "them") else frozenset()


def _has_person_agent(parsed: Parse, c: int) -> bool:
    """Return whether a passive names its agent: "a song written by an artist"."""
    if c + 2 >= len(parsed.chunks) or parsed.chunks[c + 1].text != "by" or parsed.chunks[c + 2].kind != "NP":
        return False
    agent = parsed.lemma(parsed.chunks[c + 2].head)
    return agent in kinds.PERSONS or load_lexicon().noun_class(agent) == "person"


def _has_agent(parsed: Parse, c: int, verb: str) -> bool:
    """Return whether "by" tells what did it: "a train hauled by an engine", but not "a man walked by the lake"."""
    following = parsed.chunks[c + 1].text if c + 1 < len(parsed.chunks) else ""
    return following == "by" and not any(verb in group for group in kinds.INTRANSITIVE)


def _is_plain_verb(parsed: Parse, c: int, is_transitive: bool) -> bool:
    """Return whether the verb of chunk `c` stands alone: no particle ("takes off"), no clause ("wants to go")."""
    following = parsed.chunks[c + 1] if c + 1 < len(parsed.chunks) else None
    if following is None or is_transitive:
        return True
    tag = parsed.tokens[following.start].tag
    if following.kind == "REL":
        particle = following.text in _PARTICLES
        return not particle and not (
            following.text == "at" and parsed.lemma(parsed.chunks[c].head) in kinds.COMPLEMENT_VERBS
        )
    if tag == "RB" and parsed.lemma(parsed.chunks[c].head) in kinds.COMPLEMENT_VERBS:
        return False  # "puts together"
    return tag in (".", ",", "CC", "RB", ":") or (following.kind == "VP" and tag == "VBG")
