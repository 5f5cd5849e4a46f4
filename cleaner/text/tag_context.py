"""Rules that correct a word's tag by its neighbors and its counts as noun, verb and adjective."""

from dataclasses import dataclass

from cleaner.text import kinds, rules
from cleaner.text.lexicon import CONCRETE_CLASSES, Lexicon
from cleaner.text.tags import CLOSED_CLASS_TAGS, COLOR_NOUNS, COLOR_WORDS, FINITE_TAGS, NOUN_TAGS, VERB_TAGS

# Words of CLOSED_CLASS_TAGS whose tag depends on the context.
_CONTEXT_DEPENDENT_WORDS = ("her", "that", "like", "left", "right")
# What can be light; a light itself is not followed by one of these.
_LIGHT_COLORS_MATERIALS = kinds.COLOR_NAMES | kinds.MATERIAL_WORDS
_CORRECTABLE_TAGS = frozenset(("NN", "NNS", "JJ", "RB", *VERB_TAGS, "PRP$", "DT", "IN"))
_DETERMINER_TAGS = ("DT", "PRP$", "POS")
_PHRASE_TAGS = (*_DETERMINER_TAGS, *NOUN_TAGS, "JJ", "CD")
_CLAUSE_MARKS = (",", ".", "WP", "WRB", "CC", ":")
_PHRASE_END_TAGS = ("IN", "REL", "TO", ".", ",", "CC", "WP", "WRB", ":", "VBE", "RP", "MD", "POS", ")", "END")
_SINGULAR_DETERMINERS = ("a", "an", "one", "every", "each", "another")
_PLURAL_DETERMINERS = ("these", "those", "some", "all", "both", "many", "several", "few")
_SUBJECT_PRONOUNS = ("i", "you", "he", "she", "it", "we", "they", "who")


@dataclass(frozen=True, slots=True, kw_only=True)
class _TokenContext:
    """A word, its tag, its neighbors ("" or START and END at the edges) and how often it is used as what."""

    word: str
    tag: str
    previous_words: list[str]
    previous_tags: list[str]
    """Corrected tags of all words before this one."""
    next_word: str
    next_tags: list[str]
    """Tags of up to two words after this one."""
    noun: str | None
    verb: str | None
    noun_count: int
    verb_count: int
    adjective_count: int
    adverb_count: int

    @property
    def previous_word(self) -> str:
        return self.previous_words[-1] if self.previous_words else ""

    @property
    def previous_tag(self) -> str:
        return self.previous_tags[-1] if self.previous_tags else "START"

    @property
    def next_tag(self) -> str:
        return self.next_tags[0] if self.next_tags else "END"

    @property
    def noun_tag(self) -> str:
        return "NNS" if self.noun != self.word and self.word.endswith("s") else "NN"

    @property
    def verb_tag(self) -> str:
        if self.word.endswith("ing"):
            return "VBG"
        return "VBP" if self.verb == self.word else "VBZ" if self.word.endswith("s") else "VBD"

    @property
    def next_starts_noun_phrase(self) -> bool:
        """Return whether the word after the next one is a noun or an adjective."""
        return self.next_tags[1:2] != [] and self.next_tags[1] in (*NOUN_TAGS, "JJ")


def tag_in_context(i: int, lower: list[str], tags: list[str], lexicon: Lexicon) -> str:
    """Return the corrected tag of word `i`; the tags before it must be corrected already."""
    word, tag = lower[i], tags[i]
    if word in ("close", "up") and "close up" in " ".join(lower[max(0, i - 1) : i + 2]):
        return "NN"
    if word in CLOSED_CLASS_TAGS:
        return _tag_closed_word(i, lower, tags, lexicon) if word in _CONTEXT_DEPENDENT_WORDS else tag
    if tag not in _CORRECTABLE_TAGS:
        return tag
    noun, verb = lexicon.noun_lemma(word), lexicon.verb_lemma(word)
    context = _TokenContext(
        word=word,
        tag=tag,
        previous_words=lower[:i],
        previous_tags=tags[:i],
        next_word=lower[i + 1] if i + 1 < len(lower) else "",
        next_tags=tags[i + 1 : i + 3],
        noun=noun,
        verb=verb,
        noun_count=lexicon.count("n", noun),
        verb_count=lexicon.count("v", verb),
        adjective_count=lexicon.count("a", word),
        adverb_count=lexicon.count("r", word),
    )
    phrase_tag = _tag_in_phrase(context, lexicon)
    if phrase_tag:
        return phrase_tag
    return _tag_verb(context, lexicon) if tag in VERB_TAGS else _tag_noun(context, lexicon)


