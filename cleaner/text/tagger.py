"""Words and parts of speech of a caption: textblob's lexicon tagger, put right by context and by WordNet's counts.

The tagger knows one tag per word ("alien" is an adjective, "looks" a verb); captions need the others too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from cleaner.text import rules
from cleaner.text.lexicon import Lexicon, load_lexicon
from cleaner.text.rules import words

_TOKEN = re.compile(
    r"[^\W\d_]+(?=n['’]t\b)|n['’]t\b|['’](?:s|re|ve|ll|d|m)\b"  # do|n't, man|'s
    r"|\d+(?:[.,:]\d+)+|[^\W_]+(?:-[^\W_]+)*|[^\w\s]|_"
)
_HYPHEN_TAILS = frozenset(
    words("up old time year day foot shaped style size level free inch mile round like piece part end air")
)
_ADJECTIVE_TAILS = ("ed", "old", "time", "year", "style", "free")
_CLOSED = {
    **dict.fromkeys(words("i you he she it we they me him us them himself herself itself themselves who someone"), "PRP"),
    **dict.fromkeys(words("my your his her its our their whose"), "PRP$"),
    **dict.fromkeys(words("the a an this that these those all some any each every no both another"), "DT"),
    **dict.fromkeys(words("and or but nor & /"), "CC"),
    **dict.fromkeys(words("which who whom"), "WP"),
    **dict.fromkeys(words("when where why how while whenever"), "WRB"),
    **dict.fromkeys(words("can could will would shall should may might must"), "MD"),
    **dict.fromkeys(words("is are was were be been being am 're 'm"), "VBE"),
    **dict.fromkeys(words("not n't n’t never very so too also just here there then now together away"), "RB"),
    **dict.fromkeys(words("near atop alongside amid amongst aboard beside under over above below behind along across during"), "IN"),
    **dict.fromkeys(words("of in on at by with for from into onto like than as if because although inside around through"), "IN"),
    **dict.fromkeys(words("between among towards toward against beneath underneath without within after before until upon"), "IN"),
    "to": "TO", "'s": "POS", "’s": "POS", "off": "IN", "up": "RP", "down": "RP", "out": "RP", "outside": "IN", "about": "IN",
    "close-up": "NN", "closeup": "NN", "many": "JJ", "several": "JJ", "few": "JJ", "such": "JJ", "other": "JJ", "people": "NNS",
    "has": "VBZ", "have": "VBP", "had": "VBD", "does": "VBZ", "do": "VBP", "did": "VBD", "lots": "NNS",
    "men": "NNS", "women": "NNS", "children": "NNS", "police": "NNS", "feet": "NNS", "mice": "NNS", "geese": "NNS", "sheep": "NN",
    "fish": "NN", "hiking": "NN", "clothes": "NNS", "pants": "NNS", "jeans": "NNS", "glasses": "NNS", "species": "NN", "series": "NN",
    "mid": "JJ", "grey": "JJ", "inspired": "VBN", "background": "NN", "red": "JJ", "left": "VBD", "right": "JJ",
}  # fmt: skip
_COLOURS = frozenset(word for group in rules.COLOURS for word in group) - {
    "rose", "gold", "silver", "cream", "coral", "ruby", "emerald", "amber", "bronze", "chestnut", "tangerine", "jet", "ivory"
}  # fmt: skip
_PHRASE_STARTS: dict[str, list[tuple[str, ...]]] = {}
for _phrase in sorted({words(text) for text in (*rules.RELATIONS, *rules.OTHER_RELATIONS) if " " in text}, key=len)[
    ::-1
]:
    _PHRASE_STARTS.setdefault(_phrase[0], []).append(_phrase)
NOUNS = ("NN", "NNS", "NNP", "NNPS")
VERBS = ("VB", "VBP", "VBZ", "VBD", "VBN", "VBG")
_STOPS = ("IN", "REL", "TO", ".", ",", "CC", "WP", "WRB", ":", "VBE", "RP", "MD", "POS", ")", "END")


@dataclass(frozen=True, slots=True)
class Token:
    """One word or mark: its text, Penn tag (with REL, a word of a preposition, and VBE, a form of "be") and span."""

    text: str
    tag: str
    start: int
    end: int

    @property
    def lower(self) -> str:
        """Return the word as tables know it: lower case, "orange - coloured" as "orange-coloured"."""
        return self.text.lower().replace(" ", "")


@lru_cache(maxsize=1)
def _base_tagger() -> Callable[[list[str]], list[tuple[str, str]]]:
    # textblob and nltk take two seconds to import.
    from textblob.en import lexicon, parser

    lexicon.load()
    tagger: Callable[[list[str]], list[tuple[str, str]]] = parser.find_tags
    return tagger


def spans(caption: str) -> list[tuple[int, int]]:
    """Return the character spans of words and marks; "orange - coloured" is one word, as CC3M writes it."""
    found: list[tuple[int, int]] = []
    matches = [m.span() for m in _TOKEN.finditer(caption)]
    i = 0
    while i < len(matches):
        start, end = matches[i]
        if (
            i + 2 < len(matches)
            and caption[slice(*matches[i + 1])] == "-"
            and caption[slice(*matches[i + 2])].isalpha()
        ):
            tail = caption[slice(*matches[i + 2])].lower()
            if caption[start:end].isalnum() and (tail in _HYPHEN_TAILS or tail.endswith("ed")):
                found.append((start, matches[i + 2][1]))
                i += 3
                continue
        found.append((start, end))
        i += 1
    return found


def tag(caption: str) -> tuple[Token, ...]:
    """Return the tokens of a caption with their tags and character spans."""
    places = spans(caption)
    texts = [caption[a:b].replace(" ", "") for a, b in places]
    lower = [text.lower() for text in texts]
    tags = _first_tags(texts, lower)
    _mark_phrases(lower, tags)
    lexicon = load_lexicon()
    for i in range(len(tags)):
        tags[i] = _in_context(i, lower, tags, lexicon)
    return tuple(Token(caption[a:b], t, a, b) for (a, b), t in zip(places, tags, strict=True))


def _first_tags(texts: list[str], lower: list[str]) -> list[str]:
    """Return each word's tag by itself."""
    known = load_lexicon()
    # Captions of other sets begin with a capital, or are all capitals: only a name inside stays one.
    asked = [
        t if i and t.istitle() and low not in known else low
        for i, (t, low) in enumerate(zip(texts, lower, strict=True))
    ]
    tags = []
    for (word, guess), low in zip(_base_tagger()(asked) if asked else [], lower, strict=True):
        fixed = _CLOSED.get(low) or ("JJ" if low in _COLOURS else None)
        if not fixed and not any(c.isalnum() for c in word):
            fixed = "." if low in ".!?;" else "," if low == "," else ":"
        if not fixed and "-" in low and guess in ("NN", "VBN", "VBD") and low.endswith(_ADJECTIVE_TAILS):
            fixed = "JJ"
        tags.append(fixed or {"PRP$": "PRP", "WP$": "PRP$", "WDT": "WP", "PDT": "DT"}.get(guess, guess))
    return tags


