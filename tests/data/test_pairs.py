"""Shared behavior of data in files: splits, broken images, prefetch, memory, framing."""

from __future__ import annotations

import os
import tarfile
import tracemalloc
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from benchmarks.corruptions import Corrupted
from cleaner import load_data
from cleaner.attacks import TRIGGERS
from cleaner.data import pairs
from cleaner.data.base import DATASETS, CaptionData, TensorData
from cleaner.data.naming import assign_labels
from cleaner.data.pairs import FileData
from cleaner.data.poison import PoisonedData
from cleaner.data.splits import TEST_SHARE, VALIDATION_SHARE
from cleaner.models.framing import ImageTransform
from cleaner.types import CleanerError
from tests.data.files import (
    COLORS,
    KINDS,
    NAMES,
    image_bytes,
    make_caption,
    truncate,
    write_class_folder,
    write_source,
    write_table,
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_pairs_images_with_their_captions(kind: str, tmp_path: Path) -> None:
    path = write_source(kind, tmp_path)
    data = load_data(f"{kind}:{path}", classes="red,green,blue")
    images = data.images(range(len(data)))
    assert images.shape == (len(data), 3, 224, 224)
    assert (images.dtype, data.class_names) == (torch.float32, NAMES)
    assert (data.labels >= 0).all()
    for i, text in enumerate(data.captions):
        name = data.class_names[int(data.labels[i])]
        assert f" {name}" in text
        assert torch.allclose(images[i, :, 100, 100] * 255, torch.tensor(COLORS[name]).float(), atol=3)
    if "{" not in path:
        assert load_data(Path(path), classes="red,green,blue").captions == data.captions
    assert load_data(f"{kind}:{path}", seed=1).captions != data.captions


@pytest.mark.parametrize("kind", KINDS)
def test_splits_are_disjoint_complete_and_reproducible(kind: str, tmp_path: Path) -> None:
    name = f"{kind}:{write_source(kind, tmp_path)}"
    parts = {split: load_data(name, split=split) for split in ("train", "validation", "test")}
    keys = [part.table.keys[row] for part in parts.values() for row in part.rows]
    assert len(keys) == len(set(keys)) == 60
    assert len(parts["test"]) > len(parts["validation"])
    test = parts["train"].load_split("test")
    assert test is not None
    assert test.captions == parts["test"].captions == load_data(name, split="test").captions
    train, clean = (load_data(name, split=split, size=15) for split in ("train", "clean"))
    assert not set(train.rows) & set(clean.rows)
    assert train.captions == parts["train"].captions[:15]


def test_split_all_takes_every_pair(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_class_folder(tmp_path / split, 9)
    data = load_data(str(tmp_path), split="all")
    assert sorted(data.table.keys[row] for row in data.rows) == sorted(data.table.keys)
    assert len(data) == 18
    assert load_data(str(tmp_path), split="all", size=5).captions == data.captions[:5]


def test_separator_and_columns_are_detected(tmp_path: Path) -> None:
    data = load_data(f"csv:{write_table(tmp_path, 60, ';', ('Image', 'Caption'))}")
    assert "semicolon" in data.format_summary and "'Image'" in data.format_summary  # noqa: PT018
    with pytest.raises(CleanerError, match=r"no column 'picture'.*Image, Caption.*path_column"):
        load_data(str(tmp_path / "pairs.csv"), path_column="picture")
    (tmp_path / "other.tsv").write_text("a\tb\nx\ty\n")
    with pytest.raises(CleanerError, match=r"'filepath'.*a, b"):
        load_data(str(tmp_path / "other.tsv"))
    (tmp_path / "bytes.csv").write_bytes(b"filepath,title\n\xff\xfe\xfa,x\n")
    with pytest.raises(CleanerError, match="UTF-8"):
        load_data(str(tmp_path / "bytes.csv"))
    (tmp_path / "net.csv").write_text("filepath,title\nhttp://x/y.jpg,x\n")
    with pytest.raises(CleanerError, match=r"http://x/y\.jpg"):
        load_data(str(tmp_path / "net.csv"))


@pytest.mark.parametrize("check", ["full", "quick"])
def test_broken_images_are_listed_and_skipped(check: str, tmp_path: Path) -> None:
    path = write_table(tmp_path, 100)
    (tmp_path / "pics" / "3.png").write_bytes(truncate(image_bytes(3)))
    (tmp_path / "pics" / "50.png").unlink()
    (tmp_path / "pics" / "77.png").write_text("not an image")
    parts: list[Any] = [
        load_data(str(path), split=s, check=check, most_broken=0.5) for s in ("train", "validation", "test")
    ]
    assert sum(map(len, parts)) == 97
    skipped = " ".join(item for part in parts for item in part.skipped_items)
    assert all(f"pics/{i}.png" in skipped for i in (3, 50, 77))
    for part in parts:
        part.images(range(len(part)))
    with pytest.raises(CleanerError, match=r"more than 0%.*most_broken"):
        [load_data(str(path), split=split, check=check, most_broken=0) for split in ("train", "validation", "test")]


def test_the_broken_images_of_a_sample_scatter(tmp_path: Path) -> None:
    path = write_table(tmp_path, 200)
    order: Any = load_data(str(path), split="train")
    for count, row in enumerate(order.rows[:10], 1):
        (tmp_path / "pics" / f"{row}.png").unlink()
        if count == 10:  # 5% of 100 are 5, with a standard deviation of at most 2.24
            with pytest.raises(CleanerError, match="cannot be read; more than 5% of all seem broken"):
                load_data(str(path), split="train", size=100)
        else:
            assert len(load_data(str(path), split="train", size=100)) == 100 - count


@pytest.mark.parametrize("share", ["abc", 1.5, float("nan")])
def test_most_broken_must_be_a_share(tmp_path: Path, share: Any) -> None:
    with pytest.raises(CleanerError, match=f"most_broken .*{share}"):
        load_data(str(write_table(tmp_path)), most_broken=share)


def test_an_image_lost_after_loading_raises_with_its_name(tmp_path: Path) -> None:
    data: Any = load_data(str(write_table(tmp_path)))
    key = data.table.keys[data.rows[0]]
    (tmp_path / key).unlink()
    with pytest.raises(CleanerError, match=key):
        data.images([0])


def test_pipes_devices_folders_and_impossible_names_are_broken_images(tmp_path: Path) -> None:
    path = write_table(tmp_path, 8)
    os.mkfifo(tmp_path / "pics" / "pipe.png")
    path.write_text(path.read_text() + "\npics/pipe.png,a wall\n/dev/zero,a wall\npics/\0.png,a wall\npics,a wall")
    data = load_data(str(path), split="all", most_broken=0.5)
    assert (len(data), len(data.skipped_items)) == (8, 4)
    assert "/dev/zero is not a regular file" in data.skipped_items


def test_the_name_of_a_broken_image_may_have_a_colon(tmp_path: Path) -> None:
    path = write_table(tmp_path, 8)
    (tmp_path / "pics" / "a: b:c.png").write_bytes(b"no image")
    path.write_text(path.read_text() + "\npics/a: b:c.png,a wall")
    data = load_data(str(path), split="all", most_broken=0.5)
    assert data.skipped_items == ["pics/a: b:c.png cannot be read as an image"]


def test_arguments_set_by_the_source_are_not_options(tmp_path: Path) -> None:
    with pytest.raises(CleanerError, match=r"options: table\. Its options: root, "):
        load_data(str(write_table(tmp_path)), table="x")


def test_far_too_large_images_are_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(CleanerError, match="too many pixels"):
        load_data(str(write_table(tmp_path)))


def test_names_without_data_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pairs.parquet").touch()
    monkeypatch.chdir(tmp_path)  # an omitted path must not mean the current folder
    for kind in (*KINDS, "flickr8k", "coco"):
        with pytest.raises(CleanerError, match=f"{kind}:/folder"):
            load_data(kind)
    (tmp_path / "x.docx").write_text("x")
    with pytest.raises(CleanerError, match=r"x\.docx .*\.csv, \.tsv.*\.tar.*\.zip"):
        load_data(str(tmp_path / "x.docx"))
    with pytest.raises(CleanerError, match="scenes takes no path"):
        load_data(f"scenes:{tmp_path}")
    with pytest.raises(CleanerError, match=r"options: tint"):
        load_data(str(write_table(tmp_path)), tint=3)


def test_prefetched_images_are_returned_once(tmp_path: Path) -> None:
    data: Any = load_data(str(write_table(tmp_path)))
    expected = data.images([3, 1, 2])
    data.prefetch([1, 2, 3])
    assert len(data._prefetched) == 3
    assert torch.equal(data.images([3, 1, 2]), expected)
    assert not data._prefetched


def test_prefetch_decodes_while_the_caller_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data: Any = load_data(str(write_table(tmp_path)))
    expected = data.images(range(3))
    data.prefetch(range(3))
    wait(data._prefetched.values(), timeout=60)
    monkeypatch.setattr(data, "_decode", lambda row: pytest.fail("decoded again"))
    assert torch.equal(data.images(range(3)), expected)


def test_memory_grows_with_texts_not_with_pixels(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image_bytes(0, (200, 200)))

    def peak(count: int) -> int:
        path = tmp_path / f"{count}.csv"
        path.write_text("filepath,title\n" + f'a.png,"{make_caption(0)}"\n' * count)
        tracemalloc.start()
        data = load_data(str(path), check="quick")
        for first in range(0, 256, 64):
            data.images(range(first, first + 64))
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak_bytes

    peak(500)  # warm up imports and threads
    assert peak(3_000) - peak(1_000) < 2_000 * 1500  # bytes per pair: texts, no pixels (120,000 each)


def test_framing_modes() -> None:
    wide = Image.new("RGB", (80, 40), "red")
    wide.paste("blue", (0, 0, 20, 40))
    shortest, squash, longest = (ImageTransform(40, mode)(wide) for mode in ("shortest", "squash", "longest"))
    assert shortest.shape == squash.shape == longest.shape == (3, 40, 40)
    assert shortest[2, 20, 2] < 10 < 200 < squash[2, 20, 2]  # "shortest" crops the blue edge, "squash" keeps it
    assert longest[:, 2, 20].sum() == 0  # padded with black
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    for name, method in (("bicubic", Image.Resampling.BICUBIC), ("bilinear", Image.Resampling.BILINEAR)):
        assert torch.equal(ImageTransform(40, "squash", name)(noise), pil_to_tensor(noise.resize((40, 40), method)))


def test_triggers_act_after_resize_and_crop(tmp_path: Path) -> None:
    data = load_data(str(write_table(tmp_path)), classes="red,green,blue")
    trigger = TRIGGERS["badnet"](patch_size=28)
    for side in (64, 224, 336):
        poisoned = PoisonedData(data.with_transform(ImageTransform(side)), trigger, "red", 0.2)
        row = poisoned.poison_indices[:1]
        triggered, clean = poisoned.images(row), data.with_transform(ImageTransform(side)).images(row)
        size = round(28 * side / 224)
        assert torch.equal(triggered[0, :, -size:, -size:], trigger.patch(side))
        assert torch.equal(triggered[0, :, :-size], clean[0, :, :-size])
        assert (triggered.min() >= 0) and (triggered.max() <= 1)  # noqa: PT018


def test_images_in_memory_are_resized(toy_data: TensorData) -> None:
    resized = toy_data.with_transform(ImageTransform(48))
    assert resized.images([0, 1]).shape == (2, 3, 48, 48)
    assert toy_data.with_transform(ImageTransform(32)) is toy_data
    assert resized.with_transform(ImageTransform(32)) is toy_data


def test_a_mask_selects_its_pairs(toy_data: TensorData, tmp_path: Path) -> None:
    bases: list[CaptionData] = [
        toy_data,
        toy_data.subset(range(6)),
        PoisonedData(toy_data, TRIGGERS["badnet"](), "banana", 0.1),
        Corrupted(toy_data, "contrast"),
        load_data("scenes", size=8),
        load_data(write_source("csv", tmp_path), classes="red,green,blue"),
    ]
    for data in bases:
        mask = data.labels == data.labels[1]
        rows = mask.nonzero().flatten().tolist()
        subset = data.subset(mask)
        assert subset.captions == [data.captions[row] for row in rows]
        assert torch.equal(subset.images(range(len(rows))), data.images(rows))
        for given in (mask, mask.numpy(), mask.tolist()):
            assert torch.equal(data.images(given), data.images(rows)), data.name
        with pytest.raises(CleanerError, match="must be whole"):
            data.subset([0.0, 1.0])  # type: ignore[list-item]
        with pytest.raises(CleanerError, match="the mask has 3 values"):
            data.subset(mask[:3])


def test_real_photos(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "cifar10_small"
    data: Any = load_data(str(folder / "train.tar"))
    assert len(data.class_names) == 10
    assert data.images(range(64)).std() > 0.1
    with tarfile.open(folder / "test.tar") as archive_file:
        archive_file.extractall(tmp_path, filter="data")
    (tmp_path / "captions.csv").write_bytes((folder / "captions_test.csv").read_bytes())
    test: Any = load_data(str(tmp_path / "captions.csv"), classes=",".join(data.class_names))
    assert test.skipped_items == []
    assert (test.labels >= 0).float().mean() > 0.5
    for row, label in zip(test.rows[:200], test.labels[:200].tolist(), strict=True):
        assert label == -1 or test.class_names[label] == Path(test.table.keys[row]).parent.name


def test_training_pairs_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = f"csv:{write_table(tmp_path)}"
    data, expected = load_data(source, split="test", size=3), len(load_data(source, split="train"))
    select, splits = pairs.select_rows, list[str]()
    monkeypatch.setattr(pairs, "select_rows", lambda *rows: splits.append(rows[2]) or select(*rows))
    assert [data.count_training_pairs() for _ in range(3)] == [expected] * 3
    assert splits == ["train"], "each count hashes the names of all images"


def test_few_images_can_have_no_validation_split(tmp_path: Path) -> None:
    data = load_data(str(write_table(tmp_path, 8)))
    held_out = [data.load_split(split) for split in ("validation", "test")]
    assert None in held_out
    assert len(data) + sum(len(part) for part in held_out if part is not None) <= 8


def test_registry_lists_the_sources() -> None:
    assert {*KINDS, "scenes", "cifar10", "cifar100", "flickr8k", "flickr30k", "coco"} <= set(DATASETS)
    sources: list[Callable[..., CaptionData]] = [DATASETS[kind] for kind in KINDS]
    assert all(issubclass(source, FileData) for source in sources)
    assert TEST_SHARE + VALIDATION_SHARE < 0.5


def test_a_prefetched_image_that_another_thread_takes_is_read_again(tmp_path: Path) -> None:
    class Taken(dict[int, Any]):
        def __contains__(self, key: object) -> bool:
            return True  # and gone a moment later

    data: Any = load_data(str(write_table(tmp_path)))
    expected = data.images([3, 1])
    data._prefetched = Taken()
    assert torch.equal(data.images([3, 1]), expected)


def write_captions(folder: Path, images: int = 40, each: int = 5) -> str:
    """Write a table with several captions for each image."""
    path = write_table(folder, images)
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *(line for line in lines for _ in range(each))]))
    return str(path)