def _tag_closed_word(i: int, lower: list[str], tags: list[str], lexicon: Lexicon) -> str:
    """Return the tag of a closed-class word that has two uses."""
    word, tag = lower[i], tags[i]
    if tag in ("REL", "INREL"):
        return tag  # "the left side of": a word of a compound preposition
    previous_tag = tags[i - 1] if i else "START"
    next_tag = tags[i + 1] if i + 1 < len(tags) else "END"
    if word == "her":
        return "PRP" if next_tag in ("END", ".", ",", "IN", "TO", "CC", "RP", "VBG", "REL") else tag
    if word == "that":
        starts_clause = next_tag in (*VERB_TAGS, "VBE", "MD", "RB", "PRP") or (
            i + 1 < len(lower)
            and lexicon.verb_lemma(lower[i + 1]) == lower[i + 1]
            and lexicon.is_mostly_verb(lower[i + 1])
        )
        return "WP" if previous_tag in NOUN_TAGS and starts_clause else "IN" if previous_tag in VERB_TAGS else tag
    if word == "like":
        return "VB" if previous_tag in ("PRP", "TO", "MD") else tag
    # left, right
    if previous_tag == "," and next_tag in (",", ".", "END"):
        return "RB"  # "the singer , left , and a fan"
    if previous_tag in ("DT", "IN", "PRP$") and next_tag not in NOUN_TAGS:
        return "NN"
    return "JJ" if next_tag in NOUN_TAGS and previous_tag in (*_DETERMINER_TAGS, "JJ") else tag


def _tag_in_phrase(context: _TokenContext, lexicon: Lexicon) -> str | None:
    """Return the tag in a fixed phrase or compound, else None."""
    word, tag, noun = context.word, context.tag, context.noun
    before, after = context.previous_tag, context.next_tag
    is_container = context.next_word == "of" and noun == word and noun in rules.CONTAINERS
    if is_container and before not in (*NOUN_TAGS, "PRP", "VBE", "VBD"):
        return "NN"  # "set of plates", "back of a bus"
    is_shape = context.next_word in kinds.COMPOUND_PARTICIPLES and noun == word
    is_shape = is_shape and not lexicon.is_animate(word, if_unknown=True)
    if is_shape and before not in NOUN_TAGS and context.next_starts_noun_phrase:
        return "RB"  # "heart shaped cakes": one adjective of two words
    if word in kinds.COMPOUND_PARTICIPLES and before == "RB" and after in (*NOUN_TAGS, "JJ"):
        return "JJ"
    may_be_plural = (
        tag in ("VBZ", "NNS") and before in ("NN", "JJ") and _find_determiner(context) not in _SINGULAR_DETERMINERS
    )
    if may_be_plural and _is_compound_noun(context, lexicon):
        return "NNS"
    if tag in ("NN", "VBG") and _is_action(context, lexicon):
        return "VBG"
    is_thing = tag == "VBG" and context.next_word == "of" and noun == word and not lexicon.is_participle(word)
    if is_thing and before in (*NOUN_TAGS, "JJ"):
        return "NN"  # "pencil drawing of a cat"
    if tag == "VBG" and after in NOUN_TAGS:
        next_noun = lexicon.noun_lemma(context.next_word) or ""
        if lexicon.compound_type(word, next_noun):
            return "NN"  # "swimming pool"
    if word in COLOR_WORDS and _is_alone(context) and lexicon.noun_class(word) == "food":
        return "NN"  # "an orange and an apple"
    acts = after == "VBG" and lexicon.is_participle(context.next_word) and not context.next_starts_noun_phrase
    if tag == "JJ" and acts and context.noun_count > context.adjective_count:
        return "NN"  # "a bulldog looking back": textblob tags some nouns as adjectives
    return None