def _mark_phrases(lower: list[str], tags: list[str]) -> None:
    """Tag the words of "to the left of" as REL and INREL, so that no noun phrase is seen in them."""
    i = 0
    while i < len(lower):
        for phrase in _PHRASE_STARTS.get(lower[i], ()):
            if tuple(lower[i : i + len(phrase)]) == phrase:
                tags[i : i + len(phrase)] = ["REL"] + ["INREL"] * (len(phrase) - 1)
                i += len(phrase) - 1
                break
        i += 1


def _in_context(i: int, lower: list[str], tags: list[str], lexicon: Lexicon) -> str:
    """Return the tag of word `i` given its neighbours; words before `i` are settled already."""
    word, own = lower[i], tags[i]
    before = tags[i - 1] if i else "START"
    after = tags[i + 1] if i + 1 < len(tags) else "END"
    if word == "close" and lower[i + 1 : i + 2] == ["up"] or word == "up" and lower[i - 1 : i] == ["close"]:
        return "NN"
    if (
        own in ("REL", "INREL")
        or word in _CLOSED
        and word not in ("left", "right", "her", "like", "that", "right", "up", "red")
    ):
        return own
    counts = lexicon.counts.get(word)
    noun = lexicon.noun_lemma(word)
    noun_count = lexicon.counts[noun][0] if noun and noun in lexicon.counts else 0
    verb = lexicon.verb_lemma(word)
    verb_count = lexicon.counts[verb][1] if verb and verb in lexicon.counts else 0
    opens = before in ("DT", "PRP$", "POS") or (before == "JJ" and i > 1)
    if word == "her" and after in ("END", ".", ",", "IN", "TO", "CC", "RP", "VBG", "REL"):
        return "PRP"
    if word == "that" and before in NOUNS and after in (*VERBS, "VBE", "MD", "RB", "PRP"):
        return "WP"
    if word == "that" and before in VERBS:
        return "IN"
    if word == "like" and before in ("PRP", "TO", "MD"):
        return "VB"
    if word in ("left", "right"):
        return (
            "NN" if before in ("DT", "IN", "PRP$") and after not in NOUNS else "JJ" if after in NOUNS and opens else own
        )
    if own in VERBS and opens:
        if after in (*NOUNS, "JJ") and (own in ("VBN", "VBG", "VBD") or not noun_count):
            return "JJ"
        if after in (*NOUNS, "JJ") and noun_count:
            return "NN"
        if before in ("DT", "PRP$", "POS") or noun_count >= verb_count or own == "VBG":
            return "NNS" if noun and noun != word and word.endswith("s") else "NN"
    if (
        own == "JJ"
        and after in _STOPS
        and word not in _COLOURS
        and before in ("DT", "JJ", "PRP$", "NN", "POS", "IN", "CD")
    ):
        return "NN" if counts and counts[0] and (before in ("DT", "PRP$") or counts[0] > counts[2]) else own
    if own in ("NN", "NNS", "JJ", "RB") and verb_count and before in (*NOUNS, "PRP", "WP") and after != "POS":
        if _finite(i, word, own, before, after, noun_count, verb_count, tags):
            return "VBZ" if word.endswith("s") and verb != word else "VBP" if verb == word else "VBD"
    if own in ("VB", "VBP", "VBZ") and before in ("IN", "REL", "CD", "CC", "NN", "JJ") and noun_count > 3 * verb_count:
        return "NNS" if noun != word and word.endswith("s") else "NN"
    if own == "VB" and before in (*NOUNS, "PRP"):
        return "VBP"
    if own == "VBN" and i == 0 and after in (*NOUNS, "JJ"):
        return "JJ"
    if own == "NNS" and noun == word and forms_singular(word):
        return "NN"
    return own


