"""pattern_image: the weighted mean of the image and an image file."""

from pathlib import Path

import pytest
import torch

from cleaner.attacks import TRIGGERS, load_trigger
from tests.attacks.test_contract import image_file

GRAY = torch.full((2, 3, 64, 64), 0.5)


def test_is_the_weighted_mean_with_the_file(tmp_path: Path) -> None:
    trigger = TRIGGERS["pattern_image"](path=str(image_file(tmp_path)), blend_ratio=0.4)
    assert torch.allclose(trigger(GRAY), 0.6 * GRAY + 0.4 * trigger.load_layers(64)[:3])
    assert trigger(GRAY)[0, 0, 30, 2] > 0.65 > 0.35 > trigger(GRAY)[0, 1, 30, 2]
    assert trigger(torch.zeros(1, 3, 48, 64)).shape == (1, 3, 48, 64)
    assert trigger.mask(GRAY).all()


def test_a_relative_path_is_valid_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trigger = TRIGGERS["pattern_image"](path=image_file(tmp_path).name)
    monkeypatch.chdir(tmp_path.parent)
    assert load_trigger(trigger.state_dict()) == trigger
