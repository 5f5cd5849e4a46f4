"""The truth oracle: is a caption, or a subtext of it, true of a scene?"""

from dataclasses import replace

import pytest

from cleaner.data.scenery.captions import make_caption
from cleaner.data.scenery.facts import VARIANTS, Scene, SceneObject, make_scene
from tests.cases import read_cases
from tests.data.truth import is_true

BANANA = SceneObject(
    name="banana",
    color="yellow",
    size="small",
    pattern="plain",
    x=0.3,
    y=0.5,
    extent=0.4,
    rotation=0,
    is_flipped=False,
    proportions=(0.5,) * 6,
)
CAR = SceneObject(
    name="car",
    color="red",
    size="small",
    pattern="striped",
    x=0.8,
    y=0.5,
    extent=0.3,
    rotation=0,
    is_flipped=False,
    proportions=(0.5,) * 6,
)
PAIR = Scene((BANANA, CAR), "left", "grass", "plain", (0.5,) * 12)
ALONE = Scene((replace(BANANA, size="large"),), None, "wood", "plain", (0.5,) * 12)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("mode", ["mixed", "full"])
@pytest.mark.parametrize("count", [300, pytest.param(5000, marks=pytest.mark.slow)])
def test_captions_are_true(variant: str, mode: str, count: int):
    for index in range(count):
        scene = make_scene("train", 3, index, variant)
        text = make_caption(scene, "train", 3, index, mode)
        assert is_true(text, scene) is True, (text, scene)


def test_captions_of_other_scenes_are_mostly_false():
    scenes = [make_scene("test", 0, i) for i in range(501)]
    verdicts = [is_true(make_caption(scenes[i], "test", 0, i), scenes[i + 1]) for i in range(500)]
    assert verdicts.count(False) > 490


@pytest.mark.parametrize(("text", "verdict"), read_cases(__file__, "truth_pair"))
def test_pair(text: str, verdict: str):
    assert str(is_true(text, PAIR)) == verdict


@pytest.mark.parametrize(("text", "verdict"), read_cases(__file__, "truth_alone"))
def test_alone(text: str, verdict: str):
    assert str(is_true(text, ALONE)) == verdict


def test_a_sketch_has_no_color():
    sketch = make_scene("test", 0, 2, "sketch")
    name = sketch.objects[0].name
    assert is_true(f"a {name} on paper", sketch) is True
    assert is_true(f"a red {name}", sketch) is None
