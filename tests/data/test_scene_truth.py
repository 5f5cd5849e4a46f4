"""The truth oracle: is a caption, or a subtext of it, true of a scene?"""

from dataclasses import replace

import pytest

from cleaner.data.scenery.captions import make_caption
from cleaner.data.scenery.facts import VARIANTS, Scene, SceneObject, make_scene
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


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("a small yellow banana to the left of a red car on the grass", True),
        ("a banana", True),
        ("there is a golden plantain on the lawn", True),
        ("a striped automobile right of a little banana", True),
        ("a banana and a car on the grass", True),
        ("a banana lies on the grass", True),
        ("on the grass lies a small, yellow banana", True),
        ("one banana", True),
        ("a blue banana", False),
        ("a large banana", False),
        ("a dotted car", False),
        ("two bananas", False),
        ("bananas on the grass", False),
        ("a banana and a banana", False),
        ("a banana to the right of a car", False),
        ("a car left of a banana", False),
        ("a banana above a car", False),
        ("a banana on the sand", False),
        ("a pear to the left of a red car", False),
        ("a banana behind a car", False),
        ("a banana in front of a car", False),
        ("a banana under the grass", False),
        ("a banana far from the grass", False),
        ("a banana outside the lawn", False),
        ("a banana far from a car", None),
        ("a banana outside", None),
        ("a small yellow dragon to the left of a red car", False),
        ("a photo of an orange", False),
        ("a banana stands on the grass", False),
        ("a banana to the left of a blue car on the grass", False),
        ("a shiny banana", None),
        ("a banana on the car", None),
        ("a banana and a vehicle", None),
        ("a banana to the left of", None),
        ("a banana peel", None),
        ("", None),
        ("a photo of", None),
    ],
)
def test_pair(text: str, verdict: bool | None):
    assert is_true(text, PAIR) is verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("a huge banana on the wooden table", True),
        ("a banana on the table", True),
        ("a banana", True),
        ("a banana to the left of a car", False),
        ("a banana and a car", False),
        ("three bananas on the table", False),
        ("a striped banana", False),
        ("a banana on the lake", False),
    ],
)
def test_alone(text: str, verdict: bool | None):
    assert is_true(text, ALONE) is verdict


def test_a_sketch_has_no_color():
    sketch = make_scene("test", 0, 2, "sketch")
    name = sketch.objects[0].name
    assert is_true(f"a {name} on paper", sketch) is True
    assert is_true(f"a red {name}", sketch) is None
