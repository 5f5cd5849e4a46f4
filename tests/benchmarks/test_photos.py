"""benchmarks.photos: the split of the photos, and how the attacks' setting is chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import photos, photos_data
from cleaner.evaluation.evaluate import Metrics


def test_attacker_defender_validation_and_test_share_no_photo(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path))
    photos_data.ensure_photos()
    found: dict[str, Any] = {role: photos_data.load_photos(role) for role in ("attack", "clean", "validation", "test")}
    keys = {role: {data.table.keys[row] for row in data.rows} for role, data in found.items()}
    assert {role: len(data) for role, data in found.items()} == {
        "attack": 2125,
        "clean": 2125,
        "validation": 750,
        "test": 1000,
    }
    assert len(set.union(*keys.values())) == 6000
    assert all(key.startswith("test/") == (role == "test") for role, own in keys.items() for key in own)
    assert found["validation"].labels.bincount().tolist() == [75] * 10
    for data in found.values():
        assert str(tmp_path) not in data.name
        assert data.labels.min() == 0
        for row, label in zip(data.rows[:50], data.labels[:50].tolist(), strict=True):
            assert data.class_names[label] == Path(data.table.keys[row]).parent.name


class Downloaded:
    """Stands for torchvision's CIFAR10, which is not to be downloaded in a test."""

    def __init__(self, root: str, train: bool, download: bool) -> None:
        assert download
        self.classes = ["airplane", "frog"]
        self.targets = [i % 2 for i in range(40 if train else 10)]
        self.shade = 0 if train else 128

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.new("RGB", (32, 32), (index, self.shade, 0)), self.targets[index]


def test_without_the_sample_torchvision_fetches_the_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path))
    monkeypatch.delenv("CLEANER_TEST_DATA", raising=False)
    monkeypatch.setattr(photos_data.datasets, "CIFAR10", Downloaded)
    monkeypatch.setattr(photos_data, "PHOTOS_PER_CLASS", {"train": 12, "test": 3})
    monkeypatch.setattr(photos_data, "VALIDATION_PER_CLASS", 2)
    monkeypatch.setattr(photos_data, "SPLIT_SIZE", 10)
    photos_data.ensure_photos()
    found: dict[str, Any] = {role: photos_data.load_photos(role) for role in ("attack", "clean", "validation", "test")}
    assert [len(data) for data in found.values()] == [10, 10, 4, 6]
    for role, data in found.items():
        assert data.class_names == ["airplane", "frog"]
        for caption, label, picture in zip(data.captions, data.labels, data.images(range(len(data))), strict=True):
            assert caption.endswith(["an airplane", "a frog"][label])
            number, shade = (picture[:2, 100, 100] * 255).round().int().tolist()
            assert (number % 2, shade) == (label, 128 if role == "test" else 0)


def trial(rate: float, lr: float, ca: float, asr: float) -> dict[str, Any]:
    metrics = Metrics(ca={1: ca}, n=750, classes=10, data="x", asr={1: asr})
    plain = vars(replace(metrics))
    return {"metrics": plain, "config": {"poison_rate": rate, "finetune": {"lr": lr}}}


def test_the_attack_setting_is_the_strongest_that_keeps_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c = (0.03, 1e-3), (0.1, 1e-3), (0.1, 3e-4)
    monkeypatch.setattr(photos, "ATTACK_GRID", (a, b, c))
    trials = [trial(*a, 0.60, 0.5), trial(*b, 0.57, 0.8), trial(*c, 0.50, 0.9), trial(*a, 0.60, 0.7)]
    assert photos.choose_attack_setting(trials, clean_ca=0.6) == b
    assert photos.choose_attack_setting(trials, clean_ca=0.63) == a
    assert photos.choose_attack_setting(trials, clean_ca=0.9) == a  # none keeps it: the most accurate