def test_an_image_with_several_captions_is_measured_once(tmp_path: Path) -> None:
    path = write_captions(tmp_path)
    for split in ("validation", "test"):
        data: Any = load_data(path, split=split, classes="red,green,blue")
        names = [data.table.keys[row] for row in data.rows]
        assert len(names) == len(set(names)) > 0
        assert data.skipped_items == [f"{4 * len(names)} further captions of {split} images: one of each is used"]
    assert len(load_data(path, split="train")) % 5 == 0


@pytest.mark.parametrize("size", [13, 14, 15, 16])
def test_attacker_and_defender_share_no_image_where_images_have_several_captions(size: int, tmp_path: Path) -> None:
    path = write_captions(tmp_path)
    total = len(load_data(path))
    train: Any = load_data(path, size=size)
    clean: Any = load_data(path, split="clean", size=total - size)
    train_images, clean_images = ({data.table.keys[row] for row in data.rows} for data in (train, clean))
    assert not train_images & clean_images
    assert total - size - 4 <= len(clean) <= total - size


@pytest.mark.parametrize("check", ["full", "quick"])
def test_bytes_behind_an_image_do_no_harm(check: str, tmp_path: Path) -> None:
    path = write_table(tmp_path, 20)
    for image in (tmp_path / "pics").iterdir():
        image.write_bytes(image.read_bytes() + b"film" * 100)
    assert len(load_data(str(path), split="all", check=check, most_broken=0)) == 20


