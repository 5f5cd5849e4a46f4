"""A disk that is full or read-only: one sentence with the remedy, earlier runs whole, and the run resumes later."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cleaner import load_run
from cleaner.files import write_error
from cleaner.jobs import local, session, worker
from cleaner.runs.status import read_status
from cleaner.runs.store import annotate, create_run, list_entries, read_record
from cleaner.types import CleanerError
from tests.conftest import save_tiny_model
from tests.jobs.test_local import make_request

FREE_BYTES = 1_000_000
"""Less than a checkpoint of the tiny model."""


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system in memory that holds the runs; skipped where none can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted: {getattr(error, 'stderr', error)}")
    monkeypatch.setenv("CLEANER_RUNS", str(place / "runs"))
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[[], Path]:
    request = make_request(save_tiny_model(tmp_path))
    return lambda: create_run(request)


def execute(folder: Path) -> str:
    """Execute a run in this process; return the SHA-256 of its weights file, "" if it has none."""
    worker.run_job(session.RunSession(folder))
    file = folder / "model.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""


def test_the_remedy_is_about_the_folder_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    full = OSError(errno.ENOSPC, "No space left on device")
    assert "CLEANER_CACHE" in str(write_error(tmp_path / "cache" / "maps" / "x.npz", full))
    assert "CLEANER_RUNS" in str(write_error(tmp_path / "runs" / "x.npz", full))


def test_a_full_disk_loses_no_earlier_run(disk: Path, new_run: Callable[[], Path]) -> None:
    first = new_run()
    expected = execute(first)
    used = shutil.disk_usage(disk).used
    remount(disk, f"size={used + FREE_BYTES}")
    second = new_run()
    assert execute(second) == ""
    status = local.poll_status(second)
    assert status.state == "failed"
    assert "cannot be written" in status.message
    assert "Free disk space" in status.message
    assert read_record(first).changed_files == []
    assert load_run(first).metrics is not None
    assert not [path for path in disk.rglob("*") if path.name.endswith(".tmp")]
    remount(disk, "size=64m")
    assert execute(second) == expected


def test_a_read_only_disk_is_one_sentence(disk: Path, new_run: Callable[[], Path]) -> None:
    first = new_run()
    execute(first)
    second = new_run()
    remount(disk, "ro")
    actions: list[Callable[[], object]] = [
        new_run,
        lambda: local.start(second),
        lambda: local.cancel(second),
        lambda: local.delete(first),
        lambda: annotate(first, name="a name"),
        lambda: session.RunSession(second),
    ]
    for action in actions:
        with pytest.raises(CleanerError, match=r"(written|deleted).*Read-only") as caught:
            action()
        assert str(caught.value).isprintable()
    assert {entry.folder for entry in list_entries()} == {first, second}
    assert load_run(first).metrics is not None
    assert read_record(first).changed_files == []
    assert (read_status(first).state, read_status(second).state) == ("done", "new")
    remount(disk, "rw")
    assert execute(second)


def test_images_that_do_not_fit_the_cache_are_one_sentence(disk: Path) -> None:
    remount(disk, "size=2m")
    # In another process: a signal would end this one.
    code = "from cleaner.data.base import load_data; load_data('scenes', split='test', size=300).images(range(300))"
    environment = {**os.environ, "CLEANER_CACHE": str(disk)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "cannot be written (No space left on device). Set CLEANER_CACHE" in ended.stderr.splitlines()[-1]
    assert not list(disk.rglob("*.*"))
