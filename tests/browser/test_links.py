"""Each page opens by its link in a new session."""

from __future__ import annotations

from typing import Any

from benchmarks.browser import wait_idle

PAGES = (
    "Overview",
    "Poison",
    "Defend",
    "Compare",
    "Embeddings",
    "Attention",
    "Subtexts",
    "Film",
    "Try it",
    "Detect",
    "Trigger search",
)


def test_each_page_opens_by_its_link_and_asks_no_other_host(empty_server: str, browser_page: Any) -> None:
    page, asked = browser_page, []
    page.on("request", lambda request: asked.append(request.url))
    for title in PAGES:
        page.goto(f"{empty_server}/{title.replace(' ', '_')}")
        page.get_by_role("heading", name=title, exact=True, level=1).wait_for()
        wait_idle(page)
        assert page.title() == f"{title} · TA-Cleaner Lab"
        links = page.get_by_test_id("stSidebar").get_by_test_id("stPageLink").all_inner_texts()
        assert [text.split("\n")[-1].strip() for text in links] == list(PAGES)
        assert page.get_by_test_id("stSidebarNav").count() == 0
    assert len(asked) > 20
    assert [url for url in asked if not url.startswith((empty_server, "data:", "blob:"))] == []
    assert page.problems == []
