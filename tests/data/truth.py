"""A test oracle: is a caption, or a subtext of it, true of a scene?"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from cleaner.data.scenery.facts import Scene, SceneObject
from cleaner.data.scenery.words import COLORS, INVERSE_RELATION, PATTERNS, POSTURE, RELATIONS, SIZES, SYNONYMS

Verdict = bool | None
"""None: the facts cannot tell."""

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
_POSTURE_FORMS = {
    "sits": ("sit", "sits", "sitting"),
    "stands": ("stand", "stands", "standing"),
    "lies": ("lie", "lies", "lying"),
}
_ATTRIBUTES = ("color", "size", "pattern")
_OBJECTS = ("object", "many")
# Words that state nothing by themselves.
_FILLERS = {"a", "an", "the", "there", "is", "are", "of", "from", "and", "with", "among", "on", "in", "at", ",", "."}
_FILLERS |= {"photo", "picture", "image", "drawing", "sketch", "line"}
_FALSE_PLACES = {"behind", "inside", "front"}
_OFF = {"outside", "far", "off"}
# Words that may be true; the facts do not say.
_UNCLEAR = {"no", "not", "without", "or", "near", "beside", "next", "by", "between", "around", "along"}
_UNCLEAR |= {"fruit", "vegetable", "vehicle", "animal", "pet", "insect", "plant", "furniture", "container", "tool"}
_UNCLEAR |= {"shape", "toy", "food", "object", "thing", "building", "item"}


def is_true(caption: str, scene: Scene) -> Verdict:
    """Return whether every statement of `caption` holds in `scene`; None where the facts cannot tell.

    Understands objects with number, color, size and pattern, relations, grounds and verbs of posture. A noun outside
    the vocabulary names something that the image does not show.
    """
    reader = _CaptionReader(scene)
    reader.read(_tokenize(caption))
    return reader.verdict()


def _pluralize(noun: str) -> str:
    """Return the plural of a noun of the vocabulary."""
    if noun.endswith("cactus"):
        return noun[:-2] + "i"
    if noun.endswith(("s", "x", "sh", "ch")):
        return noun + "es"
    return noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeiou" else noun + "s"


def _build_lexicon() -> dict[tuple[str, ...], tuple[str, str]]:
    """Return phrase -> (kind, value)."""
    table: dict[tuple[str, ...], tuple[str, str]] = {}

    def enter(kind: str, value: str, phrases: Iterable[str]) -> None:
        for phrase in phrases:
            table[tuple(phrase.split())] = (kind, value)

    for value, words in _GROUND_NOUNS.items():
        enter("ground", value, words)
    for name, words in SYNONYMS.items():
        enter("many", name, map(_pluralize, words))
        enter("object", name, words)
    for kind, options in (("color", COLORS), ("size", SIZES), ("pattern", PATTERNS), ("relation", RELATIONS)):
        for value, words in options.items():
            enter(kind, value, words)
    for value, words in _POSTURE_FORMS.items():
        enter("verb", value, words)
    return table


_LEXICON = _build_lexicon()


@dataclass
class _Mention:
    """An object that a caption names: "two small bananas"."""

    name: str
    count: int
    adjectives: list[tuple[str, str]] = field(default_factory=list)


class _CaptionReader:
    """Collects the verdicts on a caption token by token; attributes wait for their noun."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.verdicts: list[Verdict] = []
        self.mentions: list[_Mention] = []
        self.adjectives: list[tuple[str, str]] = []
        self.count: int | None = None
        self.relation: str | None = None
        self.verb: str | None = None

    def read(self, tokens: list[tuple[str, str]]) -> None:
        for i, (kind, value) in enumerate(tokens):
            before = tokens[i - 1][0] if i else "start"
            after = tokens[i + 1][0] if i + 1 < len(tokens) else "end"
            if kind in _ATTRIBUTES:
                self._read_attribute(kind, value, after)
            elif kind in _OBJECTS:
                is_support = i > 1 and tokens[i - 1] == ("filler", "the") and tokens[i - 2][1] in ("on", "in")
                self._read_object(kind, value, is_support)
            elif kind == "ground":
                self._read_ground(value)
            elif kind == "unknown":
                self._read_unknown(before, after)
            elif kind == "verb" and before in _OBJECTS:
                self.verdicts.append(POSTURE[self.mentions[-1].name] == value)
            elif kind == "verb":
                self.verb = value
            elif kind == "number":
                self.count = _NUMBERS[value]
            elif kind == "relation":
                self.relation = value
            elif kind in ("place", "unclear"):
                self.verdicts.append(False if kind == "place" else None)

    def verdict(self) -> Verdict:
        if self.relation or self.verb:
            self.verdicts.append(None)
        names = [mention.name for mention in self.mentions]
        mentions = (_check_mention(mention, self.scene, names.count(mention.name)) for mention in self.mentions)
        return _combine([*self.verdicts, *mentions])

    def _read_attribute(self, kind: str, value: str, next_kind: str) -> None:
        self.adjectives.append((kind, value))
        if next_kind not in (*_ATTRIBUTES, *_OBJECTS, "unknown"):
            # "an orange" is a fruit; "the red" says too little.
            self.verdicts.append(False if value == "orange" else None)
            self.adjectives = []

    def _read_object(self, kind: str, name: str, is_support: bool) -> None:
        if name not in (o.name for o in self.scene.objects):
            self.verdicts.append(False)
        elif is_support:
            self.verdicts.append(None)  # "on the car": the facts do not say what supports what
        if self.relation and self.mentions:
            self.verdicts.append(_check_relation(self.scene, self.mentions[-1].name, name, self.relation))
        if self.verb:
            self.verdicts.append(POSTURE[name] == self.verb)
        self.mentions.append(_Mention(name, self.count or (2 if kind == "many" else 1), self.adjectives))
        self.adjectives, self.count, self.relation, self.verb = [], None, None, None

    def _read_ground(self, value: str) -> None:
        # Every object is on the ground, none under or off it. The facts give the ground no color and no number.
        self.verdicts.append(value == self.scene.ground and not self.relation)
        if self.adjectives or self.count:
            self.verdicts.append(None)
        self.adjectives, self.count, self.relation = [], None, None

    def _read_unknown(self, previous_kind: str, next_kind: str) -> None:
        # The head of a phrase names an absent thing; next to a noun it may be a verb or an adjective.
        nouns = (*_OBJECTS, "ground")
        is_head = previous_kind not in nouns and next_kind not in (*nouns, "unknown")
        self.verdicts.append(False if is_head else None)
        if is_head:
            self.adjectives, self.count = [], None


