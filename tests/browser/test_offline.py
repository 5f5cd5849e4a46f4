"""Chromium asks no other host for anything, on any page."""

from __future__ import annotations

from typing import Any

import pytest

from pages._shared.frame import titles

pytestmark = pytest.mark.browser


def test_pages_request_nothing_from_other_hosts(empty_server: str, browser_page: Any) -> None:
    asked: list[str] = []
    browser_page.on("request", lambda request: asked.append(request.url))
    for title in titles():
        browser_page.goto(f"{empty_server}/{title.replace(' ', '_')}")
        browser_page.get_by_role("heading", name=title, exact=True, level=1).wait_for()
        browser_page.wait_for_timeout(300)
    others = [url for url in asked if not url.startswith((empty_server, "data:", "blob:"))]
    assert len(asked) > 20
    assert others == []
    assert not [problem for problem in browser_page.problems if "another host" in problem]
