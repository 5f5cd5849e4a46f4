"""Tags of the tagger: Penn's plus REL, INREL and VBE; words with a fixed tag; words of color."""

from cleaner.text.kinds import COLOR_NAMES
from cleaner.text.tables import read_set, read_tags

NOUN_TAGS = ("NN", "NNS", "NNP", "NNPS")
VERB_TAGS = ("VB", "VBP", "VBZ", "VBD", "VBN", "VBG")
FINITE_TAGS = ("VBZ", "VBP", "VBD", "VBE", "MD")
"""A verb with one of these can be the verb of a clause; VBE is a form of "be"."""
CLOSED_CLASS_TAGS = read_tags()
COLOR_NOUNS = read_set("grammar", "color_nouns")
"""Names of colors that also name things."""
COLOR_WORDS = COLOR_NAMES - COLOR_NOUNS
"""Names of colors that are always adjectives."""