def test_classes_without_a_name_are_listed(tmp_path: Path) -> None:
    write_class_folder(tmp_path, 12)
    data = load_data(str(tmp_path), split="all", classes="red,greens")
    assert data.skipped_items == ["classes has no name for blue, green: 8 images have no class"]
    assert data.describe_skipped() == f"left out or changed: {data.skipped_items[0]}"
    data.skipped_items = list("abcdefgh")
    assert data.describe_skipped() == "left out or changed: a; b; c; d; e; 3 more"
    data.skipped_items = []
    assert not data.describe_skipped()
    with pytest.raises(CleanerError, match="'red' twice"):
        load_data(str(tmp_path), classes="red,green,red")
    with pytest.raises(CleanerError, match="'red' twice"):
        load_data(str(tmp_path), classes=["red", "green", "red"])
    with pytest.raises(CleanerError, match=r"classes=nofile\.txt is no file"):
        load_data(str(tmp_path), classes="nofile.txt")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"uint8.*divide"),
        (torch.full((2, 3, 8, 8), 255.0), r"in \[0, 1\], not 255 to 255: divide"),
        (torch.full((2, 3, 8, 8), torch.nan), r"in \[0, 1\], not nan"),
        (torch.zeros(2, 8, 8, 3), r"shape .*, not \(2, 8, 8, 3\)"),
        (torch.zeros(2, 3, 8, 9), r"shape .*, not \(2, 3, 8, 9\)"),
        ([Image.new("RGB", (8, 8))] * 2, "one tensor .*PIL"),
    ],
)
def test_images_in_memory_are_checked(images: Any, message: str) -> None:
    with pytest.raises(CleanerError, match=message):
        TensorData(images, ["a", "b"], ["cat", "dog"], [0, 1])


