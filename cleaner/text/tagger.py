"""Words and parts of speech of a caption: textblob's lexicon tagger, put right by context and by WordNet's counts.

The tagger knows one tag per word ("alien" is an adjective, "looks" a verb); captions need the others too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cleaner.text import kinds, rules
from cleaner.text.kinds import split_words
from cleaner.text.lexicon import Lexicon, lexicon_cache, load_lexicon

_TOKEN = re.compile(
    r"[^\W\d_]+(?=n['’]t\b)|n['’]t\b|['’](?:s|re|ve|ll|d|m)\b"  # do|n't, man|'s
    r"|\d+(?:[.,:]\d+)+|[^\W_]+(?:-[^\W_]+)*|[^\w\s]|_"
)
_HYPHEN_TAILS = frozenset(
    split_words("up old time year day foot shaped style size level free inch mile round like piece part end air")
)
_ADJECTIVE_TAILS = ("ed", "old", "time", "year", "style", "free")
_CLOSED_CLASS_TAGS = {
    word: name
    for name, listed in {
        "PRP": "i you he she it we they me him us them mine yours ours theirs hers himself herself itself themselves"
        " who someone",
        "PRP$": "my your his her its our their whose",
        "DT": "the a an this that these those all some any each every no both another",
        "CC": "and or but nor & /",
        "WP": "which who whom",
        "WRB": "when where why how while whenever",
        "MD": "can could will would shall should may might must",
        "VBE": "is are was were be been being am 're 'm",
        "RB": "not n't n’t never very so too also just here there then now together away",
        "IN": "near atop alongside amid amongst aboard beside under over above below behind along across during of in"
        " on at by with for from into onto like than as if because although inside around through between among"
        " towards toward against beneath underneath without within after before until upon off outside about",
        "RP": "up down out",
        "TO": "to",
        "POS": "'s ’s",
        "NN": "close-up closeup sheep fish hiking species series background",
        "NNS": "people lots men women children police feet mice geese clothes pants jeans glasses",
        "JJ": "many several few such other mid grey right red",
        "VBZ": "has does",
        "VBP": "have do",
        "VBD": "had did left",
        "VBN": "inspired",
    }.items()
    for word in split_words(listed)
}
# Names of colours that are things as well.
_COLOR_NOUNS = frozenset(
    split_words("olive rose gold silver cream coral ruby emerald amber bronze chestnut tangerine jet ivory jade cobalt")
)
COLOR_WORDS = frozenset(word for group in kinds.COLOR_FAMILY for word in group) - _COLOR_NOUNS
_PREPOSITIONS_BY_FIRST_WORD: dict[str, list[tuple[str, ...]]] = {}
for _phrase in sorted(
    {split_words(text) for text in (*rules.OPPOSITE_PREPOSITIONS, *rules.COMPOUND_PREPOSITIONS) if " " in text}, key=len
)[::-1]:
    _PREPOSITIONS_BY_FIRST_WORD.setdefault(_phrase[0], []).append(_phrase)
_DETERMINER_TAGS = ("DT", "PRP$", "POS")
_CLAUSE_MARKS = (",", ".", "WP", "WRB", "CC", ":")
# Words of _CLOSED whose tag depends on the place.
_CONTEXT_DEPENDENT_WORDS = ("her", "that", "like", "left", "right")
_SUBJECT_PRONOUNS = ("i", "you", "he", "she", "it", "we", "they", "who")
NOUN_TAGS = ("NN", "NNS", "NNP", "NNPS")
_CORRECTABLE_TAGS = frozenset(("NN", "NNS", "JJ", "RB", "VB", "VBP", "VBZ", "VBD", "VBN", "VBG", "PRP$", "DT", "IN"))
VERB_TAGS = ("VB", "VBP", "VBZ", "VBD", "VBN", "VBG")
_PHRASE_END_TAGS = ("IN", "REL", "TO", ".", ",", "CC", "WP", "WRB", ":", "VBE", "RP", "MD", "POS", ")", "END")


@dataclass(frozen=True, slots=True)
class Token:
    """One word or mark: its text, Penn tag (and REL, a word of a preposition, or VBE, a form of "be") and span.

    `lower` is the word as tables know it: in lower case, "orange - coloured" as "orange-coloured".
    """

    text: str
    lower: str
    tag: str
    start: int
    end: int


@lexicon_cache(32768)
def _tag_word(word: str) -> str:
    """Return the tag of a word by itself, which is all that textblob's tagger looks at."""
    # textblob and nltk take two seconds to import.
    from textblob.en import parser

    low = word.lower()
    fixed = _CLOSED_CLASS_TAGS.get(low) or ("JJ" if low in COLOR_WORDS else None)
    if fixed:
        return fixed
    if not any(c.isalnum() for c in word):
        return "." if low in ".!?;" else "," if low == "," else ":"
    guess = str(parser.find_tags([word])[0][1])
    if "-" in low and guess in ("NN", "VBN", "VBD") and low.endswith(_ADJECTIVE_TAILS):
        return "JJ"
    return {"PRP$": "PRP", "WP$": "PRP$", "WDT": "WP", "PDT": "DT"}.get(guess, guess)


