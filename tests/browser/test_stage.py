"""Stage mode in a real browser: one picture, no menu, keys between pages; on the shipped example."""

from __future__ import annotations

from typing import Any

from benchmarks.browser import wait_idle
from pages._shared.frame import titles
from pages._shared.stage import PICTURES
from tests.browser.conftest import StartServer


def test_one_picture_a_page_and_arrows_between_them(start_server: StartServer, browser_page: Any) -> None:
    page = browser_page
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto(f"{start_server(shipped=True)}/Overview?stage=1")
    order = titles()
    arrows = ["ArrowLeft", "ArrowLeft", "ArrowRight", "ArrowRight", "ArrowRight"]  # the talk goes round
    for title, arrow in zip((order[0], order[-1], order[-2], order[-1], order[0]), arrows, strict=True):
        page.locator(".st-key-stage").get_by_role("heading", name=title, exact=True).wait_for()
        page.locator(PICTURES[title]).first.wait_for()
        wait_idle(page)
        page.keyboard.press(arrow)
    page.locator(".st-key-stage").get_by_role("heading", name=order[1], exact=True).wait_for()
    wait_idle(page)
    page.keyboard.press("n")
    page.locator(".st-key-notes").wait_for()
    page.keyboard.press("n")
    page.locator(".st-key-notes").wait_for(state="detached")
    wait_idle(page)
    page.keyboard.press("Escape")
    page.locator(".st-key-stage").wait_for(state="detached")
    wait_idle(page)
    assert page.get_by_test_id("stSidebar").is_visible()
    assert page.problems == []
