"""The camera of Try it, with Chromium's fake video device."""

from __future__ import annotations

from typing import Any

from benchmarks.browser import wait_idle


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
    page.get_by_text("Top five of").wait_for()
    wait_idle(page)
    assert page.locator('[data-testid="stAlert"]').count() == 0
    assert page.problems == []
