"""Words of English grammar: which may not be dropped, which prepositions exclude each other (words.toml)."""

from cleaner.text.tables import read_family, read_phrases, read_set, read_words

_SIDES = {
    f"{a}{s}{b}": s
    for a in ("", "to the ", "on the ", "at the ")
    for s in ("left", "right")
    for b in (" of", " side of")
}
OPPOSITE_PREPOSITIONS: dict[str, tuple[str, ...]] = {
    **{phrase: (phrase.replace(s, "right" if s == "left" else "left"),) for phrase, s in _SIDES.items()},
    **read_phrases("prepositions", "opposites"),
}
"""Prepositions of one or more words -> those that make the phrase false."""
WIDE_PLACE_OPPOSITES = read_phrases("prepositions", "wide_opposites")
"""The same before a wide place: nothing is "under the beach"."""
COMPOUND_PREPOSITIONS = tuple(group[0] for group in read_family("prepositions", "compound"))
"""Phrases that act as one preposition and have no opposite."""
NUMBERS, NUMBER_NOUNS = read_words("grammar", "numbers"), read_set("grammar", "number_nouns")
NEGATIONS, QUANTIFIERS = read_set("grammar", "negations"), read_set("grammar", "quantifiers")
AMOUNTS = read_set("grammar", "amounts")
CONJUNCTIONS = ("as", "before", "after", "because", "if", "although", "that", "until", "than")
"""Conjunctions that start a clause."""
DAYS, MANY, PRIVATIVE = (read_set("grammar", name) for name in ("days", "many", "privative"))
IMAGE_NOUNS, CONTAINERS, VAGUE = (read_set("nouns", name) for name in ("images", "containers", "vague"))
IDIOM_NOUNS, GOLDEN_STATUES = read_set("nouns", "idioms"), read_set("nouns", "golden_statues")
MAKING_VERBS = read_set("verbs", "making")
