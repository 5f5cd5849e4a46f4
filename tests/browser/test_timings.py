"""How long a reader waits, as the browser sees it; printed, and no figure is asserted: machines differ."""

import statistics
import time
from typing import Any

import pytest

from tests.browser.conftest import Start, wait_idle
from tests.browser.test_poison_defend import PAGES, menu


def test_waiting_times(start_server: Start, browser_page: Any, capsys: pytest.CaptureFixture[str]) -> None:
    page, times = browser_page, {}

    def painted(title: str) -> None:
        page.get_by_role("heading", name=title, exact=True).wait_for()

    began = time.perf_counter()
    page.goto(start_server())
    painted("Overview")
    times["server start to painted Overview"] = time.perf_counter() - began
    wait_idle(page)
    began = time.perf_counter()
    page.reload()
    painted("Overview")
    times["reload on a warm server"] = time.perf_counter() - began
    wait_idle(page)
    for title in PAGES:
        menu(page, title)  # first visits load what the page needs
    switches = []
    for title in PAGES:
        began = time.perf_counter()
        page.get_by_test_id("stSidebar").get_by_test_id("stPageLink").filter(has_text=title).click()
        painted(title)
        switches.append(time.perf_counter() - began)
        wait_idle(page)
    times["page switch (median)"], times["page switch (longest)"] = statistics.median(switches), max(switches)
    with capsys.disabled():
        print("", *(f"{name}: {seconds:.2f} s" for name, seconds in times.items()), sep="\n")
    assert page.complaints == []