def find_token_spans(caption: str) -> list[tuple[int, int]]:
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


def tag_caption(caption: str) -> tuple[Token, ...]:
    """Return the tokens of a caption with their tags and character spans."""
    places = find_token_spans(caption)
    texts = [caption[a:b].replace(" ", "") for a, b in places]
    lower = [text.lower() for text in texts]
    lexicon = load_lexicon()
    # Captions of other sets begin with a capital, or are all capitals: only a name inside stays one.
    tags = [
        _tag_word(text if i and text.istitle() and low not in lexicon else low)
        for i, (text, low) in enumerate(zip(texts, lower, strict=True))
    ]
    _tag_compound_prepositions(lower, tags)
    for i in range(len(tags)):
        tags[i] = _tag_in_context(i, lower, tags, lexicon)
    return tuple(Token(caption[a:b], low, t, a, b) for (a, b), low, t in zip(places, lower, tags, strict=True))


def _tag_compound_prepositions(lower: list[str], tags: list[str]) -> None:
    """Tag the words of "to the left of" as REL and INREL, so that no noun phrase is seen in them."""
    i = 0
    while i < len(lower):
        for phrase in _PREPOSITIONS_BY_FIRST_WORD.get(lower[i], ()):
            if tuple(lower[i : i + len(phrase)]) == phrase:
                tags[i : i + len(phrase)] = ["REL"] + ["INREL"] * (len(phrase) - 1)
                i += len(phrase) - 1
                break
        i += 1


@dataclass(slots=True)
class _TokenContext:
    """A word among its neighbours: `before` and `after` are their tags, `last` is the word before, `more` tells whether
    ", adjective" follows, the counts how the word is used."""

    word: str
    tag: str
    previous_tag: str
    next_tag: str
    previous_word: str
    has_adjective_after_comma: bool
    noun: str | None
    verb: str | None
    noun_count: int
    verb_count: int
    adjective_count: int
    adverb_count: int

    @property
    def noun_tag(self) -> str:
        return "NNS" if self.noun != self.word and self.word.endswith("s") else "NN"

    @property
    def verb_tag(self) -> str:
        if self.word.endswith("ing"):
            return "VBG"
        return "VBP" if self.verb == self.word else "VBZ" if self.word.endswith("s") else "VBD"


def _tag_in_context(i: int, lower: list[str], tags: list[str], lexicon: Lexicon) -> str:
    """Return the tag of word `i` given its neighbours; words before `i` are settled already."""
    word, own = lower[i], tags[i]
    before = tags[i - 1] if i else "START"
    after = tags[i + 1] if i + 1 < len(tags) else "END"
    if word in ("close", "up") and "close up" in " ".join(lower[max(0, i - 1) : i + 2]):
        return "NN"
    if word in _CLOSED_CLASS_TAGS:
        return _tag_closed_word(i, lower, tags, before, after) if word in _CONTEXT_DEPENDENT_WORDS else own
    if own not in _CORRECTABLE_TAGS:
        return own
    noun, verb = lexicon.noun_lemma(word), lexicon.verb_lemma(word)
    following = lower[i + 1] if i + 1 < len(lower) else ""
    if (
        following == "of"
        and noun == word
        and noun in rules.CONTAINERS
        and before not in (*NOUN_TAGS, "PRP", "VBE", "VBD")
    ):
        return "NN"  # "set of plates", "back of a bus"
    shaped = following in kinds.COMPOUND_PARTICIPLES and noun == word and not _is_agent(word, lexicon)
    if shaped and before not in NOUN_TAGS and {*tags[i + 2 : i + 3]} & {*NOUN_TAGS, "JJ"}:
        return "RB"  # "heart shaped cakes": one adjective of two words
    if word in kinds.COMPOUND_PARTICIPLES and before == "RB" and after in (*NOUN_TAGS, "JJ"):
        return "JJ"
    if own == "VBZ" and before in ("NN", "JJ") and i and _is_compound_noun(i, lower, after, lexicon):
        return "NNS"
    if own == "VBG" and after in NOUN_TAGS and lexicon.compound_type(word, lexicon.noun_lemma(lower[i + 1]) or ""):
        return "NN"  # "swimming pool"
    acts = after == "VBG" and lexicon.is_participle(lower[i + 1]) and not {*tags[i + 2 : i + 3]} & {*NOUN_TAGS, "JJ"}
    if own == "JJ" and acts and lexicon.count("n", noun) > lexicon.count("a", word):
        return "NN"  # "a bulldog looking back": the tagger takes some nouns for adjectives
    place = _TokenContext(
        word,
        own,
        before,
        after,
        lower[i - 1] if i else "",
        tags[i + 1 : i + 3] == [",", "JJ"],
        noun,
        verb,
        lexicon.count("n", noun),
        lexicon.count("v", verb),
        lexicon.count("a", word),
        lexicon.count("r", word),
    )
    if own in VERB_TAGS:
        return _tag_verb(place, i, tags)
    return _tag_noun(place, tags[:i])


