"""A real browser watches a training: its curves grow in place, and nothing happens while the tab is hidden."""

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from benchmarks.browser import set_hidden, wait_idle
from cleaner import FinetuneConfig
from cleaner.jobs import local
from cleaner.runs.progress import read_progress
from cleaner.runs.request import Request
from cleaner.runs.store import create_run, list_entries
from tests.browser.conftest import StartServer, run_servers, server_folders
from tests.browser.test_poison_defend import menu

pytestmark = pytest.mark.slow

LONG = Request(
    stage="backdoored",
    model="scenes-rn",
    data="scenes",
    pairs=500,
    trigger={"name": "badnet"},
    target_class="banana",
    poison_rate=0.05,
    finetune=FinetuneConfig(epochs=1000, batch_size=64, device="cpu"),
    validation_size=100,
    test_size=100,
)
"""A training that no test sees end."""


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


def written_steps() -> list[int]:
    """Return the training steps in progress.jsonl of the only run."""
    (run,) = list_entries()
    return [report["step"] for report in read_progress(run.folder) if report.get("losses")]


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """The function that starts a server on one long training; it ends with the last test."""
    folder = tmp_path_factory.mktemp("server")
    with run_servers(folder) as start, pytest.MonkeyPatch.context() as patch:
        for name, value in server_folders(folder).items():
            patch.setenv(name, value)
        local.start(create_run(LONG))
        yield start


@pytest.fixture(scope="module")
def address(start_server: StartServer) -> str:
    return start_server()


@pytest.fixture
def training_page(address: str, browser_page: Any) -> Iterator[Any]:
    """The page Poison while the training runs.

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
    open_training(page, address)
    page.sent.clear()
    page.runs.clear()
    yield page
    assert page.problems == []


def open_training(page: Any, address: str) -> None:
    """Open Poison and wait for the curves of the training."""
    page.goto(f"{address}/Poison")
    page.get_by_role("heading", name="Poison", exact=True).wait_for()
    page.locator("path.line").first.wait_for()
    wait_idle(page)


def test_curves_grow_in_place_while_visible(training_page: Any) -> None:
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
    assert steps == written_steps()[: len(steps)]  # none twice, none lost


def test_nothing_is_asked_while_the_page_changes(training_page: Any, start_server: StartServer) -> None:
    """A question of the page that is being left would clear the window once the new page is drawn."""
    page, server = training_page, start_server.running[-1]
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


def test_it_survives_its_server_is_paused_resumed_and_canceled(training_page: Any, start_server: StartServer) -> None:
    page = training_page
    server = start_server.running[-1]
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    open_training(page, start_server())
    page.problems.clear()  # the browser missed the first server
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_text("paused · ").wait_for()
    page.locator("path.line").first.wait_for(state="detached")
    wait_idle(page)
    sent = len(page.sent)
    page.wait_for_timeout(4000)
    assert len(page.sent) == sent  # nothing to watch
    page.get_by_role("button", name="Resume").click()
    page.locator("path.line").first.wait_for()
    wait_for_more_points(page, count_points(page))
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_text("Training · continues when").wait_for(state="detached")
    wait_idle(page)