def _tag_verb(context: _TokenContext, lexicon: Lexicon) -> str:
    """Return the tag of a word that textblob tags as a verb; after "the" or "of" it is not one."""
    tag, before, after = context.tag, context.previous_tag, context.next_tag
    is_base = tag in ("VB", "VBP", "VBZ")
    if context.word == "live" and before in VERB_TAGS:
        return "RB"
    if tag == "VBG" and after in NOUN_TAGS and context.adjective_count > 1 and before in ("IN", "CC", ",", "START"):
        return "JJ"  # "contrasting shoes"
    is_after_preposition = before in ("IN", "REL", "INREL") and context.previous_word not in ("that", "as", "if")
    is_lone_noun = before == "START" and tag == "VB" and after == "NN" and context.noun
    if is_lone_noun and lexicon.noun_class(context.next_word) == "artifact":
        return "NN"  # "stop sign": an object of a command would have an article
    if is_base and context.noun and is_after_preposition:
        return context.noun_tag
    if tag == "VBZ" and before == "JJ" and context.noun and after in _PHRASE_END_TAGS:
        before_adjectives = next((t for t in reversed(context.previous_tags) if t != "JJ"), "START")
        if before_adjectives in ("IN", "REL", "INREL", "CD"):
            return context.noun_tag  # "with wooden handles"
    if before == "CD" and tag in ("VBG", "VBN") and after == "NNS":
        return "JJ"  # "two smiling women"
    if before in _DETERMINER_TAGS or (before == "JJ" and len(context.previous_tags) > 1):
        if after in (*NOUN_TAGS, "JJ"):
            return "JJ" if tag in ("VBN", "VBG", "VBD") or not context.noun_count else "NN"
        if before in _DETERMINER_TAGS or context.noun_count >= context.verb_count or tag == "VBG":
            return context.noun_tag if context.noun else "NN"
    is_after_determiner = context.previous_tags[-2:-1] and context.previous_tags[-2] in _DETERMINER_TAGS
    if tag == "VB" and before == "JJ" and context.noun and is_after_determiner:
        return context.noun_tag  # "a pink sink", "the final match"
    if is_base and before == "NN" and _agrees_only_as_verb(context, lexicon):
        return tag
    if is_base and before in ("CD", "CC", "NN", "JJ") and context.noun_count > 3 * context.verb_count:
        return context.noun_tag
    if tag in ("VB", "VBP") and before in (*NOUN_TAGS, "PRP"):
        # "a tangerine blossom" is not a clause: the verb would not agree with a singular noun.
        is_plural = tag == "VBP" and _is_actor(context, lexicon)  # "sheep graze"
        is_noun = before == "NN" and context.noun_count and not is_plural and not _has_conjuncts(context)
        has_object = after in ("DT", "PRP$", "RP") and context.verb_count * 4 >= context.noun_count
        return "NN" if is_noun and not has_object else "VBP"
    return "JJ" if tag == "VBN" and before == "START" and after in (*NOUN_TAGS, "JJ") else tag


def _tag_noun(context: _TokenContext, lexicon: Lexicon) -> str:
    """Return the tag of a word that textblob tags as a noun, adjective or adverb."""
    word, tag, before, after = context.word, context.tag, context.previous_tag, context.next_tag
    if before == "TO" and tag == "NN" and after in ("IN", "REL") and context.verb_count > context.noun_count:
        return "VB"  # "ways to care for a cat"
    if before == "TO" and context.verb == word and (tag == "JJ" or (tag == "NN" and after in ("DT", "PRP$"))):
        return "VB" if after in ("DT", "PRP$", "JJ", "PRP", *NOUN_TAGS) else tag
    if word == "past" and before in (*NOUN_TAGS, *VERB_TAGS) and after in (*_DETERMINER_TAGS, *NOUN_TAGS, "JJ"):
        return "IN"  # "walks past a door"
    # A day says when, and is no part of the thing before it: "the first game monday".
    if word in rules.DAYS and before in NOUN_TAGS:
        return "RB"
    if word in COLOR_NOUNS and after == "JJ" and tag == "NN":
        return "JJ"  # "a silver tropical fish"
    if word == "light" and tag == "NN" and before not in NOUN_TAGS and context.next_word in _LIGHT_COLORS_MATERIALS:
        return "JJ"  # "a light blue car"
    verb_tag = _find_verb_use(context)
    if verb_tag:
        return verb_tag
    if tag == "RB" and after in NOUN_TAGS and context.adjective_count and before in (*_DETERMINER_TAGS, "START"):
        return "JJ"
    ends_phrase = after in _PHRASE_END_TAGS
    is_lone = tag == "JJ" and ends_phrase and context.next_tags != [",", "JJ"] and word not in COLOR_WORDS
    if is_lone and before in ("DT", "JJ", "PRP$", "NN", "POS", "IN", "CD"):
        has_no_head = before in ("DT", "PRP$") or context.previous_tags[-2:] in (["DT", "JJ"], ["PRP$", "JJ"])
        is_noun = context.noun == word and (has_no_head or context.noun_count > context.adjective_count)
        is_compound = has_no_head and "-" in word  # "a t-shirt": textblob tags it as an adjective
        return context.noun_tag if is_noun or is_compound else tag
    is_object = ends_phrase and context.noun == word and before in (*_DETERMINER_TAGS, "JJ")
    if tag == "RB" and is_object and not context.adverb_count:
        return "NN"  # "a pink brolly"
    if _is_finite_verb(context, lexicon):
        return context.verb_tag
    return "NN" if tag == "NNS" and context.noun == word and word.endswith(("ss", "us", "is")) else tag


