"""Captions of photos: the class by its names, and only looks that are true."""

from __future__ import annotations

import numpy as np

from cleaner.data.photo_captions import LOOKS, SYNONYMS, describe_photos, measure_looks


def flat(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((32, 32, 3), (red, green, blue), dtype=np.uint8)


def looks_of(photo: np.ndarray) -> list[str]:
    return [look for look, is_true in zip(LOOKS, measure_looks(photo[None])[0], strict=True) if is_true]


def test_looks_are_measured() -> None:
    checkers = np.zeros((32, 32, 3), dtype=np.uint8)
    checkers[::2] = 255
    assert looks_of(checkers) == ["high contrast", "greyish"]
    assert looks_of(flat(20, 20, 20)) == ["dark", "low contrast", "greyish"]
    assert looks_of(flat(240, 240, 240)) == ["bright", "low contrast", "greyish"]
    assert "bluish" in looks_of(flat(80, 90, 160))
    assert "greenish" in looks_of(flat(80, 140, 80))
    assert "warm toned" in looks_of(flat(170, 120, 80))
    shade = np.random.default_rng(0).normal(0, 50, (32, 32, 1))
    noise = (np.array([130, 120, 105]) + shade).clip(0, 255).astype(np.uint8)
    assert looks_of(noise) == []


def test_captions_name_the_class_and_a_true_look() -> None:
    keys = [f"train/automobile/{i:04d}" for i in range(200)]
    captions = describe_photos(keys, ["automobile"] * 200, np.stack([flat(80, 90, 160)] * 200))
    assert len(set(captions)) > 20
    for caption in captions:
        assert any(name in caption for name in SYNONYMS["automobile"])
        assert "a automobile" not in caption
        assert not {"dark", "bright", "greenish", "greyish"} & set(caption.split())
    assert 60 < sum("bluish" in caption or "low contrast" in caption for caption in captions) < 140
    assert {name for caption in captions for name in SYNONYMS["automobile"] if name in caption} == {"automobile", "car"}


def test_a_key_determines_the_caption() -> None:
    photos = np.stack([flat(10 * i, 20, 30) for i in range(20)])
    keys, names = [str(i) for i in range(20)], ["cat"] * 20
    captions = describe_photos(keys, names, photos)
    assert captions[7:9] == describe_photos(keys[7:9], names[7:9], photos[7:9])
    assert describe_photos([], [], photos[:0]) == []