def _combine(verdicts: list[Verdict]) -> Verdict:
    if False in verdicts:
        return False
    return None if None in verdicts or not verdicts else True


def _tokenize(caption: str) -> list[tuple[str, str]]:
    """Return (kind, word or value) pairs, the longest phrase of the lexicon first."""
    words = re.findall(r"[a-z]+(?:[-'][a-z]+)*|[,.]|\d+", caption.lower())
    tokens: list[tuple[str, str]] = []
    i = 0
    while i < len(words):
        if words[i] == "," and tokens and tokens[-1][0] in _ATTRIBUTES:
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
    """Does the scene show the object, once, with these attributes? (No object comes twice in a scene.)"""
    for o in scene.objects:
        if o.name == mention.name:
            verdicts = [_check_attribute(o, kind, value) for kind, value in mention.adjectives]
            return _combine([mention.count == 1 and times == 1, *verdicts])
    return False


def _check_attribute(o: SceneObject, kind: str, value: str) -> Verdict:
    actual: str = getattr(o, kind)
    return actual == value if actual else None


def _check_relation(scene: Scene, first: str, second: str, relation: str) -> Verdict:
    """Is `first` left of / right of / above / below `second`?"""
    objects = {o.name: o for o in scene.objects}
    if first not in objects or second not in objects or first == second:
        return False
    if relation == "off":
        return None
    if scene.relation:
        stated = scene.relation if first == scene.objects[0].name else INVERSE_RELATION[scene.relation]
        if relation in (stated, INVERSE_RELATION[stated]):
            return relation == stated
    a, b = objects[first], objects[second]
    step = {"left": b.x - a.x, "right": a.x - b.x, "above": b.y - a.y, "below": a.y - b.y}[relation]
    if step <= 0.03:
        return False
    return True if step > 0.25 and not scene.relation else None
