"""True captions of every granularity from the facts of a scene."""

from collections.abc import Callable, Sequence

from cleaner.data.scenery.facts import SCENES_VERSION, Scene, SceneObject, UniformSampler
from cleaner.data.scenery.words import (
    COLORS,
    GROUNDS,
    INVERSE_RELATION,
    PATTERNS,
    POSTURE,
    RELATIONS,
    SIZES,
    SYNONYMS,
    add_article,
)
from cleaner.seed import numpy_generator

CAPTION_MODES = ("mixed", "full")
PREFIXES = ("a photo of ", "a picture of ", "an image of ")
SKETCH_PREFIXES = ("a drawing of ", "a sketch of ", "a line drawing of ")


def make_caption(scene: Scene, split: str, seed: int, index: int, mode: str = "full") -> str:
    """Return a caption of `scene`.

    "full" names every object with color and pattern, and mostly size, relation and ground. "mixed" is short for half
    of the scenes (object alone or with its color, often in a zero-shot template), medium for a fifth, else full.
    """
    rng = numpy_generator("scene-caption", SCENES_VERSION, scene.variant, split, seed, index, mode)
    u: UniformSampler = iter(rng.random(48).tolist()).__next__
    t = u()
    if mode == "full" or t < 0.3:
        return _make_full_caption(scene, u)
    return _make_short_caption(scene, u) if t < 0.8 else _make_medium_caption(scene, u)


def _pick(options: Sequence[str], u: UniformSampler, first_bias: float = 0.0) -> str:
    """Return the first option with probability `first_bias`, else any option, drawn uniformly."""
    t = u()
    return options[0] if t < first_bias else options[int((t - first_bias) / (1 - first_bias) * len(options))]


def _noun(o: SceneObject, u: UniformSampler) -> str:
    return _pick(SYNONYMS[o.name], u, 0.4)


def _phrase(o: SceneObject, u: UniformSampler, *, size: float = 1.0, pattern: float = 1.0, color: float = 1.0) -> str:
    """Return "a small striped blue cup"; arguments are probabilities of naming a visible attribute."""
    words = []
    for options, probability in (
        (SIZES[o.size], size),
        (PATTERNS[o.pattern], pattern),
        (COLORS.get(o.color, ()), color),
    ):
        if options and u() < probability:
            words.append(_pick(options, u, 0.5))
    return add_article(" ".join([*words, _noun(o, u)]))


def _make_short_caption(scene: Scene, u: UniformSampler) -> str:
    o = scene.objects[0]
    if len(scene.objects) > 1 and u() < 0.15:
        return " and ".join(_phrase(named, u, size=0, pattern=0, color=0) for named in scene.objects[:2])
    prefix = ("", *PREFIXES)[int(u() * 4)]
    return prefix + _phrase(o, u, size=0, pattern=0, color=0.4)


def _make_medium_caption(scene: Scene, u: UniformSampler) -> str:
    kind = u()
    main = _phrase(scene.objects[0], u, size=0.3, pattern=0.3, color=0.3)
    if scene.relation and kind < 0.6:
        other = _phrase(scene.objects[1], u, size=0, pattern=0.2, color=0.3)
        return _pick(("", *PREFIXES), u, 0.5) + f"{main} {_pick(RELATIONS[scene.relation], u, 0.3)} {other}"
    if kind < 0.8:
        return f"{main} {_ground(scene, u)}"
    return _pick(PREFIXES, u) + _phrase(scene.objects[0], u, size=0.7, pattern=0.7, color=0.5)


def _ground(scene: Scene, u: UniformSampler) -> str:
    return _pick(GROUNDS[scene.ground], u, 0.4)


def _make_full_caption(scene: Scene, u: UniformSampler) -> str:
    prefix = _pick(SKETCH_PREFIXES if scene.variant == "sketch" else PREFIXES, u)
    if scene.relation:
        return _make_pair_caption(scene, u, prefix)
    if len(scene.objects) > 1:
        return _make_crowd_caption(scene, u, prefix)
    o = scene.objects[0]
    main, ground, verb = _phrase(o, u, size=0.85), _ground(scene, u), _verb(o, u)
    forms: tuple[Callable[[], str], ...] = (
        lambda: f"{main} {ground}",
        lambda: f"{prefix}{main} {ground}",
        lambda: f"{prefix}{main}",
        lambda: f"there is {main} {ground}",
        lambda: f"{main} {verb} {ground}",
        lambda: f"{ground} {verb} {main}",
        lambda: f"{ground} there is {main}",
    )
    return forms[int(u() * len(forms))]()


def _verb(o: SceneObject, u: UniformSampler) -> str:
    return POSTURE[o.name] if u() < 0.8 else "is"


def _make_pair_caption(scene: Scene, u: UniformSampler, prefix: str) -> str:
    relation = scene.relation or ""
    a, b = scene.objects[0], scene.objects[1]
    main, other = _phrase(a, u, size=0.85), _phrase(b, u, size=0.4)
    if u() < 0.2:
        a, main, other, relation = b, other, main, INVERSE_RELATION[relation]
    place, ground, verb = _pick(RELATIONS[relation], u, 0.3), _ground(scene, u), _verb(a, u)
    forms: tuple[Callable[[], str], ...] = (
        lambda: f"{main} {place} {other} {ground}",
        lambda: f"{main} {place} {other} {ground}",
        lambda: f"{main} {place} {other}",
        lambda: f"{prefix}{main} {place} {other}",
        lambda: f"{prefix}{main} {place} {other} {ground}",
        lambda: f"there is {main} {place} {other} {ground}",
        lambda: f"{main} {verb} {place} {other} {ground}",
        lambda: f"{ground} {verb} {main} {place} {other}",
        lambda: f"{ground} there is {main} {place} {other}",
        lambda: f"{ground} there are {main} and {other}",
    )
    return forms[int(u() * len(forms))]()


def _make_crowd_caption(scene: Scene, u: UniformSampler, prefix: str) -> str:
    first, *others = [_phrase(o, u, size=0, pattern=0.5) for o in scene.objects]
    rest = ", ".join(others[:-1]) + " and " + others[-1] if len(others) > 1 else others[0]
    ground = _ground(scene, u)
    forms = (
        f"{first} among {rest} {ground}",
        f"{first}, {rest} {ground}",
        f"{prefix}{first} with {rest}",
        f"{ground} there are {first}, {rest}",
    )
    return forms[int(u() * len(forms))]
