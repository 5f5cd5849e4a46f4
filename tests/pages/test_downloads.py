"""Data that are downloaded on request: the page says the size, takes a folder instead, and explains a failure."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.runtime.scriptrunner import StopException

from cleaner.presets import HOME_DATA
from cleaner.types import CleanerError, OnStep, StepReport
from pages._shared import cache
from tests.data.files import write_photo_tars
from tests.pages.conftest import OpenPage, errors, page_text, record_bars, widget_keys
from tests.pages.test_models import INSPECTION_PAGES

NAMES = ("cat", "dog", "frog")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of photos in two tars; the user's own folder has none."""
    monkeypatch.setattr("cleaner.data.cifar.photos_root", lambda: tmp_path / "own")
    return write_photo_tars(tmp_path / "my photos", NAMES, train=300, test=300)


def test_photos_are_offered_with_their_size_and_read_from_a_folder(open_page: OpenPage, photos: Path) -> None:
    app = open_page("Poison")
    app.selectbox(key="poison.data").set_value("cifar10").run()
    assert not errors(app)
    assert app.button(key="poison.data.cifar10.download").label == "Download 170 MB"
    assert "poison.rate" not in widget_keys(app)  # nothing to poison yet
    app.text_input(key="poison.data.cifar10.folder").set_value(str(photos)).run()
    assert not app.exception
    assert not errors(app)
    assert app.selectbox(key=f"poison.target.'cifar10:{photos}'").options == list(NAMES)
    assert "photo of a" in page_text(app)


def test_a_download_has_a_bar_and_can_be_canceled(
    open_page: OpenPage, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(name: str, on_step: OnStep) -> None:
        on_step(StepReport("download", 12, 170, 1.0))
        raise StopException  # as a press of Cancel ends the page run at the next report

    bars = record_bars(monkeypatch)
    monkeypatch.setattr(cache, "download", download)
    app = open_page("Poison")
    app.selectbox(key="poison.data").set_value("cifar10").run()
    app.button(key="poison.data.cifar10.download").click().run()
    assert bars[-1].startswith("Downloading (MB), 12 of 170, ")
    monkeypatch.setattr(cache, "download", lambda *_: pytest.fail("started again"))
    app.run()
    assert not app.exception
    assert app.button(key="poison.data.cifar10.download")


def test_a_failed_download_says_why(open_page: OpenPage, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, on_step: OnStep) -> None:
        raise CleanerError("CIFAR10 was not downloaded (no network): check the connection.")

    monkeypatch.setattr(cache, "download", fail)
    app = open_page("Poison")
    app.selectbox(key="poison.data").set_value("cifar10").run()
    app.button(key="poison.data.cifar10.download").click().run()
    assert not app.exception
    assert any("no network" in text for text in errors(app))


def test_a_model_is_inspected_with_its_data_once_they_are_here(
    open_page: OpenPage, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HOME_DATA, "scenes-rn", "cifar10")
    for title in (*INSPECTION_PAGES, "Trigger search"):
        app = open_page(title)
        assert not errors(app), title
        assert app.button(key="view.cifar10.download"), title
        assert "view.sample.cifar10" not in widget_keys(app)
        app.text_input(key="view.cifar10.folder").set_value(str(photos)).run()
        assert not app.exception, title
        assert not errors(app), title
        assert title == "Trigger search" or "scenes-rn" in page_text(app)


def test_a_model_of_other_data_names_them(open_page: OpenPage, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HOME_DATA, "scenes-rn", "cifar10")
    app = open_page("Poison")
    app.button(key="poison.data.home").click().run()
    assert app.selectbox(key="poison.data").value == "cifar10"
    assert "poison.data.home" not in widget_keys(app)
