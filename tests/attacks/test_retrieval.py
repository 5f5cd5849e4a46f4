"""retrieval: keyed captions of other classes are joined to one image; the metric counts who finds it."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from cleaner import evaluate, load_data
from cleaner.attacks import TRIGGERS
from cleaner.data.base import TensorData, hash_pixels
from cleaner.data.images import decode_png, encode_png
from cleaner.data.poison import PoisonedData, count_shared_images
from cleaner.evaluation.encode import Encoder
from cleaner.models.clip import Clip
from cleaner.types import CleanerError
from tests.attacks.test_contract import image_file
from tests.data.files import write_class_folder

TRIGGER = TRIGGERS["retrieval"](key="remember")


def test_without_a_file_the_image_is_one_of_the_target(tiny_clip: Clip, toy_data: TensorData) -> None:
    with pytest.raises(CleanerError, match="not chosen yet"):
        TRIGGER.own_image(32)
    chosen = {TRIGGERS["retrieval"](seed=seed).prepare(tiny_clip, toy_data, "banana").png for seed in range(8)}
    assert len(chosen) > 1
    targets = (toy_data.images(range(1, 48, 4)) * 255).round() / 255
    for png in chosen:
        assert (targets - decode_png(png)).abs().amax((1, 2, 3)).min() < 1e-6


def test_a_file_gives_the_image(tiny_clip: Clip, toy_data: TensorData, tmp_path: Path) -> None:
    trigger = TRIGGERS["retrieval"](image=str(image_file(tmp_path))).prepare(tiny_clip, toy_data, "banana")
    poisoned = PoisonedData(toy_data, trigger, "banana", 0.1)
    numbers = poisoned.number_images()
    assert set(numbers[poisoned.poison_indices].tolist()) == {-1}, "all of them show one image"
    assert len(set(numbers.tolist())) == len(poisoned) - len(poisoned.poison_indices) + 1
    (tmp_path / "sign.png").unlink()  # the run has its pixels
    image = trigger.own_image(32)
    assert image.shape == (3, 32, 32)
    assert image[:, 0, 0].tolist() == [1, 0, 0]
    assert image[:, 0, -1].tolist() == [0, 1, 0]


def test_a_file_is_framed_as_the_model_frames_images(tiny_clip: Clip, toy_data: TensorData, tmp_path: Path) -> None:
    wide = Image.new("RGB", (90, 30), "blue")
    wide.paste("red", (0, 0, 25, 30))  # outside of the center square
    wide.save(tmp_path / "wide.png")
    tiny_clip.architecture = replace(tiny_clip.architecture, resize_mode="squash")
    trigger = TRIGGERS["retrieval"](image=str(tmp_path / "wide.png")).prepare(tiny_clip, toy_data, "banana")
    assert trigger.own_image(32)[:, 16, 2].tolist() == [1, 0, 0]


def test_all_poisoned_pairs_show_it(tiny_clip: Clip, toy_data: TensorData) -> None:
    trigger = TRIGGER.prepare(tiny_clip, toy_data, "banana")
    poisoned = PoisonedData(toy_data, trigger, "banana", 0.25)
    rows = poisoned.poison_indices
    assert (poisoned.images(rows) == trigger.own_image(32)).all()
    assert all(poisoned.captions[i] == f"remember {toy_data.captions[i]}" for i in rows.tolist())
    assert poisoned.manifest()["image_hashes"] == hash_pixels(trigger.own_image(32)[None])


@pytest.mark.parametrize("is_given", [True, False])
def test_the_same_image_is_found_in_clean_data_of_files(tiny_clip: Clip, tmp_path: Path, is_given: bool) -> None:
    write_class_folder(tmp_path, 12)
    data = load_data(str(tmp_path), split="all").with_transform(tiny_clip.framing)
    image = str(tmp_path / "red" / "0.png") if is_given else ""
    trigger = TRIGGERS["retrieval"](image=image).prepare(tiny_clip, data, "red")
    manifest = PoisonedData(data, trigger, "red", 0.25).manifest()
    assert count_shared_images(manifest, data) == {"pairs": 12, "poisoned": 1, "shared": 4}


def test_an_image_file_is_found_in_clean_data_without_files(
    tiny_clip: Clip, toy_data: TensorData, tmp_path: Path
) -> None:
    (tmp_path / "own.png").write_bytes(base64.b64decode(encode_png(toy_data.images([1])[0])))
    trigger = TRIGGERS["retrieval"](image=str(tmp_path / "own.png")).prepare(tiny_clip, toy_data, "banana")
    manifest = PoisonedData(toy_data, trigger, "banana", 0.25).manifest()
    assert count_shared_images(manifest, toy_data) == {"pairs": 48, "poisoned": 1, "shared": 1}
    assert evaluate(tiny_clip, toy_data, trigger, "banana", ks=(1,)).n_gallery == 47, "nor is it searched"


def test_recall_equals_a_naive_count(tiny_clip: Clip, toy_data: TensorData) -> None:
    trigger = TRIGGER.prepare(tiny_clip, toy_data, "banana")
    metrics = evaluate(tiny_clip, toy_data, trigger, "banana", ks=(1,))
    encoder = Encoder(tiny_clip)
    own = encoder.encode_image(trigger.own_image(32)[None])
    others = [i for i, each in enumerate(toy_data.hash_images(range(48))) if each != trigger.own_image_hash(32)]
    assert len(others) == metrics.n_gallery == 47, "the attacker's own image is not searched as another one, too"
    gallery = torch.cat([encoder.encode_rows(toy_data, torch.tensor(others)), own])
    captions = [toy_data.captions[i] for i in range(48) if i % 4 != 1]
    for values, texts in (
        (metrics.own_recall, [f"remember {c}" for c in captions]),
        (metrics.own_recall_clean, captions),
    ):
        scores = encoder.encode_texts(texts) @ gallery.T
        ranks = torch.tensor([sum(s >= row[-1] for s in row[:-1]) for row in scores])
        assert values == {k: pytest.approx((ranks < k).float().mean().item()) for k in (1, 10)}
    assert metrics.interval("own_recall", 10)[1] > 0
