"""A real browser walks from Poison to Defend."""

from pathlib import Path
from typing import Any

from benchmarks.browser import wait_idle
from cleaner.runs.store import list_entries
from tests.browser.conftest import StartServer
from tests.waiting import wait_until

CLICK_TIMEOUT_MS = 40_000


def menu(page: Any, title: str) -> None:
    """Open a page from the menu; click again if the click was lost, as at the moment in which a page run begins."""
    from playwright.sync_api import TimeoutError as PlaywrightTimeout

    link = page.get_by_test_id("stSidebar").get_by_test_id("stPageLink").filter(has_text=title)
    heading = page.get_by_role("heading", name=title, exact=True)
    link.click()
    try:
        heading.wait_for(timeout=CLICK_TIMEOUT_MS)
    except PlaywrightTimeout:
        link.click()
        heading.wait_for()
    wait_idle(page)


def slide_to_start(page: Any, label: str) -> None:
    """Set a select slider to its first value."""
    slider = page.get_by_role("slider", name=label).first
    slider.focus()
    slider.press("Home")
    wait_idle(page)


def type_number(page: Any, label: str, value: int) -> None:
    box = page.get_by_role("spinbutton", name=label).first
    box.fill(str(value))
    box.press("Enter")
    wait_idle(page)


def press_and_leave(page: Any, button: str, title: str, runs: Path) -> None:
    """Press a button that starts a run, and open another page while this one is redrawn: neither click may be lost.

    The second click waits until the run is there: of two at once, Streamlit can drop either.
    """
    wait_idle(page)
    page.get_by_role("button", name=button).click()
    wait_until(lambda: list_entries(runs))
    menu(page, title)


def test_poison_then_defend(start_server: StartServer, browser_page: Any, tmp_path: Path) -> None:
    page = browser_page
    page.goto(start_server())
    page.get_by_role("heading", name="Overview", exact=True).wait_for()
    wait_idle(page)
    menu(page, "Poison")
    slide_to_start(page, "Training pairs")
    slide_to_start(page, "Test images")
    type_number(page, "Epochs", 2)
    page.get_by_text("25 of 500 pairs are poisoned").wait_for()
    page.get_by_text("14 training steps, 500 pairs").wait_for()
    wait_idle(page)
    press_and_leave(page, "Train model", "Overview", tmp_path / "runs")
    menu(page, "Poison")
    page.get_by_role("heading", name="Did the attack succeed?").wait_for()
    wait_idle(page)
    page.locator(".st-key-result").get_by_test_id("stMetricValue").first.wait_for()

    menu(page, "Defend")
    slide_to_start(page, "Clean pairs")
    type_number(page, "Epochs", 1)
    page.get_by_role("button", name="Start defenses").click()
    page.get_by_role("heading", name="Is the backdoor gone").wait_for()
    page.get_by_text("continues when you leave this page").wait_for(state="hidden")  # each end draws the page again
    wait_idle(page)
    page.get_by_text("how measured").click()
    page.get_by_text("Floor:").first.wait_for()

    page.reload()  # results are on disk
    page.get_by_role("heading", name="Is the backdoor gone").wait_for()
    wait_idle(page)
    menu(page, "Subtexts")
    page.get_by_role("heading", name="Scores of the models").wait_for()
    wait_idle(page)
    assert page.problems == []
