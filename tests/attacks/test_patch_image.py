"""patch_image: a file as patch, kept with the run; bad files end in one sentence."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cleaner import load_run, poison, save_run
from cleaner.attacks import TRIGGERS, load_trigger
from cleaner.config import FinetuneConfig
from cleaner.data.base import TensorData
from cleaner.models.clip import Clip
from cleaner.types import CleanerError
from tests.attacks.test_contract import picture_file

GREY = torch.full((2, 3, 64, 64), 0.5)


def test_the_middle_square_is_pasted(tmp_path: Path) -> None:
    trigger = TRIGGERS["patch_image"](path=str(picture_file(tmp_path)), position="top-left")
    patch = trigger(GREY)[0, :, :8, :8]
    assert patch[0, 4, 0] > 0.9 > 0.1 > patch[1, 4, 0]
    assert patch[1, 4, 7] > 0.9 > 0.1 > patch[0, 4, 7]
    assert (trigger(GREY)[:, :, 8:] == 0.5).all()


@pytest.mark.parametrize(("before", "pixels"), [(True, 8), (False, 28)])
def test_size_scales_or_counts_pixels(tmp_path: Path, before: bool, pixels: int) -> None:
    trigger = TRIGGERS["patch_image"](path=str(picture_file(tmp_path)), scale_before_resize=before)
    assert trigger.mask(GREY)[0].sum() == pixels**2
    assert ((trigger(GREY) != GREY).any(1)[0]).sum() == pixels**2


def test_a_patch_larger_than_the_picture_is_refused(tmp_path: Path) -> None:
    trigger = TRIGGERS["patch_image"](path=str(picture_file(tmp_path)), scale_before_resize=False, patch_size=100)
    for put in (trigger, trigger.mask):
        with pytest.raises(CleanerError, match="patch of 100 px is larger than the picture of 64 x 64 px: choose"):
            put(GREY)


def test_state_names_the_hash_and_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = picture_file(tmp_path)
    state = TRIGGERS["patch_image"](path=str(path)).state_dict()
    assert state["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(path)
    with pytest.raises(CleanerError, match="not the one that this trigger was made of"):
        load_trigger(state)


def test_bad_files_end_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CleanerError, match="no picture was chosen"):
        TRIGGERS["patch_image"]()(GREY)
    with pytest.raises(CleanerError, match=r"cannot be read .* check its path"):
        TRIGGERS["patch_image"](path=str(tmp_path / "nowhere.png"))
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(CleanerError, match=r"notes\.txt cannot be read as"):
        TRIGGERS["patch_image"](path=str(tmp_path / "notes.txt"))
    whole = picture_file(tmp_path).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CleanerError, match=r"half\.png cannot be read as"):
        TRIGGERS["patch_image"](path=str(tmp_path / "half.png"))
    monkeypatch.setattr("cleaner.data.images.MAX_FILE_BYTES", 10)
    with pytest.raises(CleanerError, match="make it smaller than"):
        TRIGGERS["patch_image"](path=str(tmp_path / "sign.png"))


def test_the_run_keeps_the_picture(tiny_clip: Clip, toy_data: TensorData, tmp_path: Path) -> None:
    path = picture_file(tmp_path)
    config = FinetuneConfig(epochs=1, batch_size=16, precision="fp32", device="cpu", augmentation="none")
    run = poison(
        tiny_clip, toy_data, TRIGGERS["patch_image"](path=str(path)), "banana", poison_rate=0.25, config=config
    )
    folder = save_run(run, tmp_path / "run")
    path.unlink()
    again = load_run(folder)
    assert torch.equal(again.trigger(GREY), run.trigger(GREY))
    assert Path(again.trigger.path).parent.parent == folder
    with pytest.raises(CleanerError, match="no picture was chosen"):
        poison(tiny_clip, toy_data, TRIGGERS["patch_image"](), "banana", poison_rate=0.25, config=config)
