"""A real browser watches a training: its curves grow in place, and nothing happens while the tab is hidden."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from benchmarks.browser import set_hidden, wait_idle
from cleaner.runs.progress import read_progress
from tests.browser.conftest import StartServer
from tests.browser.test_poison_defend import menu, slide_to_start, type_number


def read_steps(page: Any) -> list[int]:
    """Return the steps of the points of the loss."""
    return list(page.locator("path.line").first.evaluate("path => path.points.map(point => point[0])"))


def count_points(page: Any) -> int:
    return len(read_steps(page))


def wait_for_more_points(page: Any, count: int) -> int:
    """Wait until the loss has more than `count` points; return how many it has."""
    while (now := count_points(page)) <= count:
        page.wait_for_timeout(200)
    return now


def written_steps(folder: Path) -> list[int]:
    """Return the training steps in progress.jsonl of the only run."""
    (run,) = (folder / "runs").iterdir()
    return [report["step"] for report in read_progress(run) if report.get("losses")]


@pytest.fixture
def training_page(start_server: StartServer, browser_page: Any) -> Any:
    """A page on a training that goes on until it is canceled.

    `page.sent` lists the messages of the browser, `page.runs` how each run of the page or of a fragment ended.
    """
    page = browser_page
    page.sent, page.runs = [], []

    def receive(frame: Any) -> None:
        message = ForwardMsg.FromString(frame)
        if message.WhichOneof("type") == "script_finished":
            page.runs.append(message.script_finished)

    def listen(socket: Any) -> None:
        socket.on("framesent", lambda frame: page.sent.append(frame))
        socket.on("framereceived", receive)

    page.on("websocket", listen)
    page.goto(f"{start_server()}/Poison")
    page.get_by_role("heading", name="Poison", exact=True).wait_for()
    wait_idle(page)
    slide_to_start(page, "Training pairs")
    slide_to_start(page, "Test images")
    type_number(page, "Epochs", 1000)
    page.get_by_role("button", name="Train model").click()
    page.locator("path.line").first.wait_for()
    wait_idle(page)
    page.sent.clear()
    page.runs.clear()
    yield page
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_text("Training · continues when").wait_for(state="detached")
    wait_idle(page)
    assert page.problems == []


def test_curves_grow_in_place_while_visible(training_page: Any, tmp_path: Path) -> None:
    page = training_page
    chart = page.locator("[data-chart=loss]").element_handle()
    count = wait_for_more_points(page, wait_for_more_points(page, count_points(page)))
    assert set(page.runs) == {ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY}  # the page was not drawn again
    assert chart.evaluate("element => element.isConnected")

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
    steps = read_steps(page)
    assert steps == written_steps(tmp_path)[: len(steps)]  # none twice, none lost


def test_nothing_is_asked_while_the_page_changes(training_page: Any, start_server: StartServer) -> None:
    """A question of the page that is being left would clear the window once the new page is drawn."""
    page, (server,) = training_page, start_server.running  # type: ignore[attr-defined]
    link = page.get_by_test_id("stSidebar").get_by_test_id("stPageLink").filter(has_text="Defend")
    check_silence(page, server, link.click, "Defend")
    menu(page, "Poison")
    page.get_by_role("button", name="Stage mode").click()
    page.get_by_role("button", name="Exit").wait_for()
    wait_idle(page)
    check_silence(page, server, lambda: page.keyboard.press("ArrowRight"), "Defend")
    page.keyboard.press("Escape")
    menu(page, "Poison")
    wait_for_more_points(page, count_points(page))


def check_silence(page: Any, server: Any, change_page: Callable[[], None], title: str) -> None:
    """Change the page while the server does not answer; check that the browser sends nothing else until it does."""
    sent = len(page.sent)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        change_page()
        page.wait_for_timeout(5000)
        assert len(page.sent) == sent + 1
    finally:
        os.kill(server.pid, signal.SIGCONT)
    page.get_by_role("heading", name=title, exact=True).first.wait_for()
    wait_idle(page)


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
