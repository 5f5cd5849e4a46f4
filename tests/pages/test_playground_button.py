"""The playground of a run: offered where the page can make one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cleaner.files import shipped_assets
from cleaner.runs.store import read_record
from pages._shared import cache
from tests.pages.conftest import OpenPage
from tests.pages.runs import make_runs

EXAMPLE = shipped_assets() / "example"


@pytest.mark.parametrize("page", ["Overview", "Compare", "Try it"])
def test_only_runs_on_a_built_in_model_have_one(page: str, open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)  # on a model of their own
    app = open_page(page)
    labels = [button.proto.label for button in app.get("download_button")]
    assert "Playground (HTML)" not in labels


def test_the_file_has_the_newest_defenses_of_the_example() -> None:
    attack, *defenses = (read_record(folder) for folder in sorted(EXAMPLE.iterdir()))
    html = cache.playground_html(attack, defenses[:1])
    assert html.lstrip().lower().startswith("<!doctype html>")
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    assert defenses[0].id in html
    assert defenses[1].id not in html
