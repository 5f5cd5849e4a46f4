"""A server without runs: each page opens by its link in a new session; the camera of Try it takes a photo."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.browser import wait_idle
from pages._shared.shell.menu import titles


@pytest.mark.slow
def test_each_page_opens_by_its_link_and_asks_no_other_host(empty_server: str, browser_page: Any) -> None:
    page, asked = browser_page, []
    page.on("request", lambda request: asked.append(request.url))
    for title in titles():
        page.goto(f"{empty_server}/{title.replace(' ', '_')}")
        page.get_by_role("heading", name=title, exact=True, level=1).wait_for()
        wait_idle(page)
        assert page.title() == f"{title} · TA-Cleaner Lab"
        links = page.get_by_test_id("stSidebar").get_by_test_id("stPageLink").all_inner_texts()
        assert [text.split("\n")[-1].strip() for text in links] == titles()
        assert page.get_by_test_id("stSidebarNav").count() == 0
    assert len(asked) > 20
    assert [url for url in asked if not url.startswith((empty_server, "data:", "blob:"))] == []
    assert page.problems == []


def test_a_photo_is_taken_and_classified(empty_server: str, browser_page: Any) -> None:
    page = browser_page
    page.goto(f"{empty_server}/Try_it")
    page.get_by_role("heading", name="Try it", exact=True).wait_for()
    wait_idle(page)
    page.get_by_text("Camera", exact=True).click()
    # The button is drawn before the first frame; a click before that frame takes no photo.
    page.wait_for_function(
        "document.querySelector('video')?.readyState >= 2 && document.querySelector('video').videoWidth"
    )
    page.get_by_role("button", name="Take Photo").click()
    page.get_by_role("button", name="Clear photo").wait_for()
    page.get_by_role("button", name="Remove camera.jpg").wait_for()
    wait_idle(page)
    page.get_by_role("combobox", name="Image").click()
    page.get_by_role("option", name="Own image: camera.jpg").click()
    page.get_by_text("Top 5 of").wait_for()
    wait_idle(page)
    assert page.locator('[data-testid="stAlert"]').count() == 0
    assert page.problems == []
