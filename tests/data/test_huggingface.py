"""Parquet and Arrow tables, and streams as the hub sends them, through the package `datasets`."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from cleaner import load_data
from cleaner.data import huggingface
from cleaner.data.base import resolve_data_paths
from cleaner.types import CleanerError
from tests.data.files import NAMES, image_bytes, make_caption, write_parquet, write_shards, write_table
from tests.inputs.guard import guarded
from tests.inputs.parquet import EPS

datasets = pytest.importorskip("datasets")


def write(path: Path, **columns: list[Any]) -> str:
    parquet.write_table(pa.table(columns), path)
    return str(path)


def write_typed(path: Path, columns: dict[str, list[Any]], **types: Any) -> str:
    """Write a table whose schema states the types of `datasets`."""
    parquet.write_table(pa.Table.from_pydict(columns, schema=datasets.Features(types).arrow_schema), path)
    return str(path)


def test_pairs_and_columns_are_found(tmp_path: Path) -> None:
    data: Any = load_data(write_parquet(tmp_path), split="all", classes=",".join(NAMES))
    assert sorted(data.captions) == sorted(make_caption(i) for i in range(60))
    assert "'image'" in data.format_summary
    assert "'caption'" in data.format_summary
    pixel = data.images([0])[0, :, 100, 100]
    color = NAMES[int(data.captions[0].split()[-1]) % 3]
    assert int(pixel.argmax()) == NAMES.index(color)
    assert data.class_names[int(data.labels[0])] == color


def test_class_labels_splits_and_lists_of_captions(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "img": datasets.Image(),
            "label": datasets.ClassLabel(names=["sea_lion", "dog"]),
            "captions": [datasets.Value("string")],
        }
    )
    for split, count in (("train", 8), ("test", 4)):
        rows = {
            "img": [{"bytes": image_bytes(i), "path": None} for i in range(count)],
            "label": [i % 2 for i in range(count)],
            "captions": [[f"one {i}", f"two {i}"] if i else [] for i in range(count)],
        }
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    test: Any = load_data(str(tmp_path), split="test")
    assert len(test) == 4
    assert test.class_names == ["sea lion", "dog"]
    by_row = dict(zip((test.table.keys[row] for row in test.rows), test.captions, strict=True))
    assert by_row["test/2"] in ("one 2", "two 2")
    assert "sea lion" in by_row["test/0"]
    assert "defined by the data" in test.split_rule


@pytest.mark.parametrize(
    "value",
    [
        {"raw": "a red wall", "tokens": ["a", "red", "wall"]},
        [{"caption": "a red wall", "id": 3}],
        [["a red wall"]],
        {"raw": ["a red wall"], "id": [3]},
    ],
)
def test_captions_in_nested_columns(value: Any, tmp_path: Path) -> None:
    empty = {**value, "raw": None} if isinstance(value, dict) else []
    images = [{"bytes": image_bytes(i), "path": None} for i in range(12)]
    data = load_data(write(tmp_path / "x.parquet", image=images, sentences=[value] * 11 + [empty]), split="all")
    assert data.captions == ["a red wall"] * 11
    assert data.skipped_items == ["train/11 has no caption"]


def test_several_classes_of_an_image_are_no_class(tmp_path: Path) -> None:
    images = [{"bytes": image_bytes(i), "path": None} for i in range(12)]
    path = write(tmp_path / "x.parquet", image=images, label=[[0, 1]] * 12, text=["a red wall"] * 12)
    data = load_data(path, split="all", classes="red,blue")
    assert (data.class_names, set(data.labels.tolist())) == (["red", "blue"], {0})


def test_class_labels_that_are_no_text(tmp_path: Path) -> None:
    rows = {"image": [{"bytes": image_bytes(i), "path": None} for i in range(12)], "label": [0, 1] * 6}
    path = write_typed(tmp_path / "x.parquet", rows, image=datasets.Image(), label=datasets.ClassLabel(names=[3, None]))
    assert load_data(path, split="all").class_names == ["3", "None"]


@pytest.mark.parametrize("column", ["image", "caption"])
@pytest.mark.parametrize("file", [{"bytes": EPS, "path": None}, {"bytes": None, "path": "hf://datasets/a/b/x.png"}])
def test_types_that_a_file_states_run_nothing(
    file: dict[str, Any], column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As images, `datasets` would open these with Ghostscript, or fetch them."""
    types: dict[str, Any] = {"image": datasets.Image(), "caption": datasets.Value("string")}
    rows: dict[str, list[Any]] = {"image": [{"bytes": image_bytes(0), "path": None}] * 4, "caption": ["a cup"] * 4}
    folder = tmp_path / "data"
    folder.mkdir()
    path = write_typed(
        folder / "x.parquet", {**rows, column: [[file]] * 4}, **{**types, column: datasets.List(datasets.Image())}
    )
    monkeypatch.setenv("CLEANER_CACHE", str(folder / "cache"))
    with guarded(folder), pytest.raises(CleanerError, match=f"no {column}"):
        load_data(path, split="all", most_broken=1.0)