def _tag_closed_word(i: int, lower: list[str], tags: list[str], previous_tag: str, next_tag: str) -> str:
    """Return the tag of one of the small words that have two uses."""
    word, own = lower[i], tags[i]
    if word == "her":
        return "PRP" if next_tag in ("END", ".", ",", "IN", "TO", "CC", "RP", "VBG", "REL") else own
    if word == "that":
        clause = next_tag in (*VERB_TAGS, "VBE", "MD", "RB", "PRP") or _is_mostly_verb(lower, i + 1)
        return "WP" if previous_tag in NOUN_TAGS and clause else "IN" if previous_tag in VERB_TAGS else own
    if word == "like":
        return "VB" if previous_tag in ("PRP", "TO", "MD") else own
    # left, right
    if previous_tag == "," and next_tag in (",", ".", "END"):
        return "RB"  # "the singer , left , and a fan"
    if previous_tag in ("DT", "IN", "PRP$") and next_tag not in NOUN_TAGS:
        return "NN"
    return "JJ" if next_tag in NOUN_TAGS and previous_tag in _DETERMINER_TAGS else own


def _tag_verb(context: _TokenContext, i: int, tags: list[str]) -> str:
    """Return the tag of a word that the tagger takes for a verb: after "the" or "of" it is none."""
    own, before, after = context.tag, context.previous_tag, context.next_tag
    if (
        before == "START"
        and own in ("VB", "VBP")
        and after in NOUN_TAGS
        and context.adjective_count > context.verb_count
    ):
        return "JJ"  # "close view"
    if context.word == "live" and before in VERB_TAGS:
        return "RB"
    base = own in ("VB", "VBP", "VBZ")
    if own == "VBG" and after in NOUN_TAGS and context.adjective_count > 1 and before in ("IN", "CC", ",", "START"):
        return "JJ"  # "contrasting shoes"
    if base and context.noun and before in ("IN", "REL", "INREL") and context.previous_word not in ("that", "as", "if"):
        return context.noun_tag
    if before in _DETERMINER_TAGS or (before == "JJ" and i > 1):
        if after in (*NOUN_TAGS, "JJ"):
            if own in ("VBN", "VBG", "VBD") or not context.noun_count:
                return "JJ"
            return "NN"
        if before in _DETERMINER_TAGS or context.noun_count >= context.verb_count or own == "VBG":
            return context.noun_tag if context.noun else "NN"
    if own == "VB" and before == "JJ" and context.noun and tags[i - 2] in _DETERMINER_TAGS:
        return context.noun_tag  # "a pink sink", "the final match"
    if base and before in ("CD", "CC", "NN", "JJ") and context.noun_count > 3 * context.verb_count:
        return context.noun_tag
    if own == "VB" and before in (*NOUN_TAGS, "PRP"):
        # "a tangerine blossom" is no clause: the verb would not agree with one thing.
        return "NN" if before == "NN" and context.noun_count and "CC" not in tags[:i] else "VBP"
    return "JJ" if own == "VBN" and i == 0 and after in (*NOUN_TAGS, "JJ") else own


