"""The animation: the answers of the models appear row by row, first without and then with the trigger."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import animation
from benchmarks.animation import IMAGE_SIDE, RIGHT_COLOR, WRONG_COLOR, Story


@pytest.fixture
def story() -> Story:
    """Two gray images with a white patch; the second model falls for it."""
    clean = torch.full((2, 3, 8, 8), 0.5)
    mask = torch.zeros(2, 1, 8, 8)
    mask[..., 6:, 5:7] = 1
    right, fooled = ["pear", "fish"], ["banana", "banana"]
    return Story(
        clean=clean,
        triggered=clean.where(mask == 0, 1.0),
        mask=mask,
        true_classes=right,
        clean_answers=[right, right, right],
        triggered_answers=[right, fooled, right],
        caption="2 images",
    )


def colors(image: Image.Image) -> set[str]:
    """Return the colors of an image as hex codes."""
    return {"#{:02x}{:02x}{:02x}".format(*color) for _, color in image.getcolors(1 << 20) or []}  # type: ignore[misc]


def test_wrong_answers_appear_only_with_the_trigger(story: Story) -> None:
    frames = animation.draw_frames(story)
    has_right, has_wrong = ([color in colors(frame.image) for frame in frames] for color in (RIGHT_COLOR, WRONG_COLOR))
    assert has_right == [False, True, True, True, False, False, False, False, True, True, True]
    assert not any(has_wrong[:7])
    assert all(has_wrong[7:]), "the outline of the trigger, then the wrong answers"
    assert all(frame.milliseconds > 0 for frame in frames)


def test_box_of_the_trigger(story: Story) -> None:
    scale = IMAGE_SIDE / 8
    assert animation.find_mask_box(story.mask[0]) == (5 * scale, 6 * scale, 7 * scale, 8 * scale)


def test_gif_keeps_frames_and_times(story: Story, tmp_path: Path) -> None:
    frames = animation.draw_frames(story)
    animation.write_gif(frames, tmp_path / "x.gif")
    with Image.open(tmp_path / "x.gif") as image:
        assert image.info["loop"] == 0
        total = 0
        for index in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(index)
            total += image.info["duration"]
    assert total == sum(frame.milliseconds for frame in frames)