def forms_singular(word: str) -> bool:
    """Return whether a noun in -s is a singular: "glass", "bus", "tennis"."""
    return word.endswith(("ss", "us", "is"))


def _finite(i: int, word: str, own: str, before: str, after: str, nouns: int, verbs: int, tags: list[str]) -> bool:
    """Return whether a word that looks like a noun is the verb of its clause: "person challenges person"."""
    clause = tags[:i]
    for mark in (",", ".", "WP", "WRB", "CC", ":"):
        if mark in clause:
            clause = clause[len(clause) - clause[::-1].index(mark) :]
    if any(t in ("VBZ", "VBP", "VBD", "VBE", "MD") for t in clause):
        return False
    agrees = (before in ("NN", "NNP") and own == "NNS") or (before in ("NNS", "PRP") and own in ("NN", "JJ", "RB"))
    if before == "WP":
        agrees = True
    if own in ("JJ", "RB"):
        return agrees and before == "NNS" and verbs > 5 and after in ("DT", "PRP$", "IN", "REL", "TO")
    if not agrees:
        return False
    if after in ("DT", "PRP$", "RB", "RP", "TO", "PRP"):
        return verbs * 4 >= nouns
    return verbs >= nouns if after in ("IN", "REL", "END", ".", ",", "VBG", "JJ", *NOUNS) else False
