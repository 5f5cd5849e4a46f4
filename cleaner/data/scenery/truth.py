"""Is a caption true of a scene? A small parser for the captions of Scenes and for what subtexts make of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from cleaner.data.scenery.facts import Scene, SceneObject
from cleaner.data.scenery.words import COLORS, INVERSE_RELATION, PATTERNS, POSTURE, RELATIONS, SIZES, SYNONYMS

Verdict = bool | None

_GROUND_NOUNS = {
    "grass": ("grass", "lawn"),
    "sand": ("sand", "beach"),
    "wood": ("wooden table", "table", "wooden floor"),
    "snow": ("snow",),
    "tiles": ("tiles", "tiled floor", "floor"),
    "carpet": ("carpet", "rug"),
    "water": ("water", "lake"),
    "gravel": ("gravel", "pebbles"),
    "paper": ("paper",),
}
_NUMBERS = {
    "zero": 0,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
}
_NUMBERS |= {"several": 3, "many": 3, "some": 2, "few": 3, "both": 2, "single": 1, "pair": 2}
_VERBS = {
    "sits": ("sit", "sits", "sitting"),
    "stands": ("stand", "stands", "standing"),
    "lies": ("lie", "lies", "lying"),
}
# Words that state nothing by themselves.
_FILLERS = {"a", "an", "the", "there", "is", "are", "of", "from", "and", "with", "among", "on", "in", "at", ",", "."}
_FILLERS |= {"photo", "picture", "image", "drawing", "sketch", "line"}
_FALSE_PLACES = {"behind", "inside", "front"}
_OFF = {"outside", "far", "off"}
# Words that may be true, which the facts do not say.
_UNCLEAR = {"no", "not", "without", "or", "near", "beside", "next", "by", "between", "around", "along"}
_UNCLEAR |= {"fruit", "vegetable", "vehicle", "animal", "pet", "insect", "plant", "furniture", "container", "tool"}
_UNCLEAR |= {"shape", "toy", "food", "object", "thing", "building", "item"}


def pluralize(noun: str) -> str:
    """Return the plural of a noun of the vocabulary."""
    if noun.endswith("cactus"):
        return noun[:-2] + "i"
    if noun.endswith(("s", "x", "sh", "ch")):
        return noun + "es"
    return noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeiou" else noun + "s"


def _build_lexicon() -> dict[tuple[str, ...], tuple[str, str]]:
    """Return phrase -> (kind, value); the longest phrase wins."""
    table: dict[tuple[str, ...], tuple[str, str]] = {}

    def enter(kind: str, value: str, phrases: Iterable[str]) -> None:
        for phrase in phrases:
            table[tuple(phrase.split())] = (kind, value)

    for value, words in _GROUND_NOUNS.items():
        enter("ground", value, words)
    for name, words in SYNONYMS.items():
        enter("many", name, map(pluralize, words))
        enter("object", name, words)
    for kind, options in (("color", COLORS), ("size", SIZES), ("pattern", PATTERNS), ("relation", RELATIONS)):
        for value, words in options.items():
            enter(kind, value, words)
    for value, words in _VERBS.items():
        enter("verb", value, words)
    return table


_LEXICON = _build_lexicon()


@dataclass
class _Mention:
    """An object that a caption names: "two small bananas"."""

    name: str
    count: int
    adjectives: list[tuple[str, str]] = field(default_factory=list)


def is_true(caption: str, scene: Scene) -> Verdict:
    """Return whether all that `caption` says is so in `scene`; None where the facts cannot tell.

    Understands objects with number, colour, size and pattern, relations, grounds and verbs of posture. A noun outside
    the vocabulary is taken for something that is not in the picture.
    """
    verdicts: list[Verdict] = []
    mentions: list[_Mention] = []
    adjectives: list[tuple[str, str]] = []
    count: int | None = None
    relation: str | None = None
    verb: str | None = None
    tokens = _tokenize(caption)
    for i, (kind, value) in enumerate(tokens):
        before = tokens[i - 1][0] if i else "start"
        after = tokens[i + 1][0] if i + 1 < len(tokens) else "end"
        if kind in ("color", "size", "pattern"):
            adjectives.append((kind, value))
            if after not in ("color", "size", "pattern", "object", "many", "unknown"):
                # "an orange" is a fruit; "the red" says too little.
                verdicts.append(False if value == "orange" else None)
                adjectives = []
        elif kind == "number":
            count = _NUMBERS[value]
        elif kind in ("object", "many"):
            # "on the car": support is not among the facts.
            if value not in (o.name for o in scene.objects):
                verdicts.append(False)
            elif i > 1 and tokens[i - 1] == ("filler", "the") and tokens[i - 2][1] in ("on", "in"):
                verdicts.append(None)
            mention = _Mention(value, count or (2 if kind == "many" else 1), adjectives)
            if relation and mentions:
                verdicts.append(_check_relation(scene, mentions[-1].name, value, relation))
            if verb:
                verdicts.append(POSTURE[value] == verb)
            mentions.append(mention)
            adjectives, count, relation, verb = [], None, None, None
        elif kind == "ground":
            # Everything lies on the ground, nothing under or off it. It has no colour or number among the facts.
            verdicts += [value == scene.ground and not relation, *([None] if adjectives or count else [])]
            adjectives, count, relation = [], None, None
        elif kind == "relation":
            relation = value
        elif kind == "verb":
            if before in ("object", "many"):
                verdicts.append(POSTURE[mentions[-1].name] == value)
            else:
                verb = value
        elif kind == "place":
            verdicts.append(False)
        elif kind == "unclear":
            verdicts.append(None)
        elif kind == "unknown":
            # The head of a phrase is a thing that is not there; beside a noun it may be a verb or an adjective.
            head = before not in ("object", "many", "ground") and after not in ("object", "many", "ground", "unknown")
            verdicts.append(False if head else None)
            adjectives, count = ([], None) if head else (adjectives, count)
    if relation or verb:
        verdicts.append(None)
    names = [mention.name for mention in mentions]
    verdicts += [_check_mention(mention, scene, names.count(mention.name)) for mention in mentions]
    if not verdicts or None in verdicts:
        return False if False in verdicts else None
    return all(verdicts)


def _tokenize(caption: str) -> list[tuple[str, str]]:
    """Return (kind, word or value) pairs; articles, commas and the like are kept as fillers."""
    words = re.findall(r"[a-z]+(?:[-'][a-z]+)*|[,.]|\d+", caption.lower())
    tokens: list[tuple[str, str]] = []
    i = 0
    while i < len(words):
        if words[i] == "," and tokens and tokens[-1][0] in ("color", "size", "pattern"):
            i += 1
            continue
        for n in (4, 3, 2, 1):
            entry = _LEXICON.get(tuple(words[i : i + n]))
            if entry and len(words[i : i + n]) == n:
                tokens.append(entry)
                i += n
                break
        else:
            tokens.append(_classify_word(words[i]))
            i += 1
    return tokens


def _classify_word(word: str) -> tuple[str, str]:
    if word in _NUMBERS:
        return ("number", word)
    if word in _FILLERS:
        return ("filler", word)
    if word in _FALSE_PLACES:
        return ("place", word)
    if word in _OFF:
        return ("relation", "off")
    return ("unclear" if word in _UNCLEAR or word.isdigit() else "unknown", word)


def _check_mention(mention: _Mention, scene: Scene, times: int) -> Verdict:
    """Is the mentioned object there, once, with these attributes? (No object comes twice in a scene.)"""
    for o in scene.objects:
        if o.name == mention.name:
            verdicts = [_check_attribute(o, kind, value) for kind, value in mention.adjectives]
            if mention.count != 1 or times > 1 or False in verdicts:
                return False
            return None if None in verdicts else True
    return False


def _check_attribute(o: SceneObject, kind: str, value: str) -> Verdict:
    actual: str = getattr(o, kind)
    return actual == value if actual else None


def _check_relation(scene: Scene, first: str, second: str, relation: str) -> Verdict:
    """Is `first` left of / right of / above / below `second`?"""
    places = {o.name: o for o in scene.objects}
    if first not in places or second not in places:
        return False
    if first == second:
        return False
    if relation == "off":
        return None
    if scene.relation:
        stated = scene.relation if first == scene.objects[0].name else INVERSE_RELATION[scene.relation]
        if relation in (stated, INVERSE_RELATION[stated]):
            return relation == stated
    a, b = places[first], places[second]
    step = {"left": b.x - a.x, "right": a.x - b.x, "above": b.y - a.y, "below": a.y - b.y}[relation]
    if step <= 0.03:
        return False
    return True if step > 0.25 and not scene.relation else None
