"""A real browser on the shipped example: controls redraw maps and heatmaps, images are compared and zoomed."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.browser import wait_idle
from tests.browser.test_lesson import lasso
from tests.browser.test_poison_defend import menu

pytestmark = pytest.mark.slow

READ_ZOOM = "canvas => canvas.panel.zoom"
LEGEND = """text => [...document.querySelectorAll('.legendtext')].some(e => e.textContent.startsWith(text))"""


def set_toggle(page: Any, label: str) -> None:
    page.get_by_test_id("stMain").get_by_text(label, exact=True).click()
    wait_idle(page)


def read_picture(page: Any, number: int = 0) -> str:
    return str(page.locator(".before-after canvas").nth(number).evaluate("canvas => canvas.toDataURL()"))


@pytest.fixture
def page(example_server: str, browser_page: Any) -> Any:
    """The page Overview on the shipped example."""
    browser_page.goto(f"{example_server}/Overview")
    wait_idle(browser_page)
    yield browser_page
    assert browser_page.problems == []


def test_panels_share_slider_and_zoom_across_models_and_pages(page: Any) -> None:
    menu(page, "Attention")
    set_toggle(page, "Before/after slider")
    page.locator(".before-after canvas").nth(2).wait_for()
    assert page.locator("figcaption").all_inner_texts() == ["Triggered image", "Clean image", "Map of the images"]
    before = read_picture(page)
    canvas = page.locator(".before-after canvas").first
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 40, steps=4)
    page.mouse.up()
    assert float(page.locator(".before-after").get_attribute("data-share")) == pytest.approx(0.25, abs=0.02)
    assert read_picture(page) != before
    canvas.focus()
    page.mouse.wheel(0, -400)
    zooms = [page.locator(".before-after canvas").nth(i).evaluate(READ_ZOOM) for i in range(3)]
    assert zooms[0]["scale"] > 1
    assert zooms[0] == zooms[1]
    assert zooms[2]["scale"] == 1
    page.get_by_role("radio", name="Clean | Backdoored").click()
    wait_idle(page)
    assert page.locator(".before-after canvas").first.evaluate(READ_ZOOM) == zooms[0]

    menu(page, "Overview")
    menu(page, "Attention")
    page.locator(".before-after canvas").nth(2).wait_for()
    assert page.locator(".before-after canvas").first.evaluate(READ_ZOOM) == zooms[0]
    page.get_by_role("button", name="Reset zoom").click()
    assert page.locator(".before-after canvas").first.evaluate(READ_ZOOM)["scale"] == 1


def test_the_map_keeps_its_zoom_between_models(page: Any) -> None:
    menu(page, "Embeddings")
    page.locator(".js-plotly-plot").first.wait_for()
    page.get_by_role("radio", name="Clean → Backdoored").click()
    wait_idle(page)
    set_toggle(page, "Before/after slider")
    page.locator(".before-after canvas").wait_for()
    wait_idle(page)
    page.get_by_role("button", name="Zoom in").click()
    zoom = page.locator(".before-after canvas").first.evaluate(READ_ZOOM)
    assert zoom["scale"] == pytest.approx(1.5)
    page.get_by_role("radio", name="Backdoored → Defended").click()
    wait_idle(page)
    assert page.locator(".before-after canvas").first.evaluate(READ_ZOOM) == zoom


def test_controls_redraw_their_chart(example_server: str, browser_page: Any) -> None:
    page = browser_page
    page.goto(f"{example_server}/Embeddings")
    check_embeddings(page)
    menu(page, "Attention")
    check_attention(page)
    page.reload()
    page.get_by_role("heading", name="Attention", exact=True).wait_for()
    wait_idle(page)
    assert page.problems == []


def check_embeddings(page: Any) -> None:
    """Color, switch and select the points of the map."""
    page.wait_for_function(LEGEND, arg="Clean images")
    wait_idle(page)
    page.get_by_role("heading", name="Metrics").first.wait_for()
    for name, label in (("Trigger success", "Classified"), ("Model", "Backdoored: clean"), ("Kind", "Clean")):
        page.get_by_role("combobox", name="Color by").click()
        page.get_by_role("option", name=name).click()
        page.wait_for_function(LEGEND, arg=label)
        wait_idle(page)
    for name, label in (("Clean → Backdoored", "moved"), ("Backdoored", "Clean images")):
        page.get_by_test_id("stMain").get_by_role("radio", name=name, exact=True).click()
        page.wait_for_function(
            f"([label, moved]) => ({LEGEND})(label) && ({LEGEND})('moved') === moved", arg=[label, label == "moved"]
        )
        wait_idle(page)
    page.get_by_test_id("stMain").get_by_role("button", name="Captions", exact=True).click()
    page.wait_for_function(LEGEND, arg="Captions")
    wait_idle(page)
    for _ in range(2):
        lasso(page)
        page.locator('[data-testid="stImage"] img').first.wait_for()
        wait_idle(page)
        assert not page.evaluate(LEGEND, "your selection"), "a redrawn chart would lose its zoom"
        for coloring in ("Class", "Kind"):  # a chart that was away has lost its selection
            page.get_by_role("combobox", name="Color by").click()
            page.get_by_role("option", name=coloring).click()
            wait_idle(page)
            page.wait_for_function(LEGEND, arg="your selection")
        page.get_by_role("button", name="Clear selection").click()
        page.get_by_text("Points selected").wait_for(state="detached")
        wait_idle(page)


def check_attention(page: Any) -> None:
    """Draw the maps of each method."""
    page.locator(".js-plotly-plot .heatmaplayer").first.wait_for()
    wait_idle(page)
    box = page.get_by_role("combobox", name="Method")
    for method in ("Integrated gradients", "GradCAM", "Occlusion"):
        box.click()
        page.get_by_role("option", name=method).click()
        wait_idle(page)
