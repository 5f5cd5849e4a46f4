"""Replacements of a verb, "a cat sits" to "a cat runs", and removals of negations."""

from functools import lru_cache
from random import Random

from cleaner.text import forms, kinds, rules
from cleaner.text.changes import Change, mark_unsafe_tokens, repair_article, sample_items
from cleaner.text.lexicon import load_lexicon
from cleaner.text.parse import Chunk, Parse
from cleaner.text.vocabulary import Vocabulary

_ACTIVE_TAGS = ("VB", "VBP", "VBZ", "VBG", "VBD")
_PARTICLES = ("off", "up", "out", "like", "that", "as", "to", "over", "of")
# Verbs that change their meaning with "in", "on" or "through".
_PARTICLE_VERBS = ("get", "take", "keep")


@lru_cache(maxsize=4096)
def _other_verbs(verb: str, *, is_transitive: bool, has_animate_subject: bool) -> tuple[str, ...]:
    """Return infinitives that exclude `verb`."""
    verbs = list(kinds.OPPOSITE_VERBS.get(verb, ()))
    if not has_animate_subject and not is_transitive:
        if verb in kinds.POSTURES:
            # "sit" and "stand" are both true of things: a house that sits on a hill also stands there.
            postures = () if verb == "sit" else kinds.POSTURES
            verbs = [*(w for w in verbs if w not in kinds.INTRANSITIVE_ONLY), *postures]
        elif verb not in kinds.COMPLEMENT_VERBS:
            verbs += kinds.FALLBACK_INANIMATE
        return tuple(word for word in dict.fromkeys(verbs) if word != verb and word not in kinds.TRANSITIVE_ONLY)
    family = kinds.TRANSITIVE if is_transitive else kinds.INTRANSITIVE
    close = {word for group in family if verb in group for word in group}
    if close:
        verbs += [group[0] for group in family if group[0] not in close and group[0] not in verbs]
    if not verbs and verb not in kinds.COMPLEMENT_VERBS:
        verbs += kinds.FALLBACK_TRANSITIVE if is_transitive else kinds.FALLBACK_INTRANSITIVE
    unfit = (
        kinds.INTRANSITIVE_ONLY if is_transitive else (*kinds.TRANSITIVE_ONLY, *kinds.COMPATIBLE_VERBS.get(verb, ()))
    )
    return tuple(word for word in verbs if word != verb and word not in unfit)