def _tag_noun(context: _TokenContext, previous_tags: list[str]) -> str:
    """Return the tag of a word that the tagger takes for a noun, an adjective or an adverb."""
    word, own, before, after = context.word, context.tag, context.previous_tag, context.next_tag
    if before == "TO" and context.verb == word and (own == "JJ" or (own == "NN" and after in ("DT", "PRP$"))):
        return "VB" if after in ("DT", "PRP$", "JJ", "PRP", *NOUN_TAGS) else own
    if word in _COLOR_NOUNS and after == "JJ" and own == "NN":
        return "JJ"  # "a silver tropical fish"
    if before == "MD" and context.verb == word:
        return "VB"
    if own == "NNS" and before == "RB" and context.previous_word.endswith("ly") and context.verb:
        return "VBZ"
    if (
        own == "NN"
        and before == "CC"
        and previous_tags[-2:-1]
        and previous_tags[-2] in ("VBP", "VB")
        and context.verb_count >= context.noun_count
    ):
        return "VBP"
    if own == "RB" and after in NOUN_TAGS and context.adjective_count and before in (*_DETERMINER_TAGS, "START"):
        return "JJ"
    if word.endswith("ing") and own == "NN" and context.verb and before not in _DETERMINER_TAGS:
        rare = context.noun_count <= 2 and before in NOUN_TAGS and after in ("IN", "REL", "RB")
        if rare or after in ("DT", "PRP$", "RP"):
            return "VBG"
    if before == "START" and after == "RP" and context.verb == word:
        return "VB"
    agent = before == "PRP" and context.previous_word in _SUBJECT_PRONOUNS and own != "RB"
    if agent and context.verb and context.verb_count * 4 >= context.noun_count:
        return context.verb_tag
    lone = (
        own == "JJ" and after in _PHRASE_END_TAGS and not context.has_adjective_after_comma and word not in COLOR_WORDS
    )
    if lone and before in ("DT", "JJ", "PRP$", "NN", "POS", "IN", "CD"):
        headless = before in ("DT", "PRP$") or previous_tags[-2:] in (["DT", "JJ"], ["PRP$", "JJ"])
        return "NN" if context.noun == word and (headless or context.noun_count > context.adjective_count) else own
    if (
        own == "RB"
        and after in _PHRASE_END_TAGS
        and context.noun == word
        and before in (*_DETERMINER_TAGS, "JJ")
        and not context.adverb_count
    ):
        return "NN"  # "a pink brolly"
    if (
        context.verb_count
        and before in (*NOUN_TAGS, "PRP", "WP")
        and after != "POS"
        and _is_finite_verb(context, previous_tags)
    ):
        return context.verb_tag
    return "NN" if own == "NNS" and context.noun == word and word.endswith(("ss", "us", "is")) else own


def _is_agent(word: str, lexicon: Lexicon) -> bool:
    """Return whether somebody is meant, who may do what the next word says: "artist painted walls"."""
    return word in kinds.PERSONS or lexicon.noun_class(word) in ("person", "animal", "group", "top", None)


def _is_compound_noun(i: int, lower: list[str], next_tag: str, lexicon: Lexicon) -> bool:
    """Return whether word `i`, in form a verb, names a thing with the noun before it: "maple leaves on a bench"."""
    last, noun = lower[i - 1], lexicon.noun_lemma(lower[i]) or ""
    # "A bus stops" is a clause, and so is "train leaves station".
    if next_tag in ("DT", "PRP$") or lower[max(0, i - 2)] in ("a", "an") or lexicon.is_hyponym(last, "vehicle"):
        return False
    return (lower[i] in kinds.VERB_LIKE_PLURALS and not _is_agent(last, lexicon)) or lexicon.compound_type(
        last, noun
    ) == "kind"


def _is_mostly_verb(lower: list[str], i: int) -> bool:
    """Return whether word `i` is, unchanged, oftener a verb than a noun: "ideas that blend colours"."""
    if i >= len(lower):
        return False
    lexicon = load_lexicon()
    return lexicon.verb_lemma(lower[i]) == lower[i] and lexicon.count("v", lower[i]) > lexicon.count("n", lower[i])


def _is_finite_verb(context: _TokenContext, previous_tags: list[str]) -> bool:
    """Return whether a word that looks like a noun is the verb of its clause: "person challenges person"."""
    own, before, after = context.tag, context.previous_tag, context.next_tag
    start = max((i for i, tag in enumerate(previous_tags) if tag in _CLAUSE_MARKS), default=-1)
    if any(tag in ("VBZ", "VBP", "VBD", "VBE", "MD") for tag in previous_tags[start + 1 :]):
        return False
    if own in ("JJ", "RB"):
        return before in ("NNS", "WP") and context.verb_count > 5 and after in ("DT", "PRP$", "IN", "REL", "TO")
    agrees = before == "WP" or after == "RP" or (own == "NNS" if before in ("NN", "NNP") else own == "NN")
    if not agrees:
        return False
    if after in ("DT", "PRP$", "RB", "RP", "TO", "PRP"):
        return context.verb_count * 4 >= context.noun_count
    if own == "NNS" and after in NOUN_TAGS:
        return context.verb_count * 3 >= context.noun_count
    return context.verb_count >= context.noun_count and after in ("IN", "REL", "END", ".", ",", "VBG", "JJ", *NOUN_TAGS)
