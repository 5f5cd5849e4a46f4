"""Pictures kept beside a run: the same bytes come back, and no name from outside leads elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from cleaner.runs import derived
from cleaner.runs.store import list_shipped_runs


def test_a_kept_picture_comes_back(tmp_path: Path) -> None:
    name = derived.save_image(tmp_path, b"picture")
    assert derived.save_image(tmp_path, b"picture") == name
    assert derived.read_image(tmp_path, name) == b"picture"
    assert derived.read_image(tmp_path, derived.hash_image(b"another")) is None
    (tmp_path / "secret").write_bytes(b"secret")
    for outside in ("../secret", "", str(tmp_path / "secret"), name.upper() + "x"):
        assert derived.read_image(tmp_path, outside) is None


def test_what_is_shipped_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path))
    folder = list_shipped_runs()[0].folder
    name = derived.save_image(folder, b"picture")
    assert not (folder / derived.IMAGES_FOLDER).exists()
    assert derived.read_image(folder, name) == b"picture"