def test_named_columns_and_paths_of_files(tmp_path: Path) -> None:
    write_table(tmp_path, 6)
    path = write(tmp_path / "x.parquet", where=[f"pics/{i}.png" for i in range(6)], what=["a dog"] * 5 + [""])
    with pytest.raises(CleanerError, match=r"images.*where, what.*image_column"):
        load_data(path)
    with pytest.raises(CleanerError, match=r"captions.*caption_column"):
        load_data(path, image_column="where")
    with pytest.raises(CleanerError, match=r"'no'.*where, what"):
        load_data(path, image_column="no")
    data = load_data(path, split="all", image_column="where", caption_column="what")
    assert data.captions == ["a dog"] * 5
    assert len(data.skipped_items) == 1
    assert data.images([0]).shape == (1, 3, 224, 224)


def test_arrow_file(tmp_path: Path) -> None:
    table = pa.table({"image": [{"bytes": image_bytes(i), "path": None} for i in range(5)], "text": ["a cup"] * 5})
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert load_data(str(tmp_path / "x.arrow"), split="all").captions == ["a cup"] * 5


def test_broken_file_missing_package_and_images_on_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(CleanerError, match="cannot be read"):
        load_data(str(tmp_path / "x.parquet"))
    with pytest.raises(CleanerError, match=r"no \.parquet"):
        load_data(f"parquet:{tmp_path}/none.parquet")
    path = write(tmp_path / "y.parquet", image=["http://x/1.jpg"] * 5, caption=["a dog"] * 5)
    with pytest.raises(CleanerError, match=r"on the network|cannot be read"):
        load_data(path, split="all")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CleanerError, match="pip install"):
        load_data(path)


def test_a_stream_is_stored_once_and_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `hf:` does, with a local stream in place of the hub's."""
    folder = write_parquet(tmp_path)
    opened: list[str] = []

    def load(builder: str, path: str, **options: Any) -> dict[str, Any]:
        opened.append(path)
        assert options == {"name": None, "streaming": True}
        stream = datasets.load_dataset(
            "parquet", data_files=sorted(map(str, Path(folder).glob("*.parquet"))), streaming=True, split="train"
        )
        return {"train": stream}

    monkeypatch.setattr(huggingface, "_load", load)
    monkeypatch.setenv("CLEANER_DATA_ROOTS", str(tmp_path))  # the name on the hub is no path
    first, again = (load_data("hf:org/name", split="all", max_pairs=25) for _ in range(2))
    assert first.captions == again.captions
    assert sorted(first.captions) == sorted(make_caption(i) for i in range(25))
    assert first.images([0]).shape == (1, 3, 224, 224)
    assert opened == ["org/name"] * 2
    assert len(load_data("hf:org/name", split="all", max_pairs="40")) == 40
    assert resolve_data_paths("hf:org/name", {}) == ("hf:org/name", {})
    with pytest.raises(CleanerError, match="hf:org/name"):
        load_data("hf:../../x y")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub" / "dir").mkdir(parents=True)
    for name in ("..", ".", "../private", "csv", "webdataset", "sub/dir", "./sub"):
        with pytest.raises(CleanerError, match=r"hub|folder here"):
            load_data(f"hf:{name}")


def test_without_the_network_the_stored_stream_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: str, **__: Any) -> dict[str, Any]:
        folder = write_parquet(tmp_path)
        files = sorted(map(str, Path(folder).glob("*.parquet")))
        splits = {"train": files, "test": files}
        return dict(datasets.load_dataset("parquet", data_files=splits, streaming=True))

    def fail(*_: str, **__: Any) -> None:
        raise CleanerError("no network")

    monkeypatch.setattr(huggingface, "_load", load)
    online = [load_data("hf:org/offline", split=split, max_pairs=20) for split in ("train", "test")]
    monkeypatch.setattr(huggingface, "_load", fail)
    offline = [load_data("hf:org/offline", split=split, max_pairs=20) for split in ("train", "test")]
    assert [data.captions for data in offline] == [data.captions for data in online]
    assert offline[1].images([0]).equal(online[1].images([0]))
    with pytest.raises(CleanerError, match="no network"):
        load_data("hf:org/offline", max_pairs=21)
    monkeypatch.setattr(huggingface, "_load", None)
    data = load_data("hf:org/offline", split="train", max_pairs=20, download=False)
    assert data.captions == online[0].captions, "asks nobody"


