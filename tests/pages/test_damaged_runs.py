"""Run folders that are half deleted, broken or from a newer version: every page says what it can, and none fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pages.conftest import ROOT, Open, at
from tests.pages.runs import make_runs

PAGES = sorted(path.stem.partition("_")[2].replace("_", " ") for path in (ROOT / "pages").glob("*_*.py"))
DAMAGES = ("gone model.safetensors", "list metrics.json", "newer config.json")


def damage(folder: Path, kind: str) -> None:
    how, _, name = kind.partition(" ")
    path = folder / name
    text = path.read_bytes()
    path.unlink()
    if how == "list":
        path.write_text("[1, 2]")
    elif how == "newer":
        path.write_text(json.dumps({**json.loads(text), "schema": 99}))


@pytest.mark.parametrize("kind", DAMAGES)
def test_no_page_fails(open_page: Open, tmp_path: Path, kind: str) -> None:
    for folder in make_runs(tmp_path):
        damage(folder, kind)
    app = open_page(PAGES[0])
    for title in PAGES[1:]:
        at(app, title)
