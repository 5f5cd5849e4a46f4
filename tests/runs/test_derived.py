"""Images saved with a run: the same bytes come back, and a name never leads out of its folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cleaner.runs import derived
from cleaner.runs.store import list_shipped_runs

pytestmark = pytest.mark.quick


def test_a_saved_image_is_read_back(tmp_path: Path) -> None:
    name = derived.save_image(tmp_path, b"image")
    assert derived.save_image(tmp_path, b"image") == name
    assert derived.read_image(tmp_path, name) == b"image"
    assert derived.read_image(tmp_path, derived.hash_image(b"another")) is None
    (tmp_path / "secret").write_bytes(b"secret")
    for outside in ("../secret", "", str(tmp_path / "secret"), name.upper() + "x"):
        assert derived.read_image(tmp_path, outside) is None


def test_an_image_stays_once_its_run_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    name = derived.save_image(tmp_path, b"image")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert derived.read_image(tmp_path, name) == b"image"


def test_read_only_runs_of_one_name_share_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    first, second = tmp_path / "a" / "attack", tmp_path / "b" / "attack"
    for folder in (first, second):
        folder.mkdir(parents=True)
    name = derived.save_image(first, b"image")
    assert derived.read_image(first, name) == b"image"
    assert derived.read_image(second, name) is None
    (first / "config.json").write_text('{"created": "later"}')  # another run in the place of the first
    assert derived.read_image(first, name) is None


def test_a_shipped_run_is_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path))
    folder = list_shipped_runs()[0].folder
    name = derived.save_image(folder, b"image")
    assert not (folder / derived.IMAGES_FOLDER).exists()
    assert derived.read_image(folder, name) == b"image"
