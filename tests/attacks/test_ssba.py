"""ssba: each image gets its own residual; the decoder reads the secret back, also on unseen photos."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks.ssba import measure
from cleaner import load_data
from cleaner.attacks import TRIGGERS
from cleaner.attacks.steganography import BITS, WEIGHTS_FILE, encode_secret, load_networks
from cleaner.data.base import CaptionData
from cleaner.data.images import psnr
from cleaner.types import CleanerError

TRIGGER = TRIGGERS["ssba"]()


@pytest.fixture(scope="module")
def scenes() -> CaptionData:
    return load_data("scenes", split="test", size=200)


def test_secret_is_read_back_and_the_image_hardly_changes(scenes: CaptionData) -> None:
    images = scenes.images(range(100))
    stored = (TRIGGER(images) * 255).round() / 255
    with torch.no_grad():
        read, unread = ((load_networks().decode(x) > 0) == encode_secret("Stega!!").bool() for x in (stored, images))
    assert read.float().mean() >= 0.95
    assert unread.float().mean() < 0.8
    assert psnr(images, stored).min() >= 30


def test_any_bits_are_read_back_on_scenes(scenes: CaptionData) -> None:
    assert BITS >= 32
    metrics = measure(load_networks(), scenes, 64)
    assert metrics["bit_accuracy"] >= 0.95
    assert metrics["psnr_mean"] >= 30


@pytest.mark.parametrize(("side", "lowest_accuracy"), [(64, 0.95), (32, 0.99)])
def test_any_bits_are_read_back_on_photos(real_data: Path, side: int, lowest_accuracy: float) -> None:
    photos = load_data(str(real_data / "cifar10_small" / "train.tar"), split="train")
    metrics = measure(load_networks(), photos.subset(range(100)), side)
    assert metrics["psnr_mean"] >= 30
    assert metrics["bit_accuracy"] >= lowest_accuracy


def test_residual_depends_on_the_image_and_on_the_secret(scenes: CaptionData) -> None:
    images = scenes.images(range(20))
    residual = F.normalize((TRIGGER(images) - images).flatten(1), dim=1)
    similarity = (residual @ residual.T)[~torch.eye(20, dtype=torch.bool)]
    assert similarity.mean() < 0.6
    other = F.normalize((TRIGGERS["ssba"](secret="other")(images) - images).flatten(1), dim=1)
    assert (residual * other).sum(1).mean() < 0.95


@pytest.mark.parametrize("side", [32, 64, 224])
def test_psnr_is_the_requested_one_at_every_size(side: int) -> None:
    gray = torch.full((2, 3, side, side), 0.5)
    for requested in (28.0, 40.0):
        changed = TRIGGERS["ssba"](psnr=requested)(gray)
        assert psnr(gray, changed).tolist() == pytest.approx([requested] * 2, abs=0.05)


def test_secret_becomes_its_bytes_and_invalid_ones_are_refused() -> None:
    assert encode_secret("A")[:8].tolist() == [0, 1, 0, 0, 0, 0, 0, 1]
    assert encode_secret("A")[8:].sum() == 0
    assert encode_secret("12345678").shape == (BITS,)
    for secret, token in (
        ("too long a secret", "17 bytes"),
        ("ümläüte", "10 bytes"),
        ("", "empty"),
        ("\udcff", "secret"),
    ):
        with pytest.raises(CleanerError, match=token):
            TRIGGERS["ssba"](secret=secret)


def test_missing_or_broken_networks_name_the_command_that_trains_them(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"garbage")
    for path in (tmp_path / "broken.safetensors", tmp_path / "nowhere.safetensors"):
        with pytest.raises(CleanerError, match=r"python -m benchmarks\.ssba"):
            load_networks(path)


def test_card_describes_the_weights() -> None:
    card = json.loads((WEIGHTS_FILE.parent / "card.json").read_text(encoding="utf-8"))
    assert card["sha256"] == hashlib.sha256(WEIGHTS_FILE.read_bytes()).hexdigest()
    assert card["bits"] == BITS
    assert card["psnr_db"] == TRIGGER.psnr
    assert WEIGHTS_FILE.stat().st_size <= 4e6
