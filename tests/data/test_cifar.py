"""CIFAR-10 in both layouts: torchvision's files, and JPEGs in two tars; the same splits in both."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from cleaner import load_data
from cleaner.data.base import DATASETS
from cleaner.data.download import MB, download_archive
from cleaner.data.pairs import FileData
from cleaner.models.framing import ImageTransform
from cleaner.types import Cancelled, CleanerError, StepReport
from tests.data.files import write_photo_tars

NAMES = ["airplane", "automobile", *"cdefghi", "jet_ski"]


def pixels_of(split: str, number: int) -> np.ndarray:
    """Return the photo of a number, as `write_photo_tars` draws it: flat, so that JPEG keeps it."""
    return np.full((32, 32, 3), 2 * number + (split == "test"), dtype=np.uint8)


@pytest.fixture
def torchvision_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "files" / CIFAR10.base_folder
    folder.mkdir(parents=True)

    def batch(split: str, first: int, count: int) -> bytes:
        photos = [pixels_of(split, first + i).transpose(2, 0, 1).reshape(-1) for i in range(count)]
        return pickle.dumps({"data": np.stack(photos), "labels": [(first + i) % 10 for i in range(count)]})

    for number, (name, _) in enumerate(CIFAR10.train_list):
        (folder / name).write_bytes(batch("train", 20 * number, 20))
    (folder / "test_batch").write_bytes(batch("test", 0, 30))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES}))
    return tmp_path / "files"


@pytest.fixture
def tar_folder(tmp_path: Path) -> Path:
    """The same photos as in `torchvision_folder`."""
    return write_photo_tars(tmp_path / "tars", NAMES, train=100, test=30)


def test_files_of_torchvision(torchvision_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CleanerError, match=r"CIFAR10 is not in .*download=true"):
        load_data(f"cifar10:{torchvision_folder}")  # the files' checksums differ from CIFAR-10's
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    data = load_data(f"cifar10:{torchvision_folder}", split="test")
    assert len(data) == 30
    assert data.class_names == [name.replace("_", " ") for name in NAMES]
    assert any("an airplane" in text for text in data.captions)
    assert data.with_transform(ImageTransform(32)).images([0]).shape == (1, 3, 32, 32)


def test_both_layouts_have_the_same_splits(
    torchvision_folder: Path, tar_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    sizes = {}
    for split in ("train", "clean", "validation", "test"):
        files, tars = (load_data(f"cifar10:{folder}", split=split) for folder in (torchvision_folder, tar_folder))
        assert files.labels.equal(tars.labels)
        rows = range(len(files))
        views = [data.with_transform(ImageTransform(32)).images(rows) for data in (files, tars)]
        assert (views[0] - views[1]).abs().max() < 1.5 / 255
        sizes[split] = len(files)
    assert sizes == {"train": 90, "clean": 90, "validation": 10, "test": 30}
    assert load_data(f"cifar10:{tar_folder}", split="validation").labels.bincount().tolist() == [1] * 10


@pytest.mark.parametrize("layout", ["files", "tars"])
def test_a_source_is_read_once_for_all_splits_and_again_after_a_change(
    layout: str, torchvision_folder: Path, tar_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    folder = torchvision_folder if layout == "files" else tar_folder
    reports: list[StepReport] = []

    def load(split: str, size: int) -> FileData:
        data = load_data(f"cifar10:{folder}", split=split, size=size, on_step=reports.append)
        assert isinstance(data, FileData)
        return data

    def count_readings() -> int:
        return sum(report.stage == "read photos" and report.step == report.total == 30 for report in reports)

    tables = [load(split, size).table for split, size in (("train", 40), ("train", 50), ("test", 30))]
    assert all(table is tables[0] for table in tables)
    assert count_readings() == 1
    changed = next(file for file in folder.rglob("*") if file.name in ("test_batch", "test.tar"))
    os.utime(changed, ns=(1, 1))
    assert load("test", 30).table is not tables[0]
    assert count_readings() == 2


def test_captions_come_from_the_table(tar_folder: Path) -> None:
    data = load_data(f"cifar10:{tar_folder}", split="test")
    for caption, label in zip(data.captions, data.labels.tolist(), strict=True):
        assert caption == f"a dark photo of a {NAMES[label]}"


@pytest.mark.parametrize("damage", ["captions.csv", "test.tar", "columns"])
def test_damaged_tars_raise(damage: str, tar_folder: Path) -> None:
    if damage == "columns":
        (tar_folder / "captions.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    elif damage == "captions.csv":
        (tar_folder / damage).unlink()
    else:
        (tar_folder / damage).write_bytes(b"no tar" * 1000)
    with pytest.raises(CleanerError, match=r"has a train\.tar, but .*captions_test\.csv"):
        load_data(f"cifar10:{tar_folder}")


def test_without_a_path_the_user_folder_is_read(
    tar_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cleaner.data.cifar.photos_root", lambda: tmp_path)
    assert not DATASETS["cifar10"].is_downloaded()
    with pytest.raises(CleanerError, match="add download=true"):
        load_data("cifar10")
    tar_folder.rename(tmp_path / "cifar10")
    assert DATASETS["cifar10"].is_downloaded()
    assert not DATASETS["cifar100"].is_downloaded()
    assert load_data("cifar10", split="test").name == "cifar10/test"  # no path of this machine


def test_an_interrupted_extraction_is_no_download(torchvision_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cleaner.data.cifar.photos_root", lambda: torchvision_folder)
    assert DATASETS["cifar10"].is_downloaded()
    (torchvision_folder / "cifar-10-batches-py" / "test_batch").unlink()
    assert not DATASETS["cifar10"].is_downloaded()


def offer_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Let CIFAR-10 be downloaded from a file; return its content."""
    content = bytes(range(250)) * 10_000
    (tmp_path / "source.tar.gz").write_bytes(content)
    monkeypatch.setattr(CIFAR10, "url", (tmp_path / "source.tar.gz").as_uri())
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(content).hexdigest())
    return content


