"""Overview: opens at once, invents nothing, shows the example's own figures where there are any."""

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.conftest import ROOT, Open, texts


def test_empty_state(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page("Overview")
    if not (ROOT / "benchmarks" / "results" / "demo.json").exists():
        assert "No numbers yet" in texts(app)
        assert not app.get("plotly_chart")


def test_unknown_run_files_do_no_harm(open_page: Open, tmp_path: Path) -> None:
    for name, content in (("a", "{}"), ("b", "not json"), ("c", json.dumps({"stage": "backdoored"}))):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text(content)
    app: AppTest = open_page("Overview")
    assert not app.exception
