"""Pages with the playground's engine: what the browser gets, and when the server answers instead."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cleaner.playground import files
from cleaner.runs.store import read_record
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.shell import state
from tests.pages.conftest import OpenPage, widget_keys
from tests.pages.runs import make_runs


@pytest.fixture(autouse=True)
def built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny models count as built-in."""
    monkeypatch.setattr(state, "is_built_in", lambda model: True)


def read_data(app: AppTest) -> dict[str, Any] | None:
    """Return what the component gets, or None."""
    found = [json.loads(e.proto.json) for e in app.get("bidi_component") if e.proto.component_name == "playground"]
    return found[0] if found else None


def test_the_browser_gets_the_chosen_image_and_models(open_page: OpenPage, tmp_path: Path) -> None:
    attacked, defended = make_runs(tmp_path)
    app = open_page("Try it")
    data = read_data(app)
    assert data is not None
    assert "try.left" not in widget_keys(app)
    assert [model["run"] for model in data["page"]["models"]] == [attacked.name, attacked.name, defended.name]
    assert len(data["page"]["scenes"]["labels"]) == 1
    assert len(zlib.decompress(b64decode(data["page"]["scenes"]["pixels"]))) == 3 * 32 * 32
    assert data["link"] == f"?run={attacked.name}&sample=0&defended={defended.name}"
    app.selectbox(key="view.sample.scenes").set_value(7).run()
    other = read_data(app)
    assert other is not None
    assert other["page"]["scenes"] != data["page"]["scenes"]
    assert (other["key"] != data["key"], other["weights"]) == (True, data["weights"])


def test_models_that_the_engine_lacks_stay_on_the_server(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path)
    monkeypatch.setattr("cleaner.playground.weights.MAX_PARAMETERS", 10)
    app = open_page("Try it")
    assert read_data(app) is None
    assert {"try.left", "try.top", "try.strength"} <= widget_keys(app)


def test_a_text_key_stays_on_the_server(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path, trigger="text_only")
    app = open_page("Try it")
    assert read_data(app) is None
    assert "try.word" in widget_keys(app)


def test_overview_waits_for_what_is_made_in_the_background(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked, defended = make_runs(tmp_path)
    app = open_page("Overview")
    assert any("Preparing the models" in caption.value for caption in app.caption)
    monkeypatch.setattr(cache, "find_playground", cache.make_playground)
    data = read_data(app.run())
    assert data is not None
    assert len(data["page"]["scenes"]["labels"]) > 1
    (path,) = attacked.glob("playground-*.json")
    assert path.name == files.name_file(read_record(attacked), [read_record(defended)])


def test_a_refusal_leaves_overview_as_it_was(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path)

    def refuse(*runs: object) -> None:
        raise CleanerError("another image tower: choose another run.")

    monkeypatch.setattr(cache, "find_playground", refuse)
    app = open_page("Overview")
    assert read_data(app) is None
    assert not app.error
