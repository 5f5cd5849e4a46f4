"""The name of a model, taken apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from cleaner.models.resolve import ModelName
from tests.cases import read_cases


@pytest.mark.parametrize(
    ("name", "kind", "path", "architecture", "tag"),
    read_cases(__file__, "name_forms"),
)
def test_the_form_of_a_name_says_what_it_is(name: str, kind: str, path: str, architecture: str, tag: str) -> None:
    parsed = ModelName.parse(name)
    assert (parsed.kind, parsed.path, parsed.architecture, parsed.tag) == (kind, path, architecture, tag)


def test_what_exists_decides_where_the_form_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ModelName.parse("own").kind == "tag"
    Path("own").touch()
    assert ModelName.parse("own").kind == "file"
    Path("folder").mkdir()
    assert ModelName.parse("folder").kind == "tag"
    Path("folder", "open_clip_config.json").touch()
    assert ModelName.parse("folder").kind == "folder"
    assert ModelName.parse("folder").resolve() == str((tmp_path / "folder").resolve())
    assert ModelName.parse("ViT-B-32:own").resolve() == f"ViT-B-32:{(tmp_path / 'own').resolve()}"
