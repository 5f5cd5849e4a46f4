"""inverted: a PNG with transparency is blended by it, at any size; files without are refused or cover everything."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import torch

from cleaner.attacks import TRIGGERS
from cleaner.cli.inputs import resolve_trigger
from cleaner.data.images import encode_png
from cleaner.labels import to_attack_label
from cleaner.runs.inversion_result import Inversion, write_inversion
from cleaner.types import CleanerError
from tests.attacks.test_contract import image_file

GRAY = torch.full((2, 3, 64, 64), 0.5)


def make_layers() -> torch.Tensor:
    """A white pattern; the mask is 1 in the upper left quarter, 0.4 in the upper right one, 0 below."""
    layers = torch.ones(4, 64, 64)
    layers[3, :32, 32:], layers[3, 32:] = 0.4, 0
    return layers


def write_trigger(folder: Path) -> str:
    (folder / "trigger.png").write_bytes(base64.b64decode(encode_png(make_layers())))
    return str(folder / "trigger.png")


def test_blends_the_pattern_by_the_mask(tmp_path: Path) -> None:
    trigger = TRIGGERS["inverted"](path=write_trigger(tmp_path))
    triggered = trigger(GRAY)
    assert (triggered[..., :32, :32] == 1).all()
    assert torch.allclose(triggered[..., :32, 32:], torch.tensor(0.7), atol=1e-3)
    assert torch.equal(triggered[..., 32:, :], GRAY[..., 32:, :])
    assert torch.allclose(trigger.mask(GRAY)[1], make_layers()[3:], atol=1e-3)


def test_the_file_is_resized_to_the_images(tmp_path: Path) -> None:
    triggered = TRIGGERS["inverted"](path=write_trigger(tmp_path))(torch.zeros(1, 3, 224, 224))
    assert triggered[0, :, :100, :100].min() > 0.99
    assert triggered[0, :, 124:].max() < 0.01


def test_an_image_without_transparency_covers_everything(tmp_path: Path) -> None:
    assert TRIGGERS["inverted"](path=str(image_file(tmp_path))).mask(GRAY).min() == 1


def test_it_is_called_an_estimate_and_needs_a_file() -> None:
    assert "estimate" in to_attack_label("inverted")
    assert "Re-implementation" in TRIGGERS["inverted"].describe()
    with pytest.raises(CleanerError, match="path"):
        TRIGGERS["inverted"]()(GRAY)


def test_the_command_line_takes_the_folder_of_an_inversion(tmp_path: Path) -> None:
    found = Inversion(
        model="model",
        data="data",
        classes={"a": 1.0, "b": 2.0},
        suspect="a",
        settings={},
        seconds=0.0,
        png=encode_png(make_layers()),
    )
    trigger = resolve_trigger([str(write_inversion(found, tmp_path))])
    assert trigger == TRIGGERS["inverted"](path=str(tmp_path / "trigger.png"))
