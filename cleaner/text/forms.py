"""Word forms by small rules and tables: "a" or "an", plural and singular, verb endings."""

import re
from collections.abc import Container, Iterable
from functools import lru_cache

from cleaner.text.tables import read_set, read_table, read_words, split_words

_PLURALS = {noun: plural for noun, (plural,) in read_table("forms", "plurals").items()}
_SINGULARS = {plural: noun for noun, plural in _PLURALS.items()}
_ALREADY_PLURAL = read_words("forms", "already_plural")
_NOT_MAN_COMPOUNDS, _NOT_MEN_COMPOUNDS = read_set("forms", "not_man_compounds"), read_set("forms", "not_men_compounds")
_IRREGULAR_VERBS = read_table("forms", "verbs")
"""Verb -> past and participle."""
_IRREGULAR_THIRD_PERSON = {"have": "has", "be": "is", "go": "goes", "do": "does", "echo": "echoes"}
_IRREGULAR_VERB_FORMS = {
    **{form: lemma for lemma, forms in _IRREGULAR_VERBS.items() for form in forms},
    **dict.fromkeys(split_words("are was were am being"), "be"),
    **{form: lemma for lemma, form in _IRREGULAR_THIRD_PERSON.items()},
    **dict(lying="lie", dying="die", tying="tie", seeing="see", fleeing="flee"),
}
_DOUBLING = re.compile(r"(?:^|[^aeiou])[aeiou][bdgklmnprt]$")
_NOT_DOUBLED = read_set("forms", "not_doubled")
_CONSONANT_SOUND = re.compile(
    r"^(?:uni(?![ndm])|unanim|use|usu|usb|ute|uti|ufo|ukr|ura|uk\b|us\b|ewe|eu|one\b|once|ukulele|u\b|u-)"
)
_VOWEL_SOUND = re.compile(
    r"^(?:hour|honest|honou?r|heir|8|11(?!\d)|18(?:\d\d)?(?!\d)|x-|mri|led\b|nba|nfl|fbi|rpg|suv)"
)


@lru_cache(maxsize=8192)
def choose_article(word: str) -> str:
    """Return "a" or "an" for the word that follows."""
    word = word.lower()
    if _VOWEL_SOUND.match(word):
        return "an"
    return "an" if word[:1] in tuple("aeiou") and not _CONSONANT_SOUND.match(word) else "a"


@lru_cache(maxsize=8192)
def pluralize(noun: str) -> str:
    """Return the plural of a singular noun; a compound changes its last word."""
    head, gap, last = noun.rpartition(" ")
    return head + gap + _pluralize_word(last)


def list_stems(noun: str) -> list[str]:
    """Return what the forms of a noun begin with, in lower case: itself, and a plural that is more than "s" or "es"."""
    noun = noun.lower()
    plural = pluralize(noun)
    return [noun] if plural in (noun, f"{noun}s", f"{noun}es") else [noun, plural]


def match_stems(stems: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern whose group 1 is the stem of each noun in a caption, in any case; the longest stem wins.

    A "Race-Car" is a race car: `find_stem` returns the stem of what was found.
    """
    patterns = (re.escape(stem).replace(r"\ ", r"[\s-]+") for stem in sorted(stems, key=len, reverse=True))
    # Not \b: a name may end in another sign ("C++", "crane (n02012849)").
    return re.compile(rf"(?<!\w)({'|'.join(patterns)})(?:e?s)?(?!\w)", re.IGNORECASE)


def find_stem(found: str, stems: Container[str]) -> str | None:
    """Return the one of `stems`, in lower case, that a match of `match_stems` stands for.

    None if it is another: re.IGNORECASE matches more than `lower` unites, such as a dotless i.
    """
    spellings = (found.lower(), " ".join(re.split(r"[\s-]+", found.lower())))
    return next((spelling for spelling in spellings if spelling in stems), None)


def _pluralize_word(noun: str) -> str:
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun.endswith(_ALREADY_PLURAL) and noun not in _NOT_MEN_COMPOUNDS:
        return noun
    if noun.endswith("man") and noun not in _NOT_MAN_COMPOUNDS:
        return noun[:-3] + "men"
    return _add_s(noun)


def _add_s(word: str) -> str:
    if re.search(r"(?:s|x|z|ch|sh)$", word):
        return word + "es"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"


@lru_cache(maxsize=8192)
def singularize(noun: str) -> str:
    """Return the singular of a plural noun; a word that looks singular is returned unchanged."""
    if noun in _SINGULARS:
        return _SINGULARS[noun]
    if re.search(r"(?:ss|us|is|'s)$", noun) or not noun.endswith("s") or len(noun) < 4:
        return noun
    if re.search(r"[^aeiou]ies$", noun) and len(noun) > 4 and noun not in ("movies", "cookies", "selfies", "zombies"):
        return noun[:-3] + "y"
    if re.search(r"(?:ss|x|zz|ch|sh)es$", noun) and noun not in ("aches", "headaches"):
        return noun[:-2]
    return noun[:-1]


@lru_cache(maxsize=8192)
def verb_lemmas(form: str) -> tuple[str, ...]:
    """Return candidates for a verb's base form, the most likely first; look them up in a lexicon."""
    if form in _IRREGULAR_VERB_FORMS:
        return (_IRREGULAR_VERB_FORMS[form],)
    for ending in ("ing", "ied", "ies", "ed", "es", "s"):
        if form.endswith(ending) and len(form) > len(ending) + 1:
            stem = form[: -len(ending)]
            if ending in ("ied", "ies"):
                return (stem + "y", stem + "ie", form)
            if ending == "es" and not stem.endswith(("s", "x", "z", "ch", "sh", "o")):
                return (stem + "e", stem, form)  # "rides" comes from "ride", not "rid"
            doubled = (stem[:-1],) if ending in ("ing", "ed") and len(stem) > 3 and stem[-1] == stem[-2] else ()
            return (stem, *doubled, stem + "e", form)
    return (form,)


@lru_cache(maxsize=8192)
def conjugate(lemma: str, tag: str) -> str:
    """Return the form of a verb for a Penn tag: VB, VBP, VBZ, VBG, VBD or VBN."""
    if tag in ("VB", "VBP"):
        return lemma
    if tag in ("VBD", "VBN") and lemma in _IRREGULAR_VERBS:
        return _IRREGULAR_VERBS[lemma][tag == "VBN"]
    if tag == "VBZ":
        return _IRREGULAR_THIRD_PERSON.get(lemma) or _add_s(lemma)
    is_past = tag != "VBG"
    if lemma.endswith("ie") and not is_past:
        return lemma[:-2] + "ying"
    if lemma.endswith("e") and not re.search(r"(?:ee|oe|ye)$", lemma):
        return lemma + "d" if is_past else lemma[:-1] + "ing"
    if lemma.endswith("ee") and is_past:
        return lemma + "d"
    if is_past and re.search(r"[^aeiou]y$", lemma):
        return lemma[:-1] + "ied"
    if _DOUBLING.search(lemma) and lemma not in _NOT_DOUBLED:
        lemma += lemma[-1]
    return lemma + ("ed" if is_past else "ing")