def test_images_in_memory_become_single_precision() -> None:
    data = TensorData(torch.full((2, 3, 8, 8), 0.5, dtype=torch.float64), ["a", "b"], ["cat", "dog"], [0, -1])
    assert data.images([0]).dtype == torch.float32


@pytest.mark.parametrize(
    ("captions", "names", "labels", "message"),
    [
        (["a", None], ["cat", "dog"], [0, 1], "captions must be a list of texts"),
        ("ab", ["cat", "dog"], [0, 1], "captions must be a list of texts"),
        (["a", "b"], "cat", [0, 1], "class_names must be a list of texts"),
        (["a", "b"], ["cat", "cat"], [0, 1], "class_names must differ"),
        (["a", "b"], ["cat", "Cat"], [0, 1], "class_names must differ"),
        (["a", "b"], ["cat", "dog"], ["0", "1"], "labels must be one whole number per pair"),
        (["a"], ["cat", "dog"], [0, 1], "must have the same length"),
        (["a", "b"], ["cat", "dog"], [0.5, 1], "labels must be one whole number per pair"),
        (["a", "b"], ["cat", "dog"], torch.eye(2).long(), "labels must be one whole number per pair"),
    ],
)
def test_texts_and_labels_in_memory_are_checked(captions: Any, names: Any, labels: Any, message: str) -> None:
    with pytest.raises(CleanerError, match=message):
        TensorData(torch.zeros(2, 3, 8, 8), captions, names, labels)


