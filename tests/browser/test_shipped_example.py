"""A real browser on the built-in models and the shipped example: each control of map and heatmaps redraws them."""

from __future__ import annotations

from typing import Any

from benchmarks.browser import wait_idle
from tests.browser.test_lesson import lasso
from tests.browser.test_poison_defend import menu

LEGEND = """text => [...document.querySelectorAll('.legendtext')].some(e => e.textContent.startsWith(text))"""


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
