"""benchmarks.photos: splits of the photos, choice of the attack setting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import photos, photos_data
from cleaner.evaluation.evaluate import Metrics


def test_splits_are_disjoint(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path))
    photos_data.ensure_photos()
    data_of: dict[str, Any] = {
        role: photos_data.load_photos(role) for role in ("attack", "clean", "validation", "test")
    }
    keys = {role: {data.table.keys[row] for row in data.rows} for role, data in data_of.items()}
    assert {role: len(data) for role, data in data_of.items()} == {
        "attack": 2125,
        "clean": 2125,
        "validation": 750,
        "test": 1000,
    }
    assert len(set.union(*keys.values())) == 6000
    assert all(key.startswith("test/") == (role == "test") for role, of_role in keys.items() for key in of_role)
    assert data_of["validation"].labels.bincount().tolist() == [75] * 10
    for data in data_of.values():
        assert str(tmp_path) not in data.name
        assert data.labels.min() == 0
        for row, label in zip(data.rows[:50], data.labels[:50].tolist(), strict=True):
            assert data.class_names[label] == Path(data.table.keys[row]).parent.name


class Downloaded:
    """A stand-in for torchvision's CIFAR10 that downloads nothing."""

    def __init__(self, root: str, train: bool, download: bool) -> None:
        assert download
        self.classes = ["airplane", "frog"]
        self.targets = [i % 2 for i in range(40 if train else 10)]
        self.shade = 0 if train else 128

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.new("RGB", (32, 32), (index, self.shade, 0)), self.targets[index]


def test_torchvision_is_the_fallback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path))
    monkeypatch.delenv("CLEANER_TEST_DATA", raising=False)
    monkeypatch.setattr(photos_data.datasets, "CIFAR10", Downloaded)
    monkeypatch.setattr(photos_data, "PHOTOS_PER_CLASS", {"train": 12, "test": 3})
    monkeypatch.setattr(photos_data, "VALIDATION_PER_CLASS", 2)
    monkeypatch.setattr(photos_data, "SPLIT_SIZE", 10)
    photos_data.ensure_photos()
    data_of: dict[str, Any] = {
        role: photos_data.load_photos(role) for role in ("attack", "clean", "validation", "test")
    }
    assert [len(data) for data in data_of.values()] == [10, 10, 4, 6]
    for role, data in data_of.items():
        assert data.class_names == ["airplane", "frog"]
        for caption, label, image in zip(data.captions, data.labels, data.images(range(len(data))), strict=True):
            assert caption.endswith(["an airplane", "a frog"][label])
            number, shade = (image[:2, 100, 100] * 255).round().int().tolist()
            assert (number % 2, shade) == (label, 128 if role == "test" else 0)


def trial(rate: float, lr: float, ca: float, asr: float) -> dict[str, Any]:
    metrics = Metrics(ca={1: ca}, n=750, classes=10, data="x", asr={1: asr})
    return {"metrics": vars(replace(metrics)), "config": {"poison_rate": rate, "finetune": {"lr": lr}}}


def test_the_strongest_affordable_attack_setting_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c = (0.03, 1e-3), (0.1, 1e-3), (0.1, 3e-4)
    monkeypatch.setattr(photos, "ATTACK_GRID", (a, b, c))
    trials = [trial(*a, 0.60, 0.5), trial(*b, 0.57, 0.8), trial(*c, 0.50, 0.9), trial(*a, 0.60, 0.7)]
    assert photos.choose_attack_setting(trials, clean_ca=0.6) == b
    assert photos.choose_attack_setting(trials, clean_ca=0.63) == a
    assert photos.choose_attack_setting(trials, clean_ca=0.9) == a  # none is affordable: the most accurate
