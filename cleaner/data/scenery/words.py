"""The vocabulary of Scenes: objects, attributes, grounds, relations; the usual word comes first."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "apple": ("apple", "orchard apple"),
    "ball": ("ball", "beach ball"),
    "banana": ("banana", "plantain"),
    "bird": ("bird", "songbird"),
    "boat": ("boat", "sailboat", "yacht"),
    "book": ("book", "hardback", "novel"),
    "bottle": ("bottle", "flask"),
    "bus": ("bus", "coach", "minibus"),
    "butterfly": ("butterfly", "moth"),
    "cactus": ("cactus", "succulent"),
    "car": ("car", "automobile", "motorcar"),
    "carrot": ("carrot", "garden carrot"),
    "cat": ("cat", "kitty", "feline"),
    "chair": ("chair", "seat"),
    "clock": ("clock", "alarm clock", "timepiece"),
    "cup": ("cup", "mug", "teacup"),
    "fish": ("fish", "tropical fish"),
    "flower": ("flower", "blossom", "bloom"),
    "hat": ("hat", "sun hat"),
    "house": ("house", "cottage", "home"),
    "key": ("key", "door key", "latchkey"),
    "kite": ("kite", "toy kite"),
    "lamp": ("lamp", "table lamp", "desk lamp"),
    "moon": ("moon", "crescent moon", "crescent"),
    "mushroom": ("mushroom", "toadstool"),
    "pear": ("pear", "garden pear"),
    "rocket": ("rocket", "spaceship", "space rocket"),
    "snail": ("snail", "garden snail"),
    "star": ("star", "toy star"),
    "tree": ("tree", "oak"),
    "turtle": ("turtle", "tortoise"),
    "umbrella": ("umbrella", "parasol", "brolly"),
}

COLORS: dict[str, tuple[str, ...]] = {
    "red": ("red", "scarlet", "crimson"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "blue": ("blue", "azure", "cobalt"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rosy"),
    "brown": ("brown", "chestnut"),
    "white": ("white", "ivory"),
    "black": ("black", "ebony"),
    "gray": ("gray", "grey", "silver"),
}

SIZES: dict[str, tuple[str, ...]] = {
    "small": ("small", "little", "tiny"),
    "medium": (),
    "large": ("large", "big", "huge"),
}

PATTERNS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "striped": ("striped", "stripy", "banded"),
    "dotted": ("dotted", "spotted", "speckled"),
}

GROUNDS: dict[str, tuple[str, ...]] = {
    "grass": ("on the grass", "in the grass", "on the lawn"),
    "sand": ("on the sand", "on the beach"),
    "wood": ("on the wooden table", "on the table"),
    "snow": ("in the snow", "on the snow"),
    "tiles": ("on the tiles", "on the tiled floor"),
    "carpet": ("on the carpet", "on the rug"),
    "water": ("on the water", "on the lake"),
    "gravel": ("on the gravel", "on the pebbles"),
    "paper": ("on paper",),
}

RELATIONS: dict[str, tuple[str, ...]] = {
    "left": ("to the left of", "left of", "on the left of"),
    "right": ("to the right of", "right of", "on the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
}
INVERSE_RELATION = {"left": "right", "right": "left", "above": "below", "below": "above"}

_SIT = ["bird", "butterfly", "cat", "snail", "turtle"]
_LIE = ["apple", "ball", "banana", "book", "carrot", "fish", "hat", "key", "kite", "moon", "pear", "star", "umbrella"]
POSTURE = {name: "sits" if name in _SIT else "lies" if name in _LIE else "stands" for name in SYNONYMS}

PATTERNED = frozenset(
    ("book", "bottle", "bus", "car", "cat", "cup", "fish", "hat", "house", "kite", "lamp")
) | frozenset(("mushroom", "rocket", "snail", "star", "umbrella"))
"""Objects that may have a pattern."""
NATURAL_COLORS: dict[str, tuple[str, ...]] = {
    "apple": ("red", "green", "red"),
    "ball": ("red", "blue", "orange"),
    "banana": ("yellow", "yellow", "green"),
    "bird": ("blue", "red", "brown"),
    "boat": ("red", "blue", "brown"),
    "book": ("red", "blue", "brown"),
    "bottle": ("green", "brown", "blue"),
    "bus": ("red", "yellow", "blue"),
    "butterfly": ("orange", "blue", "yellow"),
    "cactus": ("green",),
    "car": ("red", "blue", "black"),
    "carrot": ("orange",),
    "cat": ("orange", "black", "gray"),
    "chair": ("brown", "red", "white"),
    "clock": ("red", "yellow", "blue"),
    "cup": ("white", "blue", "red"),
    "fish": ("orange", "blue", "red"),
    "flower": ("red", "yellow", "pink", "purple"),
    "hat": ("brown", "black", "red"),
    "house": ("white", "yellow", "red"),
    "key": ("gray", "yellow", "brown"),
    "kite": ("red", "blue", "purple"),
    "lamp": ("yellow", "white", "red"),
    "moon": ("yellow", "white"),
    "mushroom": ("red", "brown", "white"),
    "pear": ("green", "yellow"),
    "rocket": ("white", "red", "gray"),
    "snail": ("brown", "orange"),
    "star": ("yellow", "red", "blue"),
    "tree": ("green", "green", "orange"),
    "turtle": ("green", "brown"),
    "umbrella": ("red", "blue", "black", "purple"),
}
"""Colors of 45% of the objects; the others have any color."""


def add_article(phrase: str) -> str:
    """Return `phrase` after "a" or "an"."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