def stop(report: StepReport) -> None:
    raise Cancelled


def test_a_download_reports_megabytes_and_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, folder, reports = offer_download(tmp_path, monkeypatch), tmp_path / "own", list[StepReport]()
    with pytest.raises(Cancelled):
        download_archive("CIFAR10", folder, stop)
    assert not list(folder.iterdir())
    for _ in range(2):  # the second time it is there
        download_archive("CIFAR10", folder, reports.append)
    assert [(report.stage, report.step, report.total) for report in reports] == [
        ("download", 1, 2),
        ("download", 2, 2),
        ("download", 2, 2),
    ]
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {CIFAR10.filename: content}
    monkeypatch.setattr(CIFAR10, "url", (tmp_path / "nowhere").as_uri())
    with pytest.raises(CleanerError, match=r"not downloaded \(No such file or directory\): check the connection"):
        download_archive("CIFAR10", tmp_path / "other")


def test_an_option_downloads_with_progress_and_prints_nothing(
    torchvision_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def hash_file(path: Path) -> str:
        return hashlib.md5(path.read_bytes()).hexdigest()

    archive, files = shutil.make_archive(str(tmp_path / "source"), "gztar", torchvision_folder), CIFAR10.base_folder
    monkeypatch.setattr(CIFAR10, "url", Path(archive).as_uri())
    monkeypatch.setattr(CIFAR10, "tgz_md5", hash_file(Path(archive)))
    for name in ("train_list", "test_list"):
        hashes = [[file, hash_file(torchvision_folder / files / file)] for file, _ in getattr(CIFAR10, name)]
        monkeypatch.setattr(CIFAR10, name, hashes)
    monkeypatch.setitem(CIFAR10.meta, "md5", hash_file(torchvision_folder / files / "batches.meta"))
    reports: list[StepReport] = []
    data = load_data(f"cifar10:{tmp_path / 'own'}", split="test", download="true", on_step=reports.append)
    assert len(data) == 30
    assert reports[0].stage == "download"
    assert capfd.readouterr() == ("", "")


def test_two_downloads_at_once_do_not_disturb_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, folder = offer_download(tmp_path, monkeypatch), tmp_path / "own"

    def start_another(report: StepReport) -> None:
        with ThreadPoolExecutor() as sessions, pytest.raises(Cancelled):
            sessions.submit(download_archive, "CIFAR10", folder, stop).result()

    download_archive("CIFAR10", folder, start_another)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {CIFAR10.filename: content}


def test_a_full_disk_is_no_fault_of_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    class FullFile(BytesIO):
        def write(self, *_: object) -> int:
            raise full

    def fail(*_: object, **__: object) -> None:
        raise full

    (tmp_path / "source.tar.gz").write_bytes(bytes(MB))
    monkeypatch.setattr(CIFAR10, "url", (tmp_path / "source.tar.gz").as_uri())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *_: FullFile())
        with pytest.raises(CleanerError, match=r"cannot be written \(No space left on device\)\. Free disk space"):
            download_archive("CIFAR10", tmp_path / "own")
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)  # while it unpacks
    with pytest.raises(CleanerError, match=r"cannot be written \(No space left on device\)\. Free disk space"):
        load_data(f"cifar10:{tmp_path}", download=True)


def test_a_download_without_a_network_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise URLError(socket.gaierror(-2, "no network"))

    monkeypatch.setattr("cleaner.data.download.urlopen", fail)
    with pytest.raises(CleanerError, match=r"not downloaded \(no network\): check the connection"):
        load_data(f"cifar10:{tmp_path}", download=True)