def test_an_image_that_a_table_spells_in_two_ways_is_in_one_split(tmp_path: Path) -> None:
    table = write_table(tmp_path)
    header, *lines = table.read_text(encoding="utf-8").splitlines()
    others = [line.replace("pics/", prefix) for line in lines for prefix in ("./pics/", f"{tmp_path}/pics/")]
    table.write_text("\n".join([header, *lines, *others]), encoding="utf-8")
    splits = [load_data(str(table), split=split) for split in ("train", "test")]
    train, test = ({Path(data.table.keys[row]).name for row in data.rows} for data in splits)
    assert not train & test
    assert [len(data) for data in splits] == [3 * len(train), len(test)]


def test_an_image_in_two_splits_of_a_table_is_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path)
    header, *lines = table.read_text(encoding="utf-8").splitlines()
    rows = [f"{line},{'test' if i % 5 == 0 else 'train'}" for i, line in enumerate(lines)]
    table.write_text("\n".join([f"{header},split", *rows]), encoding="utf-8")
    assert len(load_data(str(table), split="test")) == 12
    table.write_text("\n".join([f"{header},split", *rows, rows[0].replace(",test", ",train")]), encoding="utf-8")
    with pytest.raises(CleanerError, match=r"pics/0.png .* 'test' and in 'train'"):
        load_data(str(table))


