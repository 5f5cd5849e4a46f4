"""Triggers in the page: the same pixels as the library's, for every registered trigger."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cleaner.attacks import TRIGGERS
from cleaner.attacks.base import POSITIONS, Trigger
from cleaner.data.images import to_uint8
from cleaner.playground.trigger import describe_trigger
from cleaner.types import CleanerError
from tests.playground.node import run_node

APPLY = """
const { trigger } = value, side = 64, size = 3 * side * side, bytes = fromBase64(value.pixels);
const images = Array.from({ length: bytes.length / size }, (_, i) => bytes.slice(i * size, (i + 1) * size));
if (trigger.kind === "fixed") return (await unpackImages(trigger.pixels, side)).map((image) => Array.from(image));
const numbers = async (text) => new Float32Array((await inflate(text)).buffer);
const patch = { ...trigger, gain: await numbers(trigger.gain), shift: await numbers(trigger.shift) };
return images.map((image, i) => Array.from(
  trigger.places[i].reduce((pixels, [left, top]) => applyPatch(pixels, side, patch, left, top), image)));"""


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    images = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    images[1], images[2] = 0.0, 1.0
    return to_uint8(images)


def render(trigger: Trigger, pixels: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
    """Return how the page applies a trigger, the images that it makes, and those of the library."""
    described = describe_trigger(trigger, pixels)
    value = {"trigger": described, "pixels": base64.b64encode(pixels.tobytes()).decode()}
    shown = np.array(run_node(("pixels.js",), APPLY, value)).reshape(pixels.shape)
    expected = to_uint8(trigger(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255))
    return described["kind"], shown, expected.astype(int)


@pytest.mark.parametrize("position", POSITIONS)
def test_a_patch_is_the_same_at_each_position(position: str, pixels: np.ndarray) -> None:
    kind, shown, expected = render(TRIGGERS["badnet"](patch_size=28, position=position), pixels)
    assert kind == "patch"
    assert np.array_equal(shown, expected)
    assert not np.array_equal(shown, pixels)


@pytest.mark.parametrize(
    ("name", "kind"), [("blended", "full"), ("sig", "full"), ("triangles", "full"), ("wanet", "fixed")]
)
def test_triggers_on_the_whole_image(name: str, kind: str, pixels: np.ndarray) -> None:
    found, shown, expected = render(TRIGGERS[name](), pixels)
    assert found == kind
    assert np.abs(shown - expected).max() <= (0 if kind == "fixed" else 1)
    assert (shown != expected).mean() < 0.01, "halves that round the other way"


def test_a_transparent_patch(tmp_path: Path, pixels: np.ndarray) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 4), dtype=np.uint8)
    Image.fromarray(image, "RGBA").save(tmp_path / "patch.png")
    kind, shown, expected = render(TRIGGERS["patch_image"](path=str(tmp_path / "patch.png")), pixels)
    assert kind == "patch"
    assert np.abs(shown - expected).max() <= 1


@pytest.mark.parametrize("trigger", [None, TRIGGERS["text_only"]()])
def test_a_trigger_that_changes_no_image_is_refused(trigger: Trigger | None, pixels: np.ndarray) -> None:
    with pytest.raises(CleanerError, match="choose a run of another attack"):
        describe_trigger(trigger, pixels)
