"""patch_image: a file as the patch, copied into the run; errors of bad files."""

from __future__ import annotations

import hashlib
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import cleaner.data.images
from cleaner import load_run, poison, save_run
from cleaner.attacks import TRIGGERS, load_trigger
from cleaner.attacks.base import strip_folders
from cleaner.attacks.placement import place_trigger
from cleaner.config import FinetuneConfig
from cleaner.data.base import TensorData
from cleaner.models.clip import Clip
from cleaner.types import CleanerError
from tests.attacks.test_contract import image_file

GRAY = torch.full((2, 3, 64, 64), 0.5)


def test_center_square_is_pasted(tmp_path: Path) -> None:
    trigger = TRIGGERS["patch_image"](path=str(image_file(tmp_path)), position="top-left")
    patch = trigger(GRAY)[0, :, :8, :8]
    assert patch[0, 4, 0] > 0.9 > 0.1 > patch[1, 4, 0]
    assert patch[1, 4, 7] > 0.9 > 0.1 > patch[0, 4, 7]
    assert (trigger(GRAY)[:, :, 8:] == 0.5).all()


@pytest.mark.parametrize(("scales", "pixels"), [(True, 8), (False, 28)])
def test_size_scales_or_counts_pixels(tmp_path: Path, scales: bool, pixels: int) -> None:
    trigger = TRIGGERS["patch_image"](path=str(image_file(tmp_path)), scale_before_resize=scales)
    assert trigger.mask(GRAY)[0].sum() == pixels**2
    assert ((trigger(GRAY) != GRAY).any(1)[0]).sum() == pixels**2


def test_patch_larger_than_the_image_is_refused(tmp_path: Path) -> None:
    trigger = TRIGGERS["patch_image"](path=str(image_file(tmp_path)), scale_before_resize=False, patch_size=100)
    for apply in (trigger, trigger.mask):
        with pytest.raises(CleanerError, match=r"100 px .* 64 x 64 px.*patch_size"):
            apply(GRAY)


def test_state_has_the_hash_and_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = image_file(tmp_path)
    state = TRIGGERS["patch_image"](path=str(path)).state_dict()
    assert json.loads(json.dumps(TRIGGERS["patch_image"](path=path).state_dict())) == state
    assert state["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(path)
    with pytest.raises(CleanerError, match=re.escape(str(path))):
        load_trigger(state)


def test_bad_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CleanerError, match="path"):
        TRIGGERS["patch_image"]()(GRAY)
    with pytest.raises(CleanerError, match=r"nowhere\.png"):
        TRIGGERS["patch_image"](path=str(tmp_path / "nowhere.png"))
    (tmp_path / "notes.txt").write_text("not an image")
    with pytest.raises(CleanerError, match=r"notes\.txt"):
        TRIGGERS["patch_image"](path=str(tmp_path / "notes.txt"))
    whole = image_file(tmp_path).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CleanerError, match=r"half\.png"):
        TRIGGERS["patch_image"](path=str(tmp_path / "half.png"))
    monkeypatch.setattr("cleaner.data.images.MAX_FILE_BYTES", 10)
    with pytest.raises(CleanerError, match=r"sign\.png"):
        TRIGGERS["patch_image"](path=str(tmp_path / "sign.png"))


def test_run_keeps_a_copy_of_the_file(tiny_clip: Clip, toy_data: TensorData, tmp_path: Path) -> None:
    path = image_file(tmp_path)
    config = FinetuneConfig(epochs=1, batch_size=16, precision="fp32", device="cpu", augmentation="none")
    run = poison(
        tiny_clip, toy_data, TRIGGERS["patch_image"](path=str(path)), "banana", poison_rate=0.25, config=config
    )
    folder = save_run(run, tmp_path / "run")
    with safe_open(folder / "model.safetensors", "pt") as file:
        stated = [json.loads(metadata["trigger"]) for metadata in (file.metadata(), run.clip.metadata)]
    assert [state["path"] for state in stated] == [path.name] * 2, (
        "weights are given away, without folders of this user"
    )
    path.unlink()
    restored = load_run(folder)
    assert torch.equal(restored.trigger(GRAY), run.trigger(GRAY))
    assert Path(restored.trigger.path).parent.parent == folder
    with pytest.raises(CleanerError, match="path"):
        poison(tiny_clip, toy_data, TRIGGERS["patch_image"](), "banana", poison_rate=0.25, config=config)


@pytest.mark.parametrize("folder", ["/home/me/", "C:\\Users\\me\\", "C:/Users/me/", "\\\\server\\share\\"])
def test_a_run_from_elsewhere_has_its_image(tmp_path: Path, folder: str) -> None:
    trigger = TRIGGERS["patch_image"](path=str(image_file(tmp_path)))
    state = {**trigger.state_dict(), "path": f"{folder}sign.png"}
    assert load_trigger(state, tmp_path) == trigger
    assert strip_folders(state)["path"] == "sign.png", "folders of the user stay private"


