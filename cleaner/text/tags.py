"""Tags of the tagger: Penn's plus REL, INREL and VBE; words with a fixed tag; words of color."""

from __future__ import annotations

from cleaner.text.kinds import COLOR_NAMES, split_words

NOUN_TAGS = ("NN", "NNS", "NNP", "NNPS")
VERB_TAGS = ("VB", "VBP", "VBZ", "VBD", "VBN", "VBG")
FINITE_TAGS = ("VBZ", "VBP", "VBD", "VBE", "MD")
"""A verb with one of these can be the verb of a clause; VBE is a form of "be"."""
CLOSED_CLASS_TAGS = {
    word: tag
    for tag, words in {
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
        "NN": "close-up closeup sheep fish hiking species series background net mum t-shirt",
        "NNS": "people lots men women children police feet mice geese clothes pants jeans glasses sunglasses",
        "JJ": "many several few such other mid grey right red",
        "VBZ": "has does",
        "VBP": "have do",
        "VBD": "had did left",
        "VBN": "inspired",
    }.items()
    for word in split_words(words)
}
COLOR_NOUNS = frozenset(
    split_words("olive rose gold silver cream coral ruby emerald amber bronze chestnut tangerine jet ivory jade cobalt")
)
"""Names of colors that also name things."""
COLOR_WORDS = COLOR_NAMES - COLOR_NOUNS
"""Names of colors that are always adjectives."""