def _find_verb_use(context: _TokenContext) -> str | None:
    """Return the verb tag that the words right before and after call for, else None."""
    word, tag, before, after = context.word, context.tag, context.previous_tag, context.next_tag
    if before == "MD" and context.verb == word:
        return "VB"
    if tag == "NNS" and before == "RB" and context.previous_word.endswith("ly") and context.verb:
        return "VBZ"
    joins_verb = before == "CC" and context.previous_tags[-2:-1] in (["VBP"], ["VB"])
    if tag == "NN" and joins_verb and context.verb_count >= context.noun_count:
        return "VBP"
    if word.endswith("ing") and tag == "NN" and context.verb and before not in _DETERMINER_TAGS:
        is_rare_noun = context.noun_count <= 2 and before in NOUN_TAGS and after in ("IN", "REL", "RB")
        if is_rare_noun or after in ("DT", "PRP$", "RP"):
            return "VBG"
    if before == "START" and after == "RP" and context.verb == word:
        return "VB"
    is_after_subject = before == "PRP" and context.previous_word in _SUBJECT_PRONOUNS and tag != "RB"
    if is_after_subject and context.verb and context.verb_count * 4 >= context.noun_count:
        return context.verb_tag
    return None


def _is_finite_verb(context: _TokenContext, lexicon: Lexicon) -> bool:
    """Return whether a word that looks like a noun is the verb of its clause: "person challenges person"."""
    tag, before, after = context.tag, context.previous_tag, context.next_tag
    if not context.verb_count or before not in (*NOUN_TAGS, "PRP", "WP") or after == "POS":
        return False
    tags = context.previous_tags
    clause_start = max((i for i, previous in enumerate(tags) if previous in _CLAUSE_MARKS), default=-1) + 1
    if any(previous in FINITE_TAGS for previous in tags[clause_start:]):
        return False
    if tag in ("JJ", "RB"):
        return before in ("NNS", "WP") and context.verb_count > 5 and after in ("DT", "PRP$", "IN", "REL", "TO")
    if _agrees_only_as_verb(context, lexicon):
        return True
    agrees = before == "WP" or after == "RP" or tag == "NNS" or before not in ("NN", "NNP")
    has_object = after in ("DT", "PRP$") and context.verb_count > 2 * context.noun_count
    if not agrees and not has_object:
        return False
    if after in ("DT", "PRP$", "RP", "PRP") and _is_actor(context, lexicon):
        return True  # "a man smokes a pipe", "buses line up"
    if after in ("DT", "PRP$", "RB", "RP", "TO", "PRP"):
        return context.verb_count * 4 >= context.noun_count
    if tag == "NNS" and context.next_word in ("into", "onto", "toward", "towards", "through"):
        return context.verb_count * 6 >= context.noun_count  # "a river flows through a city"
    if tag == "NNS" and after in NOUN_TAGS:
        return context.verb_count * 3 >= context.noun_count
    return context.verb_count >= context.noun_count and after in ("IN", "REL", "END", ".", ",", "VBG", "JJ", *NOUN_TAGS)