def find_verb_changes(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    """Return replacements of verbs (active, or passive with a person as agent) and removals of negations."""
    changes = _find_negation_removals(parsed)
    caption_words = {parsed.lemma(i) for i in range(len(parsed.tokens))}
    for c, chunk in enumerate(parsed.chunks):
        if chunk.kind != "VP" or mark_unsafe_tokens(parsed)[chunk.head] or _may_be_no_verb(parsed, chunk):
            continue
        tag = parsed.tokens[chunk.head].tag
        if tag in ("VBN", "VBD"):
            changes += _find_participle_changes(parsed, c, caption_words, vocabulary)
        has_person_agent = tag in ("VBN", "VBD") and _has_person_agent(parsed, c)
        words = [w for w in _find_replacements(parsed, c, has_person_agent) if w not in caption_words]
        known = [w for w in words if w in vocabulary.verbs] if vocabulary else words
        is_participle = has_person_agent or (tag == "VBD" and chunk.start < chunk.head)
        for word in sample_items(rng, known or words, 3):
            form = forms.conjugate(word, "VBN" if is_participle else tag)
            changes.append(Change("verb", chunk.head, chunk.head + 1, form, (), bool(known)))
    return changes


def _find_replacements(parsed: Parse, c: int, has_person_agent: bool) -> tuple[str, ...]:
    """Return infinitives that may replace the verb of chunk `c`, with or without a person named as agent."""
    chunk, following = parsed.chunks[c], parsed.next_chunk(c)
    tag, verb = parsed.tokens[chunk.head].tag, parsed.lemma(chunk.head)
    is_passive = tag in ("VBN", "VBD") and any(t.tag == "VBE" for t in parsed.tokens[chunk.start : chunk.head])
    if (tag not in _ACTIVE_TAGS or is_passive) and not has_person_agent:
        return ()
    has_object = following is not None and following.kind == "NP"
    if has_object and not has_person_agent and following and parsed.lemma(following.head) in kinds.LIGHT_VERB_OBJECTS:
        return ()  # "make their way"
    is_transitive = has_person_agent or has_object
    if not is_transitive and (verb in _PARTICLE_VERBS or (tag == "VBD" and _has_agent(parsed, c, verb))):
        return ()
    if not _is_plain_verb(parsed, c, is_transitive):
        return ()
    unfit = _find_unfit_verbs(parsed, following)
    has_animate_subject = _has_animate_subject(parsed, c)
    if not has_animate_subject and tag != "VBZ":
        # A lamp standing on a table may sit there. "Stands" keeps "sits": of a thing in Scenes only one is true.
        unfit |= {"sit"}
    others = _other_verbs(verb, is_transitive=is_transitive, has_animate_subject=has_animate_subject)
    return tuple(word for word in others if word not in unfit)


def _may_be_no_verb(parsed: Parse, chunk: Chunk) -> bool:
    """Return whether a one-word verb group stands where the tagger often takes a noun or an adjective for a verb."""
    if chunk.end - chunk.start > 1:
        return False
    tokens, lexicon, tag = parsed.tokens, load_lexicon(), parsed.tokens[chunk.head].tag
    before = tokens[chunk.start - 1].tag if chunk.start else ""
    after = tokens[chunk.end].tag if chunk.end < len(tokens) else ""
    if before in ("IN", "REL", "INREL") and after in ("NN", "NNS"):
        return tag in ("VBG", "VBD", "VBN")  # "for recurring competition"
    if before == "NN" and tag == "VBG" and after in ("NN", "NNS"):
        return not lexicon.is_animate(parsed.lemma(chunk.start - 1), if_unknown=False)  # "photo sharing website"
    if before == "CC" and tag == "VB":
        return not any(t.tag.startswith(("VB", "MD")) for t in tokens[: chunk.start])  # "a dress and wrap"
    if before in ("NN", "NNS") and tag in ("VBZ", "VBP") and after not in ("", ".", ",", "DT", "PRP$"):
        return not lexicon.is_mostly_verb(tokens[chunk.head].lower)  # "australian rules footballer"
    return before == "TO" and tag == "VBD"  # "from right to left"


def _has_animate_subject(parsed: Parse, c: int) -> bool:
    """Return whether the subject of the verb at chunk `c` is, or may be, a person or an animal."""
    k = c - 1
    while k >= 2 and parsed.chunks[k].kind == "NP" and parsed.chunks[k - 1].kind == "REL":
        if parsed.chunks[k - 1].text == "of" and parsed.lemma(parsed.chunks[k - 2].head) in rules.CONTAINERS:
            break  # "a portrait of a man sitting": the portrait does not sit
        k -= 2  # "a man [in a sweater] speaks"
    if k < 0 or parsed.chunks[k].kind != "NP":
        return True
    return load_lexicon().is_animate(parsed.lemma(parsed.chunks[k].head), if_unknown=True)


def _find_negation_removals(parsed: Parse) -> list[Change]:
    """Return removals of negations of verbs: "is not open" to "is open"."""
    changes = []
    for i, token in enumerate(parsed.tokens[1:-1], 1):
        before = parsed.tokens[i - 1]
        if token.lower == "never":
            changes.append(Change("verb", i, i + 1, "always"))
        elif token.lower in ("not", "n't", "n’t") and before.tag in ("VBE", "MD", "VBZ", "VBP", "VBD"):
            full_form = {"wo": "will", "ca": "can"}.get(before.lower, before.text)
            changes.append(Change("verb", i - 1, i + 1, full_form))
    return changes


def _find_participle_changes(
    parsed: Parse, c: int, caption_words: set[str], vocabulary: Vocabulary | None
) -> list[Change]:
    """Return replacements of a participle: "covered with snow"."""
    head, following = parsed.chunks[c].head, parsed.next_chunk(c)
    if following and (following.kind == "NP" or following.text in ("up", "to")):
        return []  # "set up", "used to go"
    changes = []
    for word in kinds.OPPOSITE_PARTICIPLES.get(parsed.tokens[head].lower, ()):
        if word not in caption_words:
            is_known = vocabulary is None or (load_lexicon().verb_lemma(word) or word) in vocabulary.verbs
            changes.append(Change("verb", head, head + 1, word, repair_article(parsed, head, word), is_known))
    return changes


def _find_unfit_verbs(parsed: Parse, following: Chunk | None) -> frozenset[str]:
    """Return the verbs that must not precede `following`: no one is harmed, or slept with."""
    if following is None:
        return frozenset()
    if following.kind == "REL" and following.text == "with":
        return frozenset(("sleep", "lie"))
    if following.kind != "NP":
        return frozenset()
    is_animate = load_lexicon().is_animate(parsed.lemma(following.head), if_unknown=False)
    return kinds.HARMFUL if is_animate or following.text in ("him", "her", "them") else frozenset()


def _has_person_agent(parsed: Parse, c: int) -> bool:
    """Return whether a passive names a person as agent: "a song written by an artist"."""
    if c + 2 >= len(parsed.chunks) or parsed.chunks[c + 1].text != "by" or parsed.chunks[c + 2].kind != "NP":
        return False
    return load_lexicon().is_person(parsed.lemma(parsed.chunks[c + 2].head))


def _has_agent(parsed: Parse, c: int, verb: str) -> bool:
    """Return whether "by" names an agent: "hauled by an engine", but not "walked by the lake"."""
    following = parsed.next_chunk(c)
    is_by = following is not None and following.text == "by"
    return is_by and not any(verb in group for group in kinds.INTRANSITIVE)


def _is_plain_verb(parsed: Parse, c: int, is_transitive: bool) -> bool:
    """Return whether the verb of chunk `c` needs no particle ("takes off") and no clause ("wants to go")."""
    following = parsed.next_chunk(c)
    if following is None or is_transitive:
        return True
    tag = parsed.tokens[following.start].tag
    needs_complement = parsed.lemma(parsed.chunks[c].head) in kinds.COMPLEMENT_VERBS
    if following.kind == "REL":
        return following.text not in _PARTICLES and not (following.text == "at" and needs_complement)
    if tag == "RB" and needs_complement:
        return False  # "puts together"
    return tag in (".", ",", "CC", "RB", ":") or (following.kind == "VP" and tag == "VBG")
