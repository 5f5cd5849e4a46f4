"""Data sets read by torchvision (COCO, Flickr), and ImageNet's folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cleaner import load_data
from cleaner.types import CleanerError
from tests.data.files import image_bytes, make_caption


def write_captioned(kind: str, folder: Path) -> tuple[str, str]:
    (folder / "pics").mkdir()
    for i in range(30):
        (folder / "pics" / f"{i}.jpg").write_bytes(image_bytes(i, image_format="JPEG"))
    if kind == "coco":
        content: Any = {
            "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(30)],
            "annotations": [
                {"image_id": i, "caption": f"{make_caption(i)} {n}\n"} for i in range(30) for n in range(5)
            ],
        }
        (folder / "c.json").write_text(json.dumps(content))
        return str(folder / "pics"), str(folder / "c.json")
    lines = [f"{i}.jpg#{n}\t{make_caption(i)} {n}" for i in range(30) for n in range(5)]
    (folder / "c.token").write_text("\n".join(lines))
    return str(folder / "pics"), str(folder / "c.token")


@pytest.mark.parametrize("kind", ["coco", "flickr30k"])
def test_one_of_several_captions_is_used(kind: str, tmp_path: Path) -> None:
    path, annotations = write_captioned(kind, tmp_path)
    data: Any = load_data(f"{kind}:{path}", annotations=annotations, classes="red,green,blue")
    for row, text in zip(data.rows, data.captions, strict=True):
        assert text.startswith(make_caption(int(Path(data.table.keys[row]).stem)))
    assert len({text[-1] for text in data.captions}) > 1
    assert data.captions == load_data(f"{kind}:{path}", annotations=annotations).captions
    with pytest.raises(CleanerError, match=f"{kind}:/folder annotations="):
        load_data(f"{kind}:{path}")
    if kind == "coco":
        with pytest.raises(CleanerError, match=f"coco:/folder/of/images annotations={annotations}"):
            load_data(annotations)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("flickr8k", "0.jpg#0\ta red dog\n"),
        ("flickr8k", "image,caption\n0.jpg,a dog\n"),
        ("flickr30k", "0.jpg,a dog\n"),
    ],
)
def test_captions_in_another_layout_name_the_data_that_reads_them(kind: str, content: str, tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text(content)
    with pytest.raises(CleanerError, match=r"captions\.txt .* flickr30k:, .* csv:TABLE root=FOLDER"):
        load_data(f"{kind}:{tmp_path}", annotations=str(tmp_path / "captions.txt"))


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, '{"images": [{"id": 1, "file_name": "0.jpg"}], "annotations": [{"image_id": 1, "caption": null}]}'],
)
def test_broken_coco_captions_raise(content: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(CleanerError, match=r"c\.json .*COCO"):
        load_data(f"coco:{tmp_path}", annotations=str(tmp_path / "c.json"))


def test_imagenet_folders_are_named_in_words(tmp_path: Path) -> None:
    for i in range(1000):
        (tmp_path / f"n{i:08d}").mkdir()
        (tmp_path / f"n{i:08d}" / "0.png").write_bytes(image_bytes(i, (8, 8)))
    data = load_data(str(tmp_path), split="test")
    assert len(data.class_names) == len(set(data.class_names)) == 1000
    assert data.class_names[0] == "tench"
