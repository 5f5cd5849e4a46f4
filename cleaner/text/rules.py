"""Tables of English grammar: words that may not be dropped, prepositions that exclude each other."""

from __future__ import annotations

from cleaner.text.kinds import parse_family, split_words

_SIDES = {
    f"{a}{s}{b}": s
    for a in ("", "to the ", "on the ", "at the ")
    for s in ("left", "right")
    for b in (" of", " side of")
}
# Prepositions of one or more words -> those that make the phrase false.
OPPOSITE_PREPOSITIONS: dict[str, tuple[str, ...]] = {
    **{phrase: (phrase.replace(s, "right" if s == "left" else "left"),) for phrase, s in _SIDES.items()},
    "above": ("below",),
    "below": ("above",),
    "over": ("under",),
    "under": ("above", "on top of"),
    "beneath": ("above",),
    "underneath": ("above",),
    "on top of": ("under", "below"),
    "on": ("under",),
    "onto": ("off",),
    "upon": ("under",),
    "atop": ("under", "below"),
    "in front of": ("behind",),
    "behind": ("in front of",),
    "inside": ("outside",),
    "outside": ("inside",),
    "outside of": ("inside",),
    "inside of": ("outside of",),
    "within": ("outside",),
    "near": ("far from",),
    "next to": ("far from",),
    "close to": ("far from",),
    "beside": ("far from",),
    "alongside": ("far from",),
    "far from": ("near", "next to"),
    "before": ("after",),
    "after": ("before",),
    "during": ("before", "after"),
    "up": ("down",),
    "down": ("up",),
    "into": ("out of",),
    "out of": ("into",),
    "towards": ("away from",),
    "toward": ("away from",),
    "away from": ("towards",),
    "along": ("far from",),
    "across": ("far from",),
    "through": ("far from",),
    "with": ("without",),
    "in": ("outside",),
    "at": ("far from", "away from"),
    "by": ("far from",),
    "around": ("far from",),
    "against": ("far from",),
    "between": ("far from",),
    "among": ("far from",),
}
# The same before a wide place: nothing is "under the beach".
WIDE_PLACE_OPPOSITES = {
    "on": ("far from",),
    "in": ("outside", "far from"),
    "at": ("far from",),
    "around": ("far from",),
    "along": ("far from",),
    "across": ("far from",),
    "through": ("far from",),
    "over": ("under",),
    "into": ("out of",),
}
# Phrases that act as one preposition and have no opposite.
COMPOUND_PREPOSITIONS = tuple(
    group[0]
    for group in parse_family(
        "in the middle of, in the center of, in the centre of, as part of, prior to, ahead of, because of, due to, in "
        "the background of, in the foreground of, instead of, such as, along with, together with, according to, at "
        "the end of, at the top of, at the bottom of, on the back of, on the front of, on the edge of, on the side "
        "of, by the side of, off of, as well as, thanks to, out from, up to, based on, by way of"
    )
)
NUMBERS = split_words("one two three four five six seven eight nine ten eleven twelve")
# Nouns that count like a number: "a dozen eggs".
NUMBER_NOUNS = frozenset(split_words("dozen hundred thousand million"))
NEGATIONS = frozenset(
    split_words(
        "no not n't n’t never without nobody nothing none neither nor nowhere cannot hardly barely scarcely lack "
        "lacks lacking lacked except unless absent missing rarely seldom non fails"
    )
)
QUANTIFIERS = frozenset(
    split_words(
        "all every each everyone everything everybody most few fewer fewest less least only just both either any "
        "anyone anything half almost nearly exactly whole entire majority if would could might may should than or "
        "vs versus between whether"
    )
)
# Quantifiers of an amount: the words before them stay true without them.
AMOUNTS = frozenset(split_words("all every each most few both any half entire whole everyone everything"))
# Conjunctions that start a clause.
CONJUNCTIONS = ("as", "before", "after", "because", "if", "although", "that", "until", "than")
# Words that say when, without a preposition.
DAYS = frozenset(
    split_words("today tomorrow yesterday tonight monday tuesday wednesday thursday friday saturday sunday")
)
# Determiners of plural nouns.
MANY = frozenset(split_words("many several few various other numerous multiple countless different"))
# Nouns of idioms: nothing is "outside the air" or "far from the distance".
IDIOM_NOUNS = frozenset(
    split_words(
        "sky air horizon open world distance way dark wind sun sunlight light rain person life love motion action time "
        "universe front addition honor shade style colour color form case fact point detail order memory "
        "progress search turn hurry particular general"
    )
)
# Adjectives that cannot be dropped: "a fake gun" is not a gun, "the first house" is one of a kind.
PRIVATIVE = frozenset(
    split_words(
        "middle mid fake toy stuffed artificial imitation faux former future ex alleged supposed would-be false mock "
        "imaginary virtual pretend inflatable cartoon animated fictional plush dead unborn potential possible "
        "counterfeit synthetic simulated mini miniature model lego origami painted carved drawn printed "
        "generated embroidered crocheted sculpted engraved stylized gummy decorative ornamental robotic mechanical "
        "animatronic "
        "prosthetic lifesize hollow unfinished failed retired late deceased extinct first second third fourth fifth "
        "last next final other another same only own sole best worst most more less fewer such few many much several "
        "very certain various different double triple multiple half past previous upcoming live general main real "
        "biological musical noble civil social digital electronic electric mobile hot military political "
        "religious public nuclear solar fast open hard soft short high low dry free visual special olympic global "
        "national international left right top upper lower apparent aspiring proposed planned so-called called wannabe "
        "attempted suspected broken"
    )
)
# "A golden bull" is a statue, "a golden fish" a fish.
GOLDEN_STATUES = frozenset(
    split_words(
        "bull calf cow ram horse elephant lion tiger dragon unicorn phoenix man woman boy girl child god goddess "
        "buddha angel cherub cupid king queen pharaoh knight soldier"
    )
)
# Verbs of making: "a horse made of straw" is no horse.
MAKING_VERBS = frozenset(
    split_words("make carve paint draw print embroider sculpt knit sew weave engrave etch tattoo depict sketch")
)
# "A photo of X" shows X. A painting, a statue or a toy does not.
IMAGE_NOUNS = frozenset(split_words("photo photograph picture image snapshot thumbnail"))
# "A group of women": the noun to replace is the second one.
CONTAINERS = frozenset(
    split_words(
        "group pair bunch set lot number series row couple variety selection collection piece cup glass bottle bowl "
        "plate pile slice stack line array crowd herd flock kind type sort part side top bottom front back view "
        "close-up photo photograph picture image snapshot thumbnail portrait illustration painting drawing shot member "
        "edge end center middle corner rest cover bit sketch statue sculpture figurine replica poster mural acre dozen "
        "hundred thousand million vector silhouette background interior exterior range symbol version example style"
    )
)
# Nouns too general or too abstract to be replaced or drawn.
VAGUE = frozenset(
    split_words(
        "figure same view background foreground thing stuff way kind type sort lot lots bit part side front back top "
        "bottom end middle center edge number rest case use time today tomorrow yesterday something anything "
        "everything nothing someone anyone everyone one ones body work place area left right here there me you he she "
        "it they we all none some up down off out total person object location unit organism entity whole content "
        "contents variety various example version moment look feature amount piece item space world structure shade "
        "subject"
    )
)