def test_image_files_on_the_hub_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of image files has only their addresses in its rows."""
    hub = "hf://datasets/org/name@main"
    own = [f"{hub}/cat/0.png", f"zip://dog/1.png::{hub}/dogs.zip"]
    paths = [*own, "http://10.0.0.1/2.png", "file:///3.png", f"/etc/passwd::{hub}/4.png"]
    fetched: list[str] = []

    def rows() -> Iterator[dict[str, Any]]:
        for i, path in enumerate(paths):
            yield {"image": {"bytes": None, "path": path}, "label": i % 2}

    def open_file(path: str, mode: str) -> io.BytesIO:
        fetched.append(path)
        return io.BytesIO(image_bytes(0))

    features = datasets.Features(
        {"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    stream = datasets.IterableDataset.from_generator(rows, features=features)
    monkeypatch.setattr(datasets.utils.file_utils, "xopen", open_file)
    monkeypatch.setattr(huggingface, "_load", lambda *_, **__: {"train": stream})
    data = load_data("hf:org/files", split="all", most_broken=1.0)
    assert data.images(range(len(data))).shape == (2, 3, 224, 224)
    assert fetched == own, "a row cannot make this machine read its own files or another address"


def test_a_connection_lost_during_the_stream_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"image": {"bytes": image_bytes(0), "path": None}, "caption": "a dog"}
        raise ConnectionError("reset by peer")

    features = datasets.Features({"image": datasets.Image(decode=False), "caption": datasets.Value("string")})
    stream = datasets.IterableDataset.from_generator(rows, features=features)
    monkeypatch.setattr(huggingface, "_load", lambda *_, **__: {"train": stream})
    with pytest.raises(CleanerError, match=r"org/lost cannot be read \(ConnectionError: reset by peer\)"):
        load_data("hf:org/lost")


def test_a_column_of_splits_assigns_the_rows(tmp_path: Path) -> None:
    images = [{"bytes": image_bytes(i), "path": None} for i in range(12)]
    splits = ["train"] * 6 + ["valid"] * 3 + ["test"] * 2 + ["unused"]
    path = write(tmp_path / "x.parquet", image=images, caption=["a wall"] * 12, split=splits)
    sizes = {split: len(load_data(path, split=split)) for split in ("train", "validation", "test")}
    assert sizes == {"train": 6, "validation": 3, "test": 2}
    data = load_data(path, split="all")
    assert data.skipped_items == ["train/11 has an unknown split ('unused')"]
    assert "split in 'split'" in data.format_summary


def test_a_set_without_training_pairs_is_divided(tmp_path: Path) -> None:
    images = [{"bytes": image_bytes(i % 5), "path": None} for i in range(200)]
    (tmp_path / "set").mkdir()
    write(tmp_path / "set" / "test-00000-of-00001.parquet", image=images, caption=["a wall"] * 200)
    sizes = [len(load_data(str(tmp_path / "set"), split=split)) for split in ("train", "validation", "test")]
    assert min(sizes) > 0, sizes


def test_rows_of_one_image_share_a_split(tmp_path: Path) -> None:
    write_table(tmp_path, 40)
    rows = [f"pics/{i}.png" for i in range(40) for _ in range(5)]
    path = write(tmp_path / "x.parquet", image_path=rows, caption=[f"a wall {i}" for i in range(200)])
    used = {}
    for split in ("train", "validation", "test"):
        data: Any = load_data(path, split=split)
        used[split] = {data.table.image_names[row] for row in data.rows}
    assert sum(map(len, used.values())) == len(set().union(*used.values())) == 40


def test_tables_beside_shards_describe_them(tmp_path: Path) -> None:
    write_shards(tmp_path)
    write(tmp_path / "00000.parquet", url=["http://x/y.jpg"], caption=["a wall"], key=["000000000"])
    assert len(load_data(str(tmp_path), split="all")) == 60
