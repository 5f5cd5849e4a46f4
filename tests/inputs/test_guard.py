"""The guard of the hostile inputs stops what it promises to stop; messages stay on one line."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cleaner.types import MAX_MESSAGE, CleanerError
from tests.inputs import guard

FORBIDDEN: dict[str, Callable[[Path], object]] = {
    "write": lambda folder: (folder.parent / "x").write_text("x"),
    "append": lambda folder: (folder / ".." / "neighbor").open("a"),
    "delete": lambda folder: (folder.parent / "neighbor").unlink(),
    "folder": lambda folder: (folder.parent / "new").mkdir(),
    "socket": lambda folder: socket.socket(),
    "program": lambda folder: subprocess.run(["true"]),
    "pickle": lambda folder: pickle.loads(pickle.dumps(os.getcwd)),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_guard_stops(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    (tmp_path / "neighbor").touch()
    with pytest.raises(guard.Forbidden), guard.guarded(folder):
        FORBIDDEN[what](folder)
    with guard.guarded(folder):
        (folder / "x").write_text("inside")


def test_the_guard_sees_a_write_that_python_does_not_announce(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    with (
        (tmp_path / "neighbor").open("wb", buffering=0) as neighbor,
        pytest.raises(AssertionError, match="changed"),
        guard.guarded(folder),
    ):
        neighbor.write(b"x")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
def test_the_guard_limits_memory_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    with pytest.raises(MemoryError), guard.guarded(folder):
        bytearray(3 * 2**30)
    monkeypatch.setattr(guard, "MAX_SECONDS", 0.05)
    with pytest.raises(guard.TooSlow), guard.guarded(folder):
        time.sleep(5)


def test_a_message_is_one_line() -> None:
    assert str(CleanerError("a\nb\x1b[31mc\u202ed\0")) == "a b?[31mc?d?"
    assert len(str(CleanerError("x" * 10_000))) <= MAX_MESSAGE