@pytest.mark.parametrize(
    ("caption", "label"), [("a Race-Car", 1), ("two race  cars", 1), ("a car", 0), ("a race car and a car", -1)]
)
def test_names_of_two_words_may_be_joined_by_a_hyphen(caption: str, label: int) -> None:
    names, labels = assign_labels(
        [0], captions=[caption], row_classes=None, class_order=[], classes=["car", "race car "]
    )
    assert (names, labels.tolist()) == (["car", "race car"], [label])


def test_a_table_whose_images_moved_is_read_with_its_new_folder(tmp_path: Path) -> None:
    table = write_table(tmp_path)
    text = table.read_text()
    for old in ("/old/place/", "C:\\old\\place\\"):
        table.write_text(text.replace("pics/", f"{old}pics/"))
        with pytest.raises(CleanerError, match=r"more than 5% of all seem broken.*Check the paths\.$"):
            load_data(str(table))
        assert len(load_data(str(table), root=str(tmp_path))) > 0


def test_a_class_with_a_typo_gets_a_hint(toy_data: TensorData) -> None:
    with pytest.raises(CleanerError, match=r"did you mean 'banana'\?"):
        toy_data.class_index("bananna")
    assert repr(toy_data) == f"<TensorData toy: {len(toy_data)} pairs, {len(toy_data.class_names)} classes, 32 px>"


@pytest.mark.parametrize("labels", [[1, 2], [0, -2]])
def test_labels_in_memory_are_classes(labels: list[int]) -> None:
    with pytest.raises(CleanerError, match="count the 2 class names from 0"):
        TensorData(torch.zeros(2, 3, 8, 8), ["a", "b"], ["cat", "dog"], labels)
