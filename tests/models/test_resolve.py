"""The name of a model, taken apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from cleaner.models.resolve import ModelName


@pytest.mark.parametrize(
    ("name", "kind", "path", "architecture", "tag"),
    [
        ("scenes-rn", "built-in", "scenes-rn", "", ""),
        ("ViT-B-32/openai", "tag", "ViT-B-32/openai", "ViT-B-32", "openai"),
        ("ViT-B-32:weights.bin", "file", "weights.bin", "ViT-B-32", ""),
        ("ViT-B-32:weights", "file", "weights", "ViT-B-32", ""),
        ("ViT-B/32:weights.pt", "file", "ViT-B/32:weights.pt", "", ""),
        ("weights.pt", "file", "weights.pt", "", ""),
        ("C:\\weights.pt", "file", "C:\\weights.pt", "", ""),
        ("local-dir:models/own", "folder", "models/own", "", ""),
        ("local-dir:", "tag", "local-dir:", "", ""),
        ("hf-hub:org/repo", "hub", "hf-hub:org/repo", "", ""),
        ("unknown", "tag", "unknown", "", ""),
    ],
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
