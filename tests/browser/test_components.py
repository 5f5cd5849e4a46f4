"""Components in a real browser, each on an empty page of its own without a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cleaner.plots.component import read_script

FOLDER = Path(__file__).resolve().parents[2] / "pages" / "_shared"
HARNESS = """
const sent = [];
const send = (name, value) => sent.push([name, value]);
const component = mount(View);
const receive = (data) => component({ data, parentElement: document.body, setTriggerValue: send, setStateValue: send });
"""
Mount = Callable[..., Any]


@pytest.fixture
def mount(browser_page: Any) -> Mount:
    """Return a function that opens a page with a component; its scripts call `receive` and read `sent`."""

    def open_page(script: Path, html: str = "") -> Any:
        style = script.with_suffix(".css")
        browser_page.set_content(f"<style>{style.read_text() if style.exists() else ''}</style>{html}")
        browser_page.add_script_tag(content=read_script(script) + HARNESS)
        return browser_page

    return open_page


def test_a_key_of_the_stage_mode_counts_once_and_not_after_its_end(mount: Mount) -> None:
    page = mount(FOLDER / "stage.js")
    stops = page.evaluate_handle("() => [1, 2].map((height) => receive({ height }))")
    page.evaluate("sent.length = 0")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("sent") == [["key", "next"]]
    stops.evaluate("stops => stops[0]()")
    page.keyboard.press("ArrowRight")
    page.set_viewport_size({"width": 800, "height": 400})
    assert page.evaluate("sent") == [["key", "next"]]