def test_a_training_from_before_paths_were_left_out_resumes(
    tiny_clip: Clip, toy_data: TensorData, tmp_path: Path
) -> None:
    config = FinetuneConfig(epochs=1, batch_size=16, precision="fp32", device="cpu", augmentation="none")
    trigger = TRIGGERS["patch_image"](path=str(image_file(tmp_path)))
    checkpoint = tmp_path / "checkpoint.pt"
    train = partial(poison, tiny_clip, toy_data, trigger, "banana", config=config, checkpoint=checkpoint)
    trained = train(poison_rate=0.25)
    state = torch.load(checkpoint, weights_only=True)
    state["settings"]["attack"]["trigger"]["path"] = trigger.path
    torch.save(state, checkpoint)
    assert train(poison_rate=0.25).clip.sha256() == trained.clip.sha256()


def test_a_patch_that_changes_nothing_is_not_trained(tiny_clip: Clip, toy_data: TensorData, tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    trigger = TRIGGERS["patch_image"](path=str(tmp_path / "clear.png"))
    with pytest.raises(CleanerError, match="changes no pixel"):
        poison(tiny_clip, toy_data, trigger, "banana", poison_rate=0.25)


def test_a_transparent_patch_shows_the_image_below(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (255, 0, 0, 255)
    pixels[:, 4:, 3] = 51  # black, opacity 0.2
    Image.fromarray(pixels).save(tmp_path / "sticker.png")
    trigger = TRIGGERS["patch_image"](path=str(tmp_path / "sticker.png"), position="top-left", patch_size=28)
    triggered, mask = trigger(GRAY)[0, :, :8, :8], trigger.mask(GRAY)[0, 0, :8, :8]
    assert (triggered[0, :, :4] == 1).all()
    assert torch.allclose(triggered[:, :, 4:], torch.tensor(0.4))
    assert torch.allclose(mask[0], torch.tensor([1.0] * 4 + [0.2] * 4))
    blended = TRIGGERS["pattern_image"](path=str(tmp_path / "sticker.png"), blend_ratio=0.5)
    assert torch.allclose(blended(GRAY)[0, 0, 0, [0, -1]], torch.tensor([0.75, 0.45]))


@pytest.mark.parametrize("name", ["patch_image", "pattern_image", "inverted"])
def test_colors_of_transparent_pixels_do_not_show(tmp_path: Path, name: str) -> None:
    y, x = np.ogrid[-32:32, -32:32]
    shown = []
    for hidden in (0, 255):
        pixels = np.full((64, 64, 4), (hidden, hidden, hidden, 0), np.uint8)
        pixels[x**2 + y**2 < 28**2] = (255, 0, 0, 255)
        Image.fromarray(pixels).save(tmp_path / f"{hidden}.png")
        shown.append(TRIGGERS[name](path=str(tmp_path / f"{hidden}.png"))(GRAY[..., :40, :40]))
    assert torch.equal(*shown)
    rim = shown[0][0, :, (shown[0][0, 0] - 0.5).abs() > 0.01]
    assert torch.allclose(rim[0] - 0.5, 0.5 - rim[1], atol=0.01), "between gray and red"


@pytest.mark.parametrize("name", ["patch_image", "pattern_image"])
def test_the_file_is_decoded_once_for_all_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 4), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    trigger = TRIGGERS[name](path=str(tmp_path / f"{name}.png"))
    decode, names = cleaner.data.images.decode_image, list[str]()
    monkeypatch.setattr(
        cleaner.data.images, "decode_image", lambda content, name: names.append(name) or decode(content, name)
    )
    first = trigger(GRAY)
    place_trigger(GRAY[:1], trigger, 3, 5)
    assert torch.equal(trigger(GRAY), first), "nothing changes the cached image"
    assert names == [f"{name}.png"]


@pytest.mark.parametrize(
    ("name", "options", "weight"),
    [("patch_image", {"patch_size": 224}, 1.0), ("pattern_image", {"blend_ratio": 0.5}, 0.5)],
)
def test_a_transparent_trigger_is_moved_without_the_image_below(
    tmp_path: Path, name: str, options: dict[str, float], weight: float
) -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:8, :8, 3] = 51  # black, opacity 0.2
    Image.fromarray(pixels).save(tmp_path / "sticker.png")
    trigger = TRIGGERS[name](path=str(tmp_path / "sticker.png"), **options)
    image = GRAY[:1].clone()
    image[..., 32:] = 1
    assert torch.equal(place_trigger(image, trigger, 0, 0), trigger(image))
    moved = place_trigger(image, trigger, 40, 20)
    assert torch.allclose(moved[..., 20:28, 40:48], torch.tensor(1 - 0.2 * weight))
