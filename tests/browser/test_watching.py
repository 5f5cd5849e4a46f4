"""A real browser watches a training: its curves grow in place, and nothing happens while the tab is hidden."""

import time
from typing import Any

import pytest

from benchmarks.browser import set_hidden, wait_idle
from tests.browser.conftest import StartServer
from tests.browser.test_poison_defend import menu, slide_to_start, type_number

MARK_JS = "() => { for (const e of document.querySelectorAll('[data-chart], h1')) e.dataset.marked = 'yes'; }"


def count_points(page: Any) -> int:
    return int(page.locator("path.line").first.get_attribute("data-points") or 0)


def wait_for_more_points(page: Any, count: int) -> int:
    page.wait_for_function("count => +findLine().dataset.points > count", arg=count)
    return count_points(page)


@pytest.fixture
def training_page(start_server: StartServer, browser_page: Any) -> Any:
    """A page on a training that goes on until it is canceled; `page.sent` lists the times of its messages."""
    page = browser_page
    page.sent = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: page.sent.append(time.monotonic())))
    page.add_init_script(
        """globalThis.findLine = () => [...document.querySelectorAll('[data-testid="stBidiComponentIsolated"], div')]
            .map(element => element.shadowRoot?.querySelector('path.line')).find(Boolean) ?? { dataset: {} };"""
    )
    page.goto(f"{start_server()}/Poison")
    page.get_by_role("heading", name="Poison", exact=True).wait_for()
    wait_idle(page)
    slide_to_start(page, "Training pairs")
    slide_to_start(page, "Test images")
    type_number(page, "Epochs", 1000)
    page.get_by_role("button", name="Train model").click()
    page.locator("path.line").first.wait_for()
    wait_idle(page)
    yield page
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_text("Training · continues when").wait_for(state="detached")
    wait_idle(page)
    assert page.problems == []


def test_curves_grow_in_place_while_visible(training_page: Any) -> None:
    page = training_page
    page.evaluate(MARK_JS)
    count = wait_for_more_points(page, wait_for_more_points(page, count_points(page)))
    assert page.locator("h1[data-marked]").count() == 1  # the page was not drawn again

    set_hidden(page)
    page.wait_for_timeout(1000)  # an answer may be under way
    count, sent = count_points(page), len(page.sent)
    page.wait_for_timeout(5000)
    assert (count_points(page), len(page.sent)) == (count, sent)
    set_hidden(page, False)
    count = wait_for_more_points(page, count)

    menu(page, "Overview")
    menu(page, "Poison")
    page.locator("path.line").first.wait_for()
    assert count_points(page) >= count  # a new page gets the whole curve
    wait_for_more_points(page, count)
    steps = [float(x) for x in page.locator("path.line").first.get_attribute("d")[1:].replace("L", " ").split()[::2]]
    assert steps == sorted(set(steps)), "a point was drawn twice, or before an earlier one"


def test_the_training_is_paused_and_resumed(training_page: Any) -> None:
    page = training_page
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_text("paused at step").wait_for()
    page.locator("path.line").first.wait_for(state="detached")
    wait_idle(page)
    sent = len(page.sent)
    page.wait_for_timeout(4000)
    assert len(page.sent) == sent  # nothing to watch
    page.get_by_role("button", name="Resume").click()
    page.locator("path.line").first.wait_for()
    wait_for_more_points(page, count_points(page))