def _agrees_only_as_verb(context: _TokenContext, lexicon: Lexicon) -> bool:
    """Return whether a determiner excludes the noun: "a dog barks" has no plural, "two dogs bark" no singular head."""
    subject, after = lexicon.noun_lemma(context.previous_word) or "", context.next_tag
    determiner = _find_determiner(context)
    if context.verb_tag == "VBZ" and context.previous_tag == "NN" and determiner in _SINGULAR_DETERMINERS:
        # "A woman hands" lacks an apostrophe.
        is_part = subject == "dozen" or lexicon.noun_class(context.noun or "") == "body"
        return after not in ("NN", "NNP", "POS") and not is_part
    if context.tag != "NN" or context.verb_tag != "VBP" or context.previous_tag != "NNS":
        return False
    ends_clause = after in ("IN", "REL", "END", ".", ",") and context.next_word != "of"
    # "Two weeks trip" and "two arrows sign" are written too, and so is "patients neck".
    is_action = lexicon.noun_class(context.noun or "") not in CONCRETE_CLASSES or _is_vehicle(subject, lexicon)
    is_common = is_action and context.verb_count * 6 >= context.noun_count
    return ends_clause and (determiner in _PLURAL_DETERMINERS or is_common) and _is_actor(context, lexicon)


def _is_actor(context: _TokenContext, lexicon: Lexicon) -> bool:
    """Return whether the noun before a word can act: a person, an animal or a vehicle."""
    subject = lexicon.noun_lemma(context.previous_word) or ""
    return lexicon.is_animate(subject, if_unknown=False) or _is_vehicle(subject, lexicon)


def _is_vehicle(noun: str, lexicon: Lexicon) -> bool:
    return lexicon.is_hyponym(noun, "conveyance")  # WordNet's bus is no vehicle, but public transport


def _find_determiner(context: _TokenContext) -> str:
    """Return the determiner or number, "many" for one above 1, of the noun phrase that ends before a word; else ""."""
    for word, tag in zip(reversed(context.previous_words), reversed(context.previous_tags), strict=True):
        if tag == "CD":
            return "one" if word in ("one", "1") else "many"
        if tag == "DT" or word in _PLURAL_DETERMINERS:
            return word
        if tag not in (*NOUN_TAGS, "JJ"):
            break
    return ""


def _has_conjuncts(context: _TokenContext) -> bool:
    """Return whether "and" joins the noun phrase that ends before a word to one before it."""
    tags = context.previous_tags
    start = next((i for i in range(len(tags), 0, -1) if tags[i - 1] not in _PHRASE_TAGS), 0)
    return start > 0 and tags[start - 1] == "CC"


def _is_compound_noun(context: _TokenContext, lexicon: Lexicon) -> bool:
    """Return whether a word in verb form makes a noun with the noun before it: "maple leaves on a bench"."""
    first, noun = context.previous_word, context.noun or ""
    # "A bus stops" is a clause, and so is "train leaves station".
    if context.next_tag in ("DT", "PRP$") or _is_vehicle(first, lexicon):
        return False
    is_plural = context.word in kinds.VERB_LIKE_PLURALS and not lexicon.is_animate(first, if_unknown=True)
    return is_plural or lexicon.compound_type(first, noun) is not None  # "teddy bears sit"


def _is_action(context: _TokenContext, lexicon: Lexicon) -> bool:
    """Return whether a word in -ing is what the noun before it does: "a man drinking coffee", not "a man painting"."""
    word, after = context.word, context.next_tag
    subject, thing = lexicon.noun_lemma(context.previous_word) or "", lexicon.noun_lemma(context.next_word) or ""
    if not word.endswith("ing") or context.previous_tag not in NOUN_TAGS:
        return False
    if subject not in kinds.PERSONS and lexicon.noun_class(subject) not in ("person", "animal"):
        return False
    if after in NOUN_TAGS and lexicon.compound_type(word, thing):
        # A dog does not sleep a bag, but women ride horses and drink water.
        return lexicon.noun_class(thing) in ("animal", "food", "substance") and lexicon.is_mostly_verb(word)
    if after == "NN" and lexicon.noun_class(thing) in ("artifact", "location", "group"):
        return False  # "a student meeting room": as an object it would have an article
    is_after_fit = after in (*NOUN_TAGS, "JJ", "CD", "IN", "REL", "RB", "CC", ",", ".", "END")
    return is_after_fit and lexicon.is_mostly_verb(word) and lexicon.noun_class(word) not in CONCRETE_CLASSES


def _is_alone(context: _TokenContext) -> bool:
    """Return whether a word with an article or number has no noun after it, unlike in "an orange and white cat"."""
    joins = context.next_tag in (",", "CC")
    is_end = context.next_tags[1:2] in (["DT"], ["CD"], ["PRP$"]) if joins else context.next_tag in _PHRASE_END_TAGS
    return context.previous_tag in ("DT", "CD", "PRP$") and is_end
