"""Time until pages are painted in a browser; printed only, since machines differ."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.browser.conftest import StartServer, wait_idle
from tests.browser.test_lesson import lasso
from tests.browser.test_poison_defend import PAGES, menu

Times = dict[str, float]
LEGEND = """text => [...document.querySelectorAll('.legendtext')].some(e => e.textContent.startsWith(text))"""


@pytest.fixture
def times(capsys: pytest.CaptureFixture[str]) -> Iterator[Times]:
    """Seconds by name, printed at the end."""
    times: Times = {}
    yield times
    with capsys.disabled():
        print("", *(f"{name}: {seconds:.2f} s" for name, seconds in times.items()), sep="\n")


@contextmanager
def timed(times: Times, name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    times[name] = time.perf_counter() - start


def wait_painted(page: Any, title: str) -> None:
    page.get_by_role("heading", name=title, exact=True).wait_for()


def test_start_reload_and_page_switches(start_server: StartServer, browser_page: Any, times: Times) -> None:
    page = browser_page
    with timed(times, "server start to painted Overview"):
        page.goto(start_server(shipped=True))
        wait_painted(page, "Overview")
    wait_idle(page)
    with timed(times, "reload on a warm server"):
        page.reload()
        wait_painted(page, "Overview")
    wait_idle(page)
    for title in PAGES:
        menu(page, title)  # first visits load what the page needs
    for title in PAGES:
        link = page.get_by_test_id("stSidebar").get_by_test_id("stPageLink").filter(has_text=title)
        with timed(times, f"switch to {title}"):
            link.click()
            wait_painted(page, title)
        with timed(times, f"{title} fully drawn"):
            wait_idle(page)
    switches = [seconds for name, seconds in times.items() if name.startswith("switch to")]
    times["page switch (median)"], times["page switch (longest)"] = statistics.median(switches), max(switches)
    assert page.problems == []


def test_embeddings(start_server: StartServer, browser_page: Any, times: Times) -> None:
    page = browser_page
    address = start_server(shipped=True)
    with timed(times, "Embeddings on a fresh server: first chart"):
        page.goto(f"{address}/Embeddings")
        page.wait_for_function(LEGEND, arg="Clean images")
    wait_idle(page)
    page.get_by_role("heading", name="Metrics").first.wait_for()

    for name, label in (("Trigger success", "Classified"), ("Model", "Backdoored: clean"), ("Kind", "Clean")):
        page.get_by_role("combobox", name="Color by").click()
        page.get_by_role("option", name=name).wait_for()
        with timed(times, f"color by {name}"):
            page.get_by_role("option", name=name).click()
            page.wait_for_function(LEGEND, arg=label)
        wait_idle(page)
    for name, label in (("Clean → Backdoored", "moved"), ("Backdoored", "Clean images")):
        with timed(times, f"show {name}"):
            page.get_by_test_id("stMain").get_by_role("radio", name=name, exact=True).click()
            page.wait_for_function(
                f"([label, moved]) => ({LEGEND})(label) && ({LEGEND})('moved') === moved", arg=[label, label == "moved"]
            )
        wait_idle(page)
    with timed(times, "captions on"):
        page.get_by_test_id("stMain").get_by_role("button", name="Captions", exact=True).click()
        page.wait_for_function(LEGEND, arg="Captions")
    wait_idle(page)
    for name in ("first lasso to images", "second lasso to images"):
        with timed(times, name):
            lasso(page)
            page.locator('[data-testid="stImage"] img').first.wait_for()
        wait_idle(page)
        page.get_by_role("button", name="Clear selection").click()
        page.get_by_text("Points selected").wait_for(state="detached")
        wait_idle(page)
    assert page.problems == []


def test_attention(start_server: StartServer, browser_page: Any, times: Times) -> None:
    page = browser_page
    page.goto(f"{start_server(shipped=True)}/Attention")
    wait_painted(page, "Attention")
    with timed(times, "Attention on a fresh server: first view"):
        page.locator(".js-plotly-plot .heatmaplayer").first.wait_for()
    wait_idle(page)
    box = page.get_by_role("combobox", name="Method")
    for method in ("Integrated gradients", "GradCAM", "Occlusion"):
        box.click()
        with timed(times, f"one view by {method}"):
            page.get_by_role("option", name=method).click()
            wait_idle(page)
    assert page.problems == []
